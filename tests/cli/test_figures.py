"""Figures of a verification, told in the generated files that hold some: merged, recorded, and gone with `undo`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scaffold import look, steps
from scaffold.figures import as_told_last, keep_figures
from scaffold.run_folder import RunFolder
from scaffold.targets import find_target
from scaffold_tools.paths import data_dir
from scaffold_tools.render import Renderer
from scaffold_tools.targets.megatron_bridge.cards import TEMPLATE, UNMEASURED, design_card
from scaffold_tools.verify.evidence import Check, Evidence
from scaffold_tools.workspace import apply, read_record, sha256, undo
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


def test_a_plan_made_again_has_the_figures_that_were_told_last(folder: RunFolder, root: Path) -> None:
    bare = look.load_plan(folder)
    keep_figures(folder, evidence())
    record, target = read_record(folder.path), find_target("megatron-bridge")
    assert record is not None
    again = as_told_last(bare, target, record, folder.path)
    assert {change.path: change.content for change in again.changes}[CARD] == (root / CARD).read_text()
    newer = dataclasses.replace(bare.changes[0], content=bare.changes[0].content.replace("FjordFor", "BayFor"))
    other = as_told_last(dataclasses.replace(bare, changes=(newer,)), target, record, folder.path)
    assert UNMEASURED in other.changes[0].content, "figures of another card are not this one's"


def test_undo_takes_the_card_and_its_figures_away(folder: RunFolder, root: Path) -> None:
    keep_figures(folder, evidence())
    undo(root, folder.path)
    assert list(bytes_in(root)) == ["examples/model_verification_cards/a/card.yaml"]


def test_a_run_that_is_not_applied_has_no_files_to_tell(tmp_path: Path) -> None:
    assert keep_figures(planned_run(tmp_path), evidence()) == ()


def test_what_a_run_wrote_is_not_what_the_target_had(folder: RunFolder, root: Path) -> None:
    """The same command again must not take the first one's bridge for the target's own."""
    assert steps.is_ours("x:Bridge", folder, root)
    assert not steps.is_ours("y:Bridge", folder, root)
    assert not steps.is_ours("x:Bridge", folder, root.parent)
    assert not steps.is_ours("x:Bridge", folder, None)
    (root / "src/x.py").write_text("x = 2\n")
    replaced = Change("src/z.py", "create", "z\n", "code", before_sha256=sha256(b"theirs"))
    (root / "src/z.py").write_bytes(b"theirs")
    apply(dataclasses.replace(look.load_plan(folder), changes=(replaced,)), root, record_dir=folder.path)
    assert not steps.is_ours("src.z:Bridge", folder, root), "it was the target's before"
