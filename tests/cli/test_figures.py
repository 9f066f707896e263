"""Figures of a verification, told in the generated files that hold some: merged, recorded, and gone with `undo`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scaffold import look
from scaffold.figures import keep_figures
from scaffold.run_folder import RunFolder
from scaffold_tools.paths import data_dir
from scaffold_tools.render import Renderer
from scaffold_tools.targets.megatron_bridge.cards import TEMPLATE, UNMEASURED, design_card
from scaffold_tools.verify.evidence import Check, Evidence
from scaffold_tools.workspace import apply, undo
from scaffold_tools.workspace.plan import Change
from support.runs import planned_run

from .conftest import bytes_in

CARD = "examples/model_verification_cards/fjord/card.yaml"


def evidence(figure: float = 1e-6, status: str = "passed") -> Evidence:
    check = Check("logits.max_abs", status, figure, 1e-4)  # type: ignore[arg-type]
    return Evidence("cpu", "m:B", None, (check,), {}, 1.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout that keeps cards."""
    other = tmp_path / "checkout" / "examples" / "model_verification_cards" / "a" / "card.yaml"
    other.parent.mkdir(parents=True)
    other.write_text("  base_container: nvcr.io/nvidia/nemo:26.08\n")
    return tmp_path / "checkout"


@pytest.fixture
def folder(root: Path, tmp_path: Path) -> RunFolder:
    """A run that put a card into it, among other files."""
    made = planned_run(tmp_path)
    card = design_card(None, None, stem="fjord", architecture="FjordForCausalLM", root=root)
    assert card is not None and card.path == CARD
    text = Renderer(data_dir("templates") / "megatron_bridge").render(TEMPLATE, card.words)
    changes = (Change(CARD, "create", text, "card"), Change("src/x.py", "create", "x = 1\n", "code"))
    plan = dataclasses.replace(look.load_plan(made), layout="checkout", root=str(root), changes=changes)
    made.save("plan", plan)
    apply(plan, root, record_dir=made.path)
    return made


def test_a_card_is_told_what_was_measured_and_the_run_knows(folder: RunFolder, root: Path) -> None:
    assert UNMEASURED in (root / CARD).read_text()
    assert keep_figures(folder, evidence()) == (CARD,)
    assert "logits 1e-06" in " ".join((root / CARD).read_text().split())
    assert {state.status for state in look.status(folder).files} == {"identical"}
    before = bytes_in(root)
    assert keep_figures(folder, evidence()) == ()
    assert bytes_in(root) == before


def test_newer_figures_leave_what_people_wrote(folder: RunFolder, root: Path) -> None:
    keep_figures(folder, evidence())
    text = (root / CARD).read_text()
    (root / CARD).write_text(text.replace("    status: unverified", "    status: verified", 1))
    keep_figures(folder, evidence(0.5, "failed"))
    after = (root / CARD).read_text()
    assert "does not agree" in " ".join(after.split()) and "    status: verified\n" in after and "<<<<<<<" not in after
    assert (root / "src/x.py").read_text() == "x = 1\n"


def test_undo_takes_the_card_and_its_figures_away(folder: RunFolder, root: Path) -> None:
    keep_figures(folder, evidence())
    undo(root, folder.path)
    assert list(bytes_in(root)) == ["examples/model_verification_cards/a/card.yaml"]


def test_a_run_that_is_not_applied_has_no_files_to_tell(tmp_path: Path) -> None:
    assert keep_figures(planned_run(tmp_path), evidence()) == ()
