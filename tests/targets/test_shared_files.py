"""Shared files of a checkout: where a model's page, rows and registration go, and which family takes it."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest

from scaffold_tools.targets.megatron_bridge.blocks import choose_blocks
from scaffold_tools.targets.megatron_bridge.checkout import MATRIX, edits, new_files
from scaffold_tools.targets.megatron_bridge.doc_lists import doc_place, page_link
from scaffold_tools.targets.megatron_bridge.naming import Names, names_of
from scaffold_tools.targets.megatron_bridge.profile import Registration
from targets.blueprints import qwen3
from targets.test_rules import PROFILE

FILES = {
    "src/megatron/bridge/models/__init__.py": """from megatron.bridge.models.glm import (
    GLMBridge,
)


__all__ = [
    "GLMBridge",
]
""",
    MATRIX: """EXPECTED_REGISTRATIONS = {
    "GLMForCausalLM": "megatron.bridge.models.glm.glm_bridge.GLMBridge",
}

STRING_REGISTRATIONS = {
    "GLMForCausalLM",
}
""",
    "docs/index.md": """```{toctree}
:caption: Guides

training/a.md
```

```{toctree}
:caption: Supported Models

models/README.md
models/ernie/ernie45.md
models/glm/index.md
models/minimax/index.md
```
""",
    "docs/models/README.md": """| Family | Model documentation |
|----------------|---------------------|
| **ERNIE** | [ERNIE 4.5](ernie/ernie45.md) |
| **GLM** | [GLM-4](glm/glm4.md) |
| **MiniMax** | [M2](minimax/m2.md) |
""",
    "README.md": """| Family | Supported variants |
