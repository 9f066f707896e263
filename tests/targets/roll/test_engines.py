"""An engine's own registry decides, with what was looked at, and what is missing is said exactly."""

from __future__ import annotations

import dataclasses

import pytest

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.errors import BadInput
from scaffold_tools.targets.roll.engines import EngineSupport, engine_support
from scaffold_tools.targets.roll.strategies_transformers import ClassFacts
from targets.blueprints import qwen3, role
from targets.roll.engine_trees import MOE_BACKEND, ONE_CHECK, PLAN_RAISES, sglang_tree, vllm_tree

KNOWN = ClassFacts(
    release="5.99.0",
    where="models/finch/modeling_finch.py:9",
    auto_causal="FinchForCausalLM",
    auto_image_text=None,
    pretrained=True,
    attention_backend=True,
    can_set_attention=True,
    tp_plan=True,
    pp_plan=True,
    layer_classes=("FinchDecoderLayer",),
    conversions=(),
)
OLD = dataclasses.replace(KNOWN, attention_backend=False, can_set_attention=False)


def model(architecture: str = "FinchForCausalLM", *, experts: bool = False) -> Blueprint:
    blueprint = dataclasses.replace(qwen3(), architecture=architecture, model_type="finch")
    if not experts:
        return blueprint
    row = role("moe.expert.gate", "model.layers.*.mlp.experts.*.gate_proj.weight", (64, 32))
    return dataclasses.replace(blueprint, roles=(*blueprint.roles, row))


@pytest.fixture
def asked(tmp_path):
    """Ask a vLLM and an SGLang in miniature."""

    def ask(blueprint: Blueprint, known: ClassFacts | None, checkout=None, **tree) -> dict[str, EngineSupport]:
        if not (tmp_path / "vllm").exists():
            vllm_tree(tmp_path / "vllm", **tree)
            sglang_tree(tmp_path / "sglang")
        named = {"SCAFFOLD_VLLM_REPO": str(tmp_path / "vllm"), "SCAFFOLD_SGLANG_REPO": str(tmp_path / "sglang")}
        rows = engine_support(blueprint, known, site_packages=None, checkout=checkout, environment=named)
        return {row.engine: row for row in rows}

    return ask


def test_a_registered_architecture_is_the_engines_own_model(asked):
    support = asked(model("WrenForCausalLM"), None)
    assert (support["vllm"].verdict, support["sglang"].verdict) == ("own model", "own model")
    assert "wren:WrenForCausalLM" in support["vllm"].line
    assert "0.99.0 (the checkout, commit 0123abc45)" in support["vllm"].line


def test_a_class_that_passes_the_checks_goes_through_transformers(asked):
    support = asked(model(), KNOWN)["vllm"]
    assert (support.verdict, support.supported, support.missing) == ("through transformers", True, ())
    assert "models/finch/modeling_finch.py:9" in support.why


def test_a_class_that_fails_them_says_which_line_is_missing(asked):
    support = asked(model(), OLD)
    assert support["vllm"].verdict == "not supported"
    assert support["vllm"].missing[0] == (
        "_supports_attention_backend = True or attention through ALL_ATTENTION_FUNCTIONS"
        " in models/finch/modeling_finch.py:9"
    )
    assert support["sglang"].missing[0] == "_supports_attention_backend = True in models/finch/modeling_finch.py:9"
    assert "SGLANG_EXTERNAL_MODEL_PACKAGE" in support["sglang"].missing[-1]


def test_one_of_the_alternatives_suffices(asked):
    half = dataclasses.replace(OLD, can_set_attention=True)
    support = asked(model(), half)
    assert support["vllm"].supported  # asks for either
    assert not support["sglang"].supported  # asks for the one that fails


def test_experts_need_a_class_for_experts(asked):
    assert asked(model(experts=True), KNOWN, backends="")["vllm"].missing[0].endswith("no class for experts")


def test_experts_are_taken_where_there_is_one(asked):
    assert asked(model(experts=True), KNOWN, backends=MOE_BACKEND)["vllm"].supported


def test_a_class_without_a_plan_is_not_split_where_that_raises(asked):
    plain = dataclasses.replace(KNOWN, tp_plan=False)
    support = asked(model(), plain, gate=ONE_CHECK, runner=PLAN_RAISES)
    assert support["vllm"].supported
    assert "only on one GPU an instance" in support["vllm"].limits[0]


def test_where_it_only_warns_it_is_no_limit(asked):
    assert asked(model(), dataclasses.replace(KNOWN, tp_plan=False))["vllm"].limits == ()


def test_an_architecture_that_was_dropped_says_until_when_it_was_there(asked):
    assert "0.9.2 was the last version with it" in asked(model("DodoForCausalLM"), OLD)["vllm"].why


def test_an_architecture_that_is_listed_for_transformers_needs_no_check(asked):
    assert asked(model("OwlForCausalLM"), OLD)["vllm"].verdict == "through transformers"


def test_a_class_that_nobody_knows_is_not_decided(asked):
    support = asked(model(), None)["vllm"]
    assert (support.verdict, support.supported) == ("not known", False)
    assert "auto_map" in support.missing[0]


def test_a_plain_module_is_not_taken(asked):
    support = asked(model(), dataclasses.replace(KNOWN, pretrained=False))["vllm"]
    assert "a class that inherits from PreTrainedModel" in support.missing


def test_an_installed_engine_goes_before_a_recorded_one(tmp_path):
    vllm_tree(tmp_path)
    rows = engine_support(model(), KNOWN, site_packages=tmp_path, checkout=None, environment={})
    vllm, sglang = rows
    assert "0.99.0 (installed)" in vllm.line
    assert "recorded on" in sglang.line


def test_versions_that_the_checkout_asks_for_are_answered_too(asked, tmp_path):
    roll = tmp_path / "roll"
    roll.mkdir()
    (roll / "requirements_a.txt").write_text("torch==2.6.0\nvllm==0.8.4\nsglang[srt]==0.5.2\n")
    (roll / "requirements_b.txt").write_text("vllm==0.0.1\n")
    support = asked(model("Qwen3ForCausalLM"), KNOWN, checkout=roll)
    assert support["vllm"].pins == (
        "in 0.8.4, which this ROLL asks for too: own model",
        "0.0.1, which this ROLL asks for too, was not looked at",
    )
    assert support["sglang"].pins == ("in 0.5.2, which this ROLL asks for too: own model",)


def test_a_variable_that_names_no_engine_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="SCAFFOLD_VLLM_REPO"):
        engine_support(
            model(), KNOWN, site_packages=None, checkout=None, environment={"SCAFFOLD_VLLM_REPO": str(tmp_path)}
        )
