"""Strategies that run classes of transformers: what they ask for, what is missing, which lists a model belongs in."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.roll.strategies import (
    CHECKS,
    StrategySupport,
    edits,
    renamed,
    strategy_support,
)
from scaffold_tools.targets.roll.strategies_checkout import FSDP2_UPDATE, PROVIDERS, read_training
from scaffold_tools.targets.roll.strategies_conversions import Conversion
from scaffold_tools.targets.roll.strategies_transformers import ClassFacts, positions_code
from targets.blueprints import qwen3, role
from targets.roll.roll_tree import roll_tree
from targets.roll.test_engines import KNOWN

JOINED = (
    Conversion(
        ("mlp.experts.*.gate_proj.weight", "mlp.experts.*.up_proj.weight"),
        ("mlp.experts.gate_up_proj",),
        ("MergeModulelist", "Concatenate"),
    ),
    Conversion(("mlp.experts.*.down_proj.weight",), ("mlp.experts.down_proj",), ("MergeModulelist",)),
)
MOE = dataclasses.replace(KNOWN, conversions=JOINED)


def model(model_type: str = "finch", *, experts: bool = False, folder: str = "mlp.experts") -> Blueprint:
    blueprint = dataclasses.replace(qwen3(), architecture="FinchForCausalLM", model_type=model_type)
    rows = [
        role(f"moe.expert.{name}", f"model.layers.*.{folder}.*.{name}_proj.weight", (64, 32))
        for name in ("gate", "up", "down")
    ]
    return dataclasses.replace(blueprint, roles=(*blueprint.roles, *(rows if experts else ())))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    return roll_tree(tmp_path_factory.mktemp("roll"))


def asked(blueprint: Blueprint, known: ClassFacts | None, root: Path) -> dict[str, StrategySupport]:
    return {row.family: row for row in strategy_support(blueprint, known, read_training(root))}


def test_a_checkout_is_read(checkout):
    training = read_training(checkout)
    assert training.strategies == ("vllm", "sglang", "megatron_train", "fsdp2_train")
    assert training.auto_classes == ("AutoModelForImageTextToText", "AutoModelForCausalLM")
    assert training.undone_types == ("wren_moe", "wren_next")
    assert training.undo[0].names == ("experts.*.gate_proj.weight", "experts.*.up_proj.weight")
    (branch,) = training.position_branches
    assert (branch.model_types, branch.module) == (
        ("wren_vl", "wren_vl_moe"),
        "transformers.models.wren_vl.modeling_wren_vl",
    )


def test_a_class_that_meets_every_check_is_supported(checkout):
    support = asked(model(), KNOWN, checkout)["fsdp2"]
    assert (support.verdict, support.missing) == ("supported", ())
    assert "loaded by AutoModelForCausalLM" in support.why
    assert "models/finch/modeling_finch.py:9" in support.why


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"auto_causal": None}, "an entry for finch in AutoModelForImageTextToText and AutoModelForCausalLM"),
        ({"pretrained": False}, "PreTrainedModel"),
        ({"checkpointing": False}, "supports_gradient_checkpointing"),
        ({"layer_classes": ()}, "_no_split_modules"),
        ({"conversions": (Conversion(("self_attn.q_proj",), ("attn.query",), ()),)}, "attn.query"),
    ],
)
def test_each_check_says_what_is_missing(checkout, change, word):
    support = asked(model(), dataclasses.replace(KNOWN, **change), checkout)["fsdp2"]
    assert support.verdict == "not supported"
    assert len(support.missing) == 1
    assert word in support.missing[0]


def test_every_check_has_a_reason():
    assert len(CHECKS) == 5  # as many as there are cases above
    assert all(reason for _, reason in CHECKS)


def test_an_image_class_is_loaded_by_the_auto_class_that_comes_first(checkout):
    known = dataclasses.replace(KNOWN, auto_image_text="FinchForConditionalGeneration")
    assert "loaded by AutoModelForImageTextToText" in asked(model(), known, checkout)["fsdp2"].why


def test_a_class_that_is_nowhere_is_not_decided(checkout):
    assert asked(model(), None, checkout)["fsdp2"].verdict == "not known"


def test_deepspeed_is_told_apart_by_the_factory(checkout, tmp_path):
    assert asked(model(), KNOWN, checkout)["deepspeed"].verdict == "not in this ROLL"
    support = asked(model(), KNOWN, roll_tree(tmp_path, deepspeed=True))["deepspeed"]
    assert (support.verdict, support.why.split(",")[0]) == ("supported", "deepspeed_train")


def test_joined_experts_have_other_names_than_on_disk():
    assert renamed(model(experts=True), MOE) == {
        "model.layers.*.mlp.experts.*.gate_proj.weight": "model.layers.*.mlp.experts.gate_up_proj",
        "model.layers.*.mlp.experts.*.up_proj.weight": "model.layers.*.mlp.experts.gate_up_proj",
        "model.layers.*.mlp.experts.*.down_proj.weight": "model.layers.*.mlp.experts.down_proj",
    }
    assert renamed(model(), MOE) == {}


def test_joined_experts_that_the_generator_undoes_need_the_list_alone(checkout):
    support = asked(model(experts=True), MOE, checkout)["fsdp2"]
    assert support.verdict == "with the edit of this plan"
    training = read_training(checkout)
    (change,) = edits(model(experts=True), MOE, training, root=checkout, site_packages=None)
    assert change.path == FSDP2_UPDATE
    before = (checkout / FSDP2_UPDATE).read_text()
    assert change.content == before.replace('"wren_next")', '"wren_next", "finch")')


def test_a_model_type_that_is_listed_needs_no_edit(checkout):
    listed = model("wren_moe", experts=True)
    assert asked(listed, MOE, checkout)["fsdp2"].verdict == "supported"
    assert edits(listed, MOE, read_training(checkout), root=checkout, site_packages=None) == ()


@pytest.mark.parametrize(
    ("known", "blueprint"),
    [
        (
            dataclasses.replace(
                MOE, conversions=(dataclasses.replace(JOINED[0], stored=JOINED[0].stored[::-1]), JOINED[1])
            ),
            model(experts=True),
        ),
        (
            dataclasses.replace(
                MOE, conversions=(dataclasses.replace(JOINED[0], operations=("Transpose",)), JOINED[1])
            ),
            model(experts=True),
        ),
        (
            dataclasses.replace(MOE, conversions=(Conversion((".moe.",), (".mlp.",), ()), *JOINED)),
            model(experts=True, folder="moe.experts"),
        ),
    ],
    ids=["up before gate", "transposed", "another folder on disk"],
)
def test_what_the_generator_would_get_wrong_is_not_listed(checkout, known, blueprint):
    training = read_training(checkout)
    assert edits(blueprint, known, training, root=checkout, site_packages=None) == ()
    assert asked(blueprint, known, checkout)["fsdp2"].verdict == "not supported"


def test_a_checkout_without_the_generator_cannot_hand_experts_on(tmp_path):
    root = roll_tree(tmp_path, undoes=False)
    support = asked(model(experts=True), MOE, root)["fsdp2"]
    assert support.verdict == "not supported"
    assert "is model.layers.*.mlp.experts.*.gate_proj.weight on disk" in support.missing[0]


VISION = '''
class {name}Model(PreTrainedModel):
    def get_rope_index(self, input_ids, image_grid_thw=None):
        """{words}"""
        return input_ids {sign} 1
'''


@pytest.fixture
def site_packages(tmp_path) -> Path:
    folder = tmp_path / "transformers" / "models" / "wren_vl"
    folder.mkdir(parents=True)
    (folder / "modeling_wren_vl.py").write_text(VISION.format(name="WrenVL", words="Of a wren.", sign="+"))
    return tmp_path


def vision(tmp_path: Path, sign: str) -> ClassFacts:
    path = tmp_path / "own.py"
    path.write_text(VISION.format(name="Finch", words="Of a finch.", sign=sign))
    return dataclasses.replace(KNOWN, auto_image_text="FinchForImages", positions=positions_code(path))


def test_a_model_with_the_same_code_for_positions_joins_their_list(checkout, site_packages, tmp_path):
    known = vision(tmp_path, "+")
    (change,) = edits(model(), known, read_training(checkout), root=checkout, site_packages=site_packages)
    before = (checkout / PROVIDERS).read_text()
    assert change.path == PROVIDERS
    assert before.count('("wren_vl", "wren_vl_moe")') == 2
    assert change.content == before.replace('("wren_vl", "wren_vl_moe")', '("wren_vl", "wren_vl_moe", "finch")')


def test_a_model_with_other_code_does_not(checkout, site_packages, tmp_path):
    known = vision(tmp_path, "-")
    assert edits(model(), known, read_training(checkout), root=checkout, site_packages=site_packages) == ()


@pytest.mark.skipif(not os.environ.get("SCAFFOLD_ROLL_REPO"), reason="SCAFFOLD_ROLL_REPO names no checkout")
def test_a_real_checkout_is_read_whole():
    training = read_training(Path(os.environ["SCAFFOLD_ROLL_REPO"]))
    assert {"megatron_train", "megatron_infer", "vllm", "sglang"} <= set(training.strategies)
    assert "AutoModelForCausalLM" in training.auto_classes
    assert not any(name.startswith("fsdp2_") for name in training.strategies) or training.undo
