"""A page more in a site's navigation, as before → after; the parsed document decides whether the text is right."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scaffold_tools.edit.yaml_navigation import Page, add_page
from scaffold_tools.errors import BadInput

BELOW = "./pages/models/"
SITE = """# a comment
navigation:
- page: Home
  path: ./pages/index.mdx
  slug: ""
- section: Supported Models
  contents:
  - page: Supported Models
    path: ./pages/models/README.mdx
  - contents:
    - page: "Ling: 2.0"  # quoted
      path: ./pages/models/bailing/ling.mdx
    section: Bailing
  - contents:
    - page: Qwen
      path: ./pages/models/qwen/qwen.mdx
    - page: Qwen3
      path: ./pages/models/qwen/qwen3.mdx
    section: Qwen
- section: Training
  contents:
  - page: Data
    path: ./pages/data.mdx
"""


def page(folder: str, name: str, group: str = "") -> Page:
    return Page(name, f"{BELOW}{folder}/{name.lower()}.mdx", group or name, BELOW)


def added(source: str, wanted: Page) -> list[str]:
    after = add_page(source.encode(), wanted).decode()
    rows = iter(after.splitlines())
    assert all(line in rows for line in source.splitlines()), "a line was lost or moved"
    return [line for line in after.splitlines() if line not in source.splitlines()]


def test_a_page_of_a_known_family_follows_its_last() -> None:
    after = add_page(SITE.encode(), page("qwen", "Qwen4")).decode()
    assert after == SITE.replace(
        "qwen3.mdx\n", "qwen3.mdx\n    - page: Qwen4\n      path: ./pages/models/qwen/qwen4.mdx\n"
    )
    assert add_page(after.encode(), page("qwen", "Qwen4")).decode() == after


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("Apertus", '  - contents:\n    - page: "Ling'),
        ("Falcon", "  - contents:\n    - page: Qwen\n"),
        ("Zamba", "- section: Training\n"),
    ],
)
def test_a_new_family_gets_a_group_at_its_sorted_place(name: str, before: str) -> None:
    path = f"./pages/models/{name.lower()}/{name.lower()}.mdx"
    group = f"  - contents:\n    - page: {name}\n      path: {path}\n    section: {name}\n"
    assert add_page(SITE.encode(), page(name.lower(), name)).decode() == SITE.replace(before, group + before)


def test_groups_that_name_their_section_first_are_followed() -> None:
    source = "nav:\n" + "".join(
        f"  - section: {name}\n    contents:\n      - page: {name}\n        path: ./pages/models/{name}/x.mdx\n"
        for name in ("b", "d")
    )
    assert added(source, page("c", "C")) == [
        "  - section: C",
        "      - page: C",
        "        path: ./pages/models/c/c.mdx",
    ]


def test_line_ends_stay_and_a_missing_last_one_is_added() -> None:
    crlf = SITE.replace("\n", "\r\n")
    after = add_page(crlf.encode(), page("zamba", "Zamba"))
    assert b"\n" not in after.replace(b"\r\n", b"")
    assert yaml.safe_load(add_page(SITE.rstrip().encode(), page("zamba", "Zamba"))) == yaml.safe_load(after)


def test_titles_that_yaml_would_read_as_something_else_are_quoted() -> None:
    for title in ("on", "3.5", "a: b", "# x", "Qwen 3.5 / 3.6", "né"):
        after = yaml.safe_load(add_page(SITE.encode(), Page(title, f"{BELOW}qwen/x.mdx", title, BELOW)))
        assert after["navigation"][1]["contents"][2]["contents"][-1]["page"] == title


@pytest.mark.parametrize(
    "source",
    [
        "",
        "a: [",
        "navigation: []\n",
        SITE.replace("models/qwen", "other"),
        "nav: [{contents: [{path: ./pages/models/a/b}]}]\n",
    ],
)
def test_what_has_no_groups_of_models_is_refused(source: str) -> None:
    with pytest.raises(BadInput):
        add_page(source.encode(), page("zamba", "Zamba"))


def test_a_form_that_an_edit_would_break_is_refused_and_not_guessed() -> None:
    block = SITE[SITE.index("  - contents:\n    - page: Qwen\n") : SITE.index("- section: Training")]
    flow = SITE.replace(block, "  - {contents: [{page: Qwen, path: ./pages/models/qwen/qwen.mdx}], section: Qwen}\n")
    with pytest.raises(BadInput):
        add_page(flow.encode(), page("qwen", "Qwen4"))


names = st.lists(st.text("abcdefgh", min_size=1, max_size=4), min_size=2, max_size=6, unique=True)


@given(names, st.text("abcdefgh", min_size=1, max_size=5), st.integers(1, 3), st.booleans())
def test_any_site_keeps_all_it_has_and_gains_the_page(groups: list[str], new: str, pages: int, first: bool) -> None:
    tree = []
    for name in sorted(groups):
        contents = [{"page": f"{name}{at}", "path": f"{BELOW}{name}/{at}.mdx"} for at in range(pages)]
        tree.append({"section": name, "contents": contents} if first else {"contents": contents, "section": name})
    source = yaml.safe_dump(
        {"navigation": [{"page": "x", "path": "y"}, {"section": "Models", "contents": tree}]}, sort_keys=False
    )
    wanted = Page("New", f"{BELOW}{new}/new.mdx", new, BELOW)
    after = yaml.safe_load(add_page(source.encode(), wanted))
    flat = {one["path"] for group in after["navigation"][1]["contents"] for one in group["contents"]}
    assert flat == {one["path"] for group in tree for one in group["contents"]} | {wanted.path}
    assert [group["section"] for group in after["navigation"][1]["contents"]] == sorted({*groups, new})