|---|---|
| **Ernie** | [Ernie 4.5](https://example.com/ernie) |
| [**GLM**](docs/models/glm/index.md) | GLM-4, GLM-4.5 (Air, V) |
| [**MiniMax**](docs/models/minimax/index.md) | M2 |
""",
    "docs/models/ernie/ernie45.md": "# ERNIE\n",
    "docs/models/minimax/index.md": """```{toctree}
m2.md
```

| Variant | Guide |
|---|---|
| M2 | [m2.md](m2.md) |
""",
    "docs/models/glm/index.md": """```{toctree}
glm4.md
```

| Variant | Guide |
|---|---|
| GLM-4 | [glm4.md](glm4.md) |
""",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def called(stem: str, prefix: str, family: str | None = None) -> Names:
    family = family or stem
    return Names(stem, prefix, family, f"scaffold_{stem}", f"{prefix}Bridge", f"{stem}_bridge")


def added(root: Path, names: Names, **of_blueprint: object) -> dict[str, list[str]]:
    """The lines that each shared file gains; none may lose any, except for one that grows."""
    blueprint = dataclasses.replace(qwen3(), architecture=f"{names.prefix}ForCausalLM", **of_blueprint)
    found = edits(names, choose_blocks(qwen3()), blueprint, root)
    assert found.notes == ()
    rows = {}
    for change in found.changes:
        old = FILES[change.path].splitlines()
        rows[change.path] = [line for line in change.content.splitlines() if line not in old]
        gone = [line for line in old if line not in change.content.splitlines()]
        assert all(any(line[:-2] in new for new in rows[change.path]) for line in gone), gone
        (root / change.path).write_text(change.content)
    again = edits(names, choose_blocks(qwen3()), blueprint, root)
    assert all(change.content == (root / change.path).read_text() for change in again.changes), "not idempotent"
    return rows


def test_a_new_family_gets_rows_of_its_own_everywhere(root: Path) -> None:
    rows = added(root, called("fjord", "Fjord"))
    assert rows["docs/index.md"] == ["models/fjord/index.md"]
    assert rows["docs/models/README.md"] == ["| **Fjord** | [Fjord](fjord/fjord.md) |"]
    assert rows["README.md"] == ["| [**Fjord**](docs/models/fjord/index.md) | Fjord |"]
    assert rows[MATRIX] == ['    "FjordForCausalLM": "megatron.bridge.models.fjord.fjord_bridge.FjordBridge",']
    assert "docs/models/glm/index.md" not in rows
    order = [
        line.split("/")[1] for line in (root / "docs/index.md").read_text().splitlines() if line.endswith("index.md")
    ]
    assert order == sorted(order)


def test_a_model_of_a_known_family_joins_its_rows(root: Path) -> None:
    rows = added(root, called("glm5", "Glm5", "glm"))
    assert rows["docs/models/glm/index.md"] == ["glm5.md", "| Glm5 | [glm5.md](glm5.md) |"]
    assert rows["docs/models/README.md"] == ["| **GLM** | [GLM-4](glm/glm4.md), [Glm5](glm/glm5.md) |"]
    assert rows["README.md"] == ["| [**GLM**](docs/models/glm/index.md) | GLM-4, GLM-4.5 (Air, V), Glm5 |"]
    assert "docs/index.md" not in rows


def test_documentation_may_be_filed_under_a_shorter_name_than_code(root: Path) -> None:
    place = doc_place(called("minimax_m5", "MiniMaxM5"), root)
    assert (place.folder, place.page, place.new_folder) == ("minimax", "minimax-m5.md", False)
    assert page_link(called("minimax_m5", "MiniMaxM5"), root) == "minimax/minimax-m5.md"
    known = dataclasses.replace(called("glm4", "Glm4", "glm"), registered=True)
    assert page_link(known, root) == "README.md", "a page of another name may have it, and ours is not written"
    assert doc_place(called("minimaxi", "Minimaxi"), root).new_folder, "a name that merely begins alike is another"


def test_a_family_of_one_page_without_an_index_stays_so(root: Path) -> None:
    rows = added(root, called("ernie5", "Ernie5", "ernie"))
    assert rows["docs/index.md"] == ["models/ernie/ernie5.md"]
    assert rows["README.md"] == ["| **Ernie** | [Ernie 4.5](https://example.com/ernie), Ernie5 |"]
    files = [row[0] for row in new_files(called("ernie5", "Ernie5", "ernie"), {}, root=root)]
    assert "docs/models/ernie/ernie5.md" in files and "docs/models/ernie/index.md" not in files


def test_a_class_that_transformers_lacks_is_registered_by_its_name(root: Path) -> None:
    rows = added(root, called("fjord", "Fjord"), in_transformers=False)
    assert rows[MATRIX][-1] == '    "FjordForCausalLM",'
    value = ast.parse((root / MATRIX).read_text())
    assert len(value.body) == 2


def test_what_has_another_shape_is_left_alone_and_said(root: Path) -> None:
    (root / "README.md").write_text("| Model | Status |\n|---|---|\n")
    (root / MATRIX).write_text("EXPECTED_REGISTRATIONS = load()\n")
    (root / "docs/models/README.md").unlink()
    found = edits(called("fjord", "Fjord"), choose_blocks(qwen3()), qwen3(), root)
    assert {note.split(":")[0] for note in found.notes} == {"README.md", MATRIX}
    assert {change.path for change in found.changes} == {"src/megatron/bridge/models/__init__.py", "docs/index.md"}


def test_a_bridge_that_is_there_keeps_its_documentation(root: Path) -> None:
    names = dataclasses.replace(called("glm4", "Glm4", "glm"), registered=True)
    assert edits(names, choose_blocks(qwen3()), qwen3(), root).changes == ()
    assert not [row[0] for row in new_files(names, {}, root=root) if row[0].startswith("docs")]


def test_pages_that_somebody_wrote_stay_and_are_told(root: Path) -> None:
    names = called("fjord", "Fjord")
    (page,) = [row[0] for row in new_files(names, {}, root=root) if row[0].endswith("fjord.md")]
    (root / page).parent.mkdir(parents=True)
    (root / page).write_text("# Fjord\n")
    assert page not in [row[0] for row in new_files(names, {}, root=root)]
    notes = edits(names, choose_blocks(qwen3()), qwen3(), root).notes
    assert f"{page} is there already and stays as it is" in notes


def test_the_site_gets_a_twin_of_the_page_and_its_place_in_the_navigation(root: Path) -> None:
    site, below = root / "docs/fern/versions", "./nightly/pages/models"
    names = called("fjord", "Fjord")
    assert not [row[0] for row in new_files(names, {}, root=root) if row[0].endswith(".mdx")]
    (site / "nightly/pages/models").mkdir(parents=True)
    groups = "".join(
        f"  - section: {name}\n    contents:\n    - page: {name}\n      path: {below}/{name.lower()}/x.mdx\n"
        for name in ("GLM", "Qwen")
    )
    (site / "nightly.yml").write_text(f"navigation:\n- section: Models\n  contents:\n{groups}")
    found = {change.path: change for change in edits(names, choose_blocks(qwen3()), qwen3(), root).changes}
    assert (
        f"    - page: Fjord\n      path: {below}/fjord/fjord.mdx\n" in found["docs/fern/versions/nightly.yml"].content
    )
    twins = [row for row in new_files(names, {}, root=root) if row[0].endswith(".mdx")]
    assert [row[:2] for row in twins] == [("docs/fern/versions/nightly/pages/models/fjord/fjord.mdx", "docs.md.j2")]


def family_of(model_type: str, architecture: str) -> Names:
    rows = (
        Registration("GLMForCausalLM", "class", "megatron.bridge.models.glm.glm_bridge", "GLMBridge"),
        Registration("GlmvForConditionalGeneration", "class", "megatron.bridge.models.glm_vl.v_bridge", "GLMVBridge"),
    )
    profile = dataclasses.replace(PROFILE, layout="checkout", registrations=rows)
    return names_of(dataclasses.replace(qwen3(), model_type=model_type, architecture=architecture), profile)


@pytest.mark.parametrize(
    ("model_type", "architecture", "family"),
    [
        ("glm7", "Glm7ForCausalLM", "glm"),
        ("glm_vl2", "GlmVl2ForCausalLM", "glm"),
        ("glm_vl2", "GlmVl2ForConditionalGeneration", "glm_vl"),
        ("glm7v", "Glm7vForConditionalGeneration", "glm7v"),
        ("glmour", "GlmourForCausalLM", "glmour"),
    ],
)
def test_the_family_takes_models_of_its_name_and_kind(model_type: str, architecture: str, family: str) -> None:
    names = family_of(model_type, architecture)
    assert names.family == family
    assert bool(names.why) == (family != model_type), "a family that is joined says why"
