"""The verification card: valid, unverified, and with figures of small models told as what they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from scaffold_tools.paths import data_dir
from scaffold_tools.render import Renderer
from scaffold_tools.targets.megatron_bridge.cards import TEMPLATE, UNMEASURED, Card, design_card, tell
from scaffold_tools.verify.evidence import Check, Evidence

REVISION = "b" * 40
REQUIRED = {"title", "model", "verification_environment", "summary", "verification_index", "items"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, container in (
        ("a", "nvcr.io/nvidia/nemo:26.06"),
        ("b", "nvcr.io/nvidia/nemo:26.08"),
        ("c", "nvcr.io/nvidia/nemo:26.08"),
    ):
        card = tmp_path / "examples" / "model_verification_cards" / name / "card.yaml"
        card.parent.mkdir(parents=True)
        card.write_text(f"verification_environment:\n  base_container: {container}\n")
    (tmp_path / "pyproject.toml").write_text('dependencies = [\n    "transformers>=5.8,<=5.12.1",\n]\n')
    return tmp_path


def designed(root: Path, model_id: str | None = "org/Fjord-8B") -> Card:
    found = design_card(model_id, REVISION, stem="fjord", architecture="FjordForCausalLM", root=root)
    assert found is not None
    return found


def rendered(card: Card) -> str:
    return Renderer(data_dir("templates") / "megatron_bridge").render(TEMPLATE, card.words)


def evidence(*checks: Check, **environment: str) -> Evidence:
    return Evidence("cpu", "m:B", None, checks, {"transformers": "5.12.1", **environment}, 1.0)


PASSED = (
    Check("round_trip.exact", "passed", "45/45", toy="a"),
    Check("round_trip.exact", "passed", "38/38", toy="b"),
    Check("logits.max_abs", "passed", 1e-6, toy="a"),
    Check("logits.max_abs", "passed", 3e-6, toy="b"),
    Check("logits.cosine", "passed", 0.99, toy="a"),
    Check("logits.cosine", "passed", 1.0, toy="b"),
)


def test_every_item_is_there_unverified_and_indexed_as_such(root: Path) -> None:
    card = yaml.safe_load(rendered(designed(root)))
    assert set(card) == REQUIRED and len(card["items"]) == 12
    indexed = {*card["verification_index"]["model_level"]["unverified"]}
    indexed |= {*card["verification_index"]["training"]["H100"]["unverified"]}
    assert indexed == set(card["items"])
    leaves = [item.get("H100", item) for item in card["items"].values()]
    assert {leaf["status"] for leaf in leaves} == {"unverified"}
    assert all(leaf["last_verified"] is None and "Not run" in leaf["expected_result"] for leaf in leaves)
    assert UNMEASURED in " ".join(card["summary"].split())


def test_the_environment_is_what_the_checkout_says(root: Path) -> None:
    card = yaml.safe_load(rendered(designed(root)))
    assert card["verification_environment"]["base_container"] == "nvcr.io/nvidia/nemo:26.08"
    model = card["model"]
    assert (model["hf_id"], model["hf_revision"]) == ("org/Fjord-8B", REVISION)
    assert (model["architecture"], model["min_transformers_version"]) == ("FjordForCausalLM", "5.8.0")


def test_a_model_without_an_id_has_upstreams_placeholder(root: Path) -> None:
    card = designed(root, None)
    assert card.path == "examples/model_verification_cards/fjord/card.yaml"
    assert yaml.safe_load(rendered(card))["model"]["hf_id"] == "ORG/MODEL"


def test_a_card_that_somebody_filled_in_stays(root: Path) -> None:
    card = root / designed(root).path
    card.parent.mkdir()
    card.write_text("verification_environment:\n  base_container: x\n")
    assert design_card("org/Fjord-8B", REVISION, stem="fjord", architecture="FjordForCausalLM", root=root) is None
    assert designed(root, "org/Fjord-9B") is not None


def test_a_checkout_without_cards_gets_none(tmp_path: Path) -> None:
    assert design_card("org/m", REVISION, stem="m", architecture="MForCausalLM", root=tmp_path) is None


def test_figures_are_told_as_those_of_small_models_and_verify_no_item(root: Path) -> None:
    card = designed(root)
    text = rendered(card)
    after = tell(card.path, text, evidence(*PASSED), None)
    assert after is not None
    read = yaml.safe_load(after)
    summary = " ".join(read["summary"].split())
    assert summary.startswith("Performance disclaimer:") and "random weights" in summary and "agrees" in summary
    assert "83 of 83" in summary and "logits 3e-06" in summary
    assert UNMEASURED not in summary and read["items"] == yaml.safe_load(text)["items"]


def test_the_worst_figure_is_told_and_a_failure_is_one(root: Path) -> None:
    card = designed(root)
    bad = evidence(*PASSED, Check("generation.greedy", "failed", "2/6"))
    summary = " ".join(yaml.safe_load(str(tell(card.path, rendered(card), bad, None)))["summary"].split())
    assert (
        "does not agree (1 checks failed)" in summary
        and "2 of 6" in summary
        and "cosine similarity of logits 0.99" in summary
    )


def test_new_figures_take_the_place_of_old_ones_and_can_be_taken_back(root: Path) -> None:
    card = designed(root)
    text = rendered(card)
    once = str(tell(card.path, text, evidence(*PASSED), None))
    assert tell(card.path, once, evidence(*PASSED), None) == once
    assert tell(card.path, once, None, None) == text


def test_other_files_hold_no_figures(root: Path) -> None:
    assert tell("README.md", "x", evidence(*PASSED), None) is None


def test_text_from_the_lane_cannot_add_keys(root: Path) -> None:
    card = designed(root)
    hostile = evidence(Check("round_trip.exact", "passed", "1/1\nitems: {}"), torch="2.0\nmodel: {}")
    after = yaml.safe_load(str(tell(card.path, rendered(card), hostile, None)))
    assert set(after) == REQUIRED and json.dumps(after["items"]) == json.dumps(yaml.safe_load(rendered(card))["items"])


def test_the_commit_is_the_one_that_the_first_apply_was_made_on(root: Path) -> None:
    card = designed(root)
    card.words["card"]["commit"] = "1" * 40
    after = yaml.safe_load(str(tell(card.path, rendered(card), None, "2" * 40)))
    assert after["verification_environment"]["bridge_commit"] == "2" * 40
    assert "1" * 40 in str(tell(card.path, rendered(card), None, "$(x)"))
