"""Where a checkout's documentation lists its models: tables, toctrees, and the page and index of the family."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scaffold_tools.errors import BadInput
from scaffold_tools.targets.megatron_bridge.naming import Names

HOME = "docs/models"
SITE = "docs/fern/versions/nightly"
"""The site that is built from twins of the pages; releases have frozen copies beside it."""


@dataclass(frozen=True)
class DocPlace:
    """Where the page of one model belongs."""

    folder: str
    """Below `docs/models`: `qwen`."""
    page: str
    """`qwen3.md`."""
    title: str
    has_index: bool
    """Whether the folder has an `index.md` already."""
    new_folder: bool

    @property
    def indexed(self) -> bool:
        """Whether the page hangs below an index of its family; some families of one page have none."""
        return self.has_index or self.new_folder


def doc_place(names: Names, root: Path) -> DocPlace:
    """The family's folder of documentation, which need not be called as that of its code (`minimax_m2`: `minimax`).

    The longest of the folders there that is the family's name or starts it, at the end of a word or in front of
    digits; a new one where none does.
    """
    home = root / HOME
    folders = sorted(path.name for path in home.iterdir() if path.is_dir()) if home.is_dir() else []
    alike = [name for name in folders if re.match(rf"{re.escape(name)}(\d|_|$)", names.family)]
    folder = max(alike, key=len, default=names.family)
    return DocPlace(
        folder=folder,
        page=f"{names.stem.replace('_', '-')}.md",
        title=names.prefix,
        has_index=(home / folder / "index.md").is_file(),
        new_folder=not (home / folder).is_dir(),
    )


def site_page(place: DocPlace, root: Path) -> str | None:
    """The path of the page's twin in the site, where the checkout has one with pages of models."""
    home = f"{SITE}/pages/models"
    return f"{home}/{place.folder}/{place.page.removesuffix('.md')}.mdx" if (root / home).is_dir() else None


def page_link(names: Names, root: Path) -> str:
    """The page that other files refer to, below `docs/models`: the family's README where the model has none."""
    place = doc_place(names, root)
    page = f"{place.folder}/{place.page}"
    return page if not names.registered or (root / HOME / page).is_file() else "README.md"


@dataclass(frozen=True)
class DocEdit:
    """One list of models, and how a model is put into it."""

    path: Callable[[DocPlace], str]
    applies: Callable[[DocPlace], bool]
    edit: Callable[[bytes, DocPlace], bytes]
    summary: str


def _family_page(source: bytes, place: DocPlace) -> bytes:
    from scaffold_tools.edit.markdown import add_table_row, add_toctree_entry

    edited = add_toctree_entry(source, place.page)
    return add_table_row(edited, ("Variant", "Guide"), (place.title, f"[{place.page}]({place.page})"))


def _toctree(source: bytes, place: DocPlace) -> bytes:
    from scaffold_tools.edit.markdown import add_toctree_entry

    return add_toctree_entry(source, f"models/{place.folder}/{_entry(place)}", beside="models/")


def _entry(place: DocPlace) -> str:
    return "index.md" if place.indexed else place.page


def _family_index(source: bytes, place: DocPlace) -> bytes:
    from scaffold_tools.edit.markdown import add_table_row, linked_row

    header, link = ("Family", "Model documentation"), f"[{place.title}]({place.folder}/{place.page})"
    label = linked_row(source, header, f"{place.folder}/") or f"**{place.title}**"
    return add_table_row(source, header, (label, link), append_to=1)


def _supported(source: bytes, place: DocPlace) -> bytes:
    from scaffold_tools.edit.markdown import add_table_row, linked_row

    header, folder = ("Family", "Supported variants"), f"{HOME}/{place.folder}/"
    label = linked_row(source, header, folder) or f"[**{place.title}**]({folder}{_entry(place)})"
    return add_table_row(source, header, (label, place.title), append_to=1)


def _site(source: bytes, place: DocPlace) -> bytes:
    from scaffold_tools.edit.yaml_navigation import Page, add_page

    below = "./nightly/pages/models"
    path = f"{below}/{place.folder}/{place.page.removesuffix('.md')}.mdx"
    return add_page(source, Page(place.title, path, place.title, f"{below}/"))


EDITS = (
    DocEdit(lambda place: f"{HOME}/{place.folder}/index.md", lambda place: place.has_index, _family_page, "its guide"),
    DocEdit(lambda place: "docs/index.md", lambda place: not place.has_index, _toctree, "navigation"),
    DocEdit(lambda place: f"{HOME}/README.md", lambda place: True, _family_index, "index of models by family"),
    DocEdit(lambda place: "README.md", lambda place: True, _supported, "table of supported models"),
    DocEdit(lambda place: f"{SITE}.yml", lambda place: True, _site, "navigation of the site"),
)


def edited_lists(place: DocPlace, root: Path) -> tuple[list[tuple[str, bytes, bytes, str]], tuple[str, ...]]:
    """Every list that the checkout has: (path, before, after, summary), and a note for each that has another shape."""
    found, notes = [], []
    for row in EDITS:
        path = row.path(place)
        if not row.applies(place) or not (root / path).is_file():
            continue
        before = (root / path).read_bytes()
        try:
            found.append((path, before, row.edit(before, place), f"{row.summary}: {place.title}"))
        except BadInput as error:
            notes.append(f"{path}: add {place.title} by hand, {error.what}")
    return found, tuple(notes)
