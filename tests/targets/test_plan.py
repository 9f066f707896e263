"""The whole plan of one model: its files, their style, and what hostile names can do to it (nothing).

Goldens are regenerated with `SCAFFOLD_UPDATE_GOLDEN=1 pytest tests/targets/test_plan.py` and reviewed as diffs.
"""

from __future__ import annotations

import ast
import dataclasses
import os
from pathlib import Path

import pytest

from scaffold_tools.blueprint.facts import KeyUse
from scaffold_tools.errors import BadInput
from scaffold_tools.render import Style, lint_many
from scaffold_tools.targets.megatron_bridge.plan import Options, make_plan
from targets.blueprints import key, qwen3, with_fact, with_key
from targets.test_rules import PROFILE

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "megatron_bridge" / "qwen3"
OPTIONS = Options(year=2026, revision="b968826d9c46dd6066d109eabc6255188de91218")


def plan_of(blueprint, root=Path("/nowhere")):
    return make_plan(blueprint, root=root, profile=PROFILE, options=OPTIONS)


def texts(blueprint):
    return {change.path: change.content for change in plan_of(blueprint).changes}


def test_the_files_are_the_golden_ones():
    found = texts(qwen3())
    if os.environ.get("SCAFFOLD_UPDATE_GOLDEN"):
        for path, text in found.items():
            (GOLDEN / path).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / path).write_text(text, encoding="utf-8")
    golden = {
        path.relative_to(GOLDEN).as_posix(): path.read_text("utf-8") for path in GOLDEN.rglob("*") if path.is_file()
    }
    assert found == golden


def test_planning_twice_gives_the_same():
    assert plan_of(qwen3()) == plan_of(qwen3())


def test_generated_code_passes_the_target_linter():
    blueprint = with_fact(qwen3(), "norm.eps", 1e-5, key("norm_epsilon"))
    blueprint = with_fact(blueprint, "attention.window", [9] * 36, key("sliding_window"))
    files = {path: text for path, text in texts(blueprint).items() if path.endswith(".py")}
    own = dataclasses.replace(Style(), known_first_party=("megatron.bridge", "scaffold_qwen3"))
    assert lint_many(files, own) == ()


def test_the_bridge_is_registered_by_class_only_where_transformers_has_it():
    bridge = "scaffold_qwen3/qwen3_bridge.py"
    assert "source=Qwen3ForCausalLM" in texts(qwen3())[bridge]
    remote = texts(dataclasses.replace(qwen3(), in_transformers=False))[bridge]
    assert 'source="Qwen3ForCausalLM"' in remote
    assert "from transformers" not in remote


def test_a_window_is_exported_as_it_was():
    bridge = texts(with_fact(qwen3(), "attention.window", [9] * 36, key("sliding_window")))[
        "scaffold_qwen3/qwen3_bridge.py"
    ]
    assert 'hf_config["sliding_window"] = mcore_to_hf_window_size(provider.window_size)' in bridge


def test_an_activation_name_that_the_base_bridge_refuses_gets_an_alias():
    blueprint = with_fact(with_key(qwen3(), "hidden_act", "gelu_new"), "mlp.activation", "gelu_tanh")
    bridge = texts(blueprint)["scaffold_qwen3/qwen3_bridge.py"]
    assert 'if hidden_act == "gelu_new":' in bridge
    assert "def hf_to_megatron_activation" not in texts(qwen3())["scaffold_qwen3/qwen3_bridge.py"]


HOSTILE = ['"; import os #', "x\nimport os", "класс", "../../etc", "a'b\"c", "{{ 7*7 }}", "class"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_never_reach_code(name):
    """A name is refused, or folded to letters and digits; free text stays text."""
    for blueprint in (
        dataclasses.replace(qwen3(), model_type=name),
        dataclasses.replace(qwen3(), architecture=name),
        dataclasses.replace(qwen3(), model_name=name),
        with_key(qwen3(), "note", name),
    ):
        try:
            changes = plan_of(blueprint).changes
        except BadInput:
            continue
        for change in changes:
            assert ".." not in change.path and not change.path.startswith("/")
            if change.path.endswith(".py"):
                imported = {
                    alias.name
                    for node in ast.walk(ast.parse(change.content))
                    if isinstance(node, ast.Import)
                    for alias in node.names
                }
                assert "os" not in imported


def test_a_hostile_key_is_refused_where_it_would_become_code():
    blueprint = with_fact(qwen3(), "norm.eps", 1e-5, key("x) or __import__('os'"))
    with pytest.raises(BadInput):
        plan_of(blueprint)


def test_hostile_tensor_names_stay_strings():
    row = dataclasses.replace(qwen3().roles[0], pattern='model."+__import__("os").system("x")+".weight')
    bridge = texts(dataclasses.replace(qwen3(), roles=(row, *qwen3().roles[1:])))["scaffold_qwen3/qwen3_bridge.py"]
    calls = [node for node in ast.walk(ast.parse(bridge)) if isinstance(node, ast.Name) and node.id == "__import__"]
    assert not calls


def test_gaps_travel_into_the_plan():
    assert "mlp.activation" in {
        gap.subject for gap in plan_of(with_fact(qwen3(), "mlp.activation", "nobodys_curve")).gaps
    }
    stray = dataclasses.replace(qwen3().roles[0], role="moe.router", pattern="model.layers.*.router.weight")
    assert plan_of(dataclasses.replace(qwen3(), roles=(*qwen3().roles, stray))).gaps
    assert not plan_of(qwen3()).gaps


def test_the_example_config_keeps_grouped_heads_and_distinct_sizes():
    from scaffold_tools.targets.megatron_bridge.example_config import example_config

    config = example_config(
        dataclasses.replace(qwen3(), keys=(*qwen3().keys, KeyUse("layer_types", ["a"] * 36, None, None)))
    )
    assert 1 < config["num_key_value_heads"] < config["num_attention_heads"]
    assert len(config["layer_types"]) == config["num_hidden_layers"]
    sizes = [config[name] for name in ("hidden_size", "intermediate_size", "vocab_size", "head_dim")]
    assert len(set(sizes)) == len(sizes)


def test_the_example_config_keeps_the_channels_of_state_space_layers_a_multiple_of_the_width():
    from scaffold_tools.targets.megatron_bridge.example_config import example_config

    blueprint = with_key(with_key(qwen3(), "mamba_n_heads", 128), "mamba_d_head", 64)
    for name, value, expression in (
        ("mamba.heads", 128, key("mamba_n_heads")),
        ("mamba.head_dim", 64, key("mamba_d_head")),
        ("mamba.groups", 1, None),
    ):
        blueprint = with_fact(blueprint, name, value, expression)
    config = example_config(blueprint)
    assert config["mamba_n_heads"] * config["mamba_d_head"] == 2 * config["hidden_size"]
    own = example_config(with_key(blueprint, "mamba_d_ssm", 8192))
    assert (own["mamba_n_heads"], own["mamba_d_head"]) == (128, 64), "the width is a key of its own, and stays with it"
