"""Floating point operations: what providers count by themselves, against a count from the shapes of tensors."""

from __future__ import annotations

import ast
import dataclasses
import json
import math
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.render import Style, lint_many
from scaffold_tools.targets.megatron_bridge.blocks import choose_blocks
from scaffold_tools.targets.megatron_bridge.flops import COSTS, COUNTED, flops_words, uncounted
from scaffold_tools.targets.megatron_bridge.flops_expected import SEQ_LENGTH, flops_test_words, multiplications
from scaffold_tools.targets.megatron_bridge.flops_source import HOOK, read_counted
from scaffold_tools.targets.megatron_bridge.plan import Options, make_plan
from targets.blueprints import fact, qwen3, role, with_fact
from targets.checkouts import checkout, plan_in
from targets.test_recipe_rules import mixture
from targets.test_rules import PROFILE

SEQ, VOCAB = 512, 151936
HALF = [layer % 2 == 0 for layer in range(36)]
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "mamba": {"in": (2 * 8192 + 2 * 8 * 128 + 128, 4096), "conv": (8192 + 2 * 8 * 128, 1, 4), "out": (4096, 8192)},
    "delta": {
        **{"q": (2048, 4096), "k": (2048, 4096), "v": (4096, 4096), "z": (4096, 4096), "b": (32, 4096)},
        **{"a": (32, 4096), "conv": (8192, 1, 4), "out": (4096, 4096)},
    },
    "selective": {
        **{"in": (16384, 4096), "conv": (8192, 1, 4), "low": (256 + 32, 8192), "step": (8192, 256)},
        "out": (4096, 8192),
    },
    "short_conv": {"in": (3 * 2048, 4096), "conv": (2048, 1, 3), "out": (4096, 2048)},
    "lru": {
        **{"gate": (2560, 4096), "in": (2560, 4096), "conv": (2560, 1, 4), "input_gate": (10, 256, 256)},
        **{"decay_gate": (10, 256, 256), "out": (4096, 2560)},
    },
    "lightning": {"in": (3 * 4096, 4096), "gate": (4096, 4096), "out": (4096, 4096)},
}
"""The matrices of one layer, as checkpoints have them."""
FIELDS: dict[str, dict[str, int]] = {
    "mamba": {
        **{"mamba_num_heads": 128, "mamba_head_dim": 64, "mamba_num_groups": 8, "mamba_state_dim": 128},
        "mamba_conv_width": 4,
    },
    "delta": {
        **{"linear_num_key_heads": 16, "linear_key_head_dim": 128, "linear_num_value_heads": 32},
        **{"linear_value_head_dim": 128, "linear_conv_kernel_dim": 4},
    },
    "selective": {
        **{"selective_inner": 8192, "selective_state_dim": 16, "selective_rank": 256, "selective_conv_width": 4},
    },
    "short_conv": {"short_conv_channels": 2048, "short_conv_width": 3},
    "lru": {"lru_width": 2560, "lru_heads": 10, "lru_conv_width": 4},
    "lightning": {"lightning_width": 4096, "lightning_heads": 32},
}
"""The same sizes, as a provider has them."""
FACTS: dict[str, dict[str, Any]] = {
    "mamba": {"mamba.heads": 128, "mamba.head_dim": 64, "mamba.groups": 8, "mamba.state_dim": 128},
    "delta": {"delta.key_heads": 16, "delta.key_dim": 128, "delta.value_heads": 32, "delta.value_dim": 128},
    "selective": {"selective.inner": 8192, "selective.state_dim": 16, "selective.rank": 256},
    "short_conv": {
        **{"short_conv.channels": 2048, "short_conv.conv_width": 3, "short_conv.bias": False},
        "short_conv.gate_place": 1,
    },
    "lru": {
        **{"lru.width": 2560, "lru.heads": 10, "lru.conv_width": 4, "lru.bias": True, "lru.power": 8.0},
        "lru.activation": "gelu_tanh",
    },
    "lightning": {"lightning.width": 4096, "lightning.heads": 32},
}
"""The same sizes, as a blueprint has them."""
STATE = {
    "mamba": 7 * 8192 * 128 / 2,  # a scan of 7 operations for each channel and state
    "delta": 32 * 128 * 128 * 4,  # each head's 128x128 state, written and read with two products each
    "selective": 7 * 8192 * 16 / 2,
    "short_conv": 0,
    "lru": 0,  # one product a channel, as small as an activation
    "lightning": 32 * 128 * 128 * 2,  # k x v into each head's state, and q x state out of it
}
"""Multiplications of one token that no matrix has."""


def matrices(blueprint: Blueprint) -> float:
    """Multiplications of one token with every matrix: rows * columns, for as many experts as it goes to."""
    top_k, total = blueprint.value("moe.top_k") or 1, 0.0
    for row in blueprint.roles:
        if row.param != "weight" or len(row.shape) < 2 or row.role in ("embed.tokens", "moe.router"):
            continue
        layers = 1 if row.layers is None else len(row.layers)
        total += math.prod(row.shape) * layers * (top_k if row.role.startswith("moe.expert") else 1)
    return total


def scores(blueprint: Blueprint, layers: int) -> float:
    """Queries with keys, and what comes out with values: each on average with half of the positions."""
    return layers * 2 * blueprint.value("num_attention_heads") * blueprint.value("head_dim") * SEQ / 2


def hybrid(kind: str, flags: list[bool] = HALF, base: Blueprint | None = None) -> Blueprint:
    """The dense model with another mixer in some layers."""
    base = base or qwen3()
    own, other = (tuple(i for i, flag in enumerate(flags) if flag is wanted) for wanted in (True, False))
    kept = tuple(
        dataclasses.replace(row, layers=other) if row.role.startswith(("attn.", "norm.q", "norm.k")) else row
        for row in base.roles
    )
    mixers = tuple(
        dataclasses.replace(role(f"{kind}.{part}", f"model.layers.*.mixer.{part}.weight", shape), layers=own)
        for part, shape in SHAPES[kind].items()
    )
    return dataclasses.replace(base, roles=(*kept, *mixers), facts=(*base.facts, fact(f"{kind}.layers", flags)))


def counted_by(words: dict[str, Any], **fields: Any) -> int:
    """Run the method as it is generated."""
    from scaffold_tools.paths import data_dir
    from scaffold_tools.render import Renderer, format_python

    templates = Renderer(data_dir("templates") / "megatron_bridge")
    common = {"year": 2026, "provenance": "", "title": "X", "prefix": "X", "stem": "x", "features": frozenset()}
    context = {**common, "imports": [], "base": "object", "layer_spec": None, "fields": [], "provides": False}
    text = format_python(templates.render("provider.py.j2", {**context, "flops": words}))
    scope: dict[str, Any] = {}
    method = next(node for node in ast.walk(ast.parse(text)) if getattr(node, "name", "") == HOOK)
    exec(compile(ast.Module([method], []), "flops", "exec"), scope)
    usual = {
        **{"hidden_size": 4096, "num_layers": 36, "num_attention_heads": 32, "kv_channels": 128},
        **{"num_query_groups": 8, "ffn_hidden_size": 12288, "gated_linear_unit": True, "vocab_size": VOCAB},
        **{"make_vocab_size_divisible_by": 128, "tensor_model_parallel_size": 1, "seq_length": SEQ},
    }
    return scope[HOOK](SimpleNamespace(**{**usual, **fields}), 3)


def words_for(features: set[str], blueprint: Blueprint) -> dict[str, Any]:
    blocks = dataclasses.replace(choose_blocks(qwen3()), features=frozenset(features))
    words = flops_words(blueprint, blocks, frozenset({HOOK}))
    assert words is not None
    return words


@pytest.mark.parametrize("kind", list(SHAPES))
def test_a_hybrid_is_counted_as_its_shapes_say(kind):
    """Sizes come from the provider's fields there, and from the shapes of tensors here."""
    blueprint = hybrid(kind)
    found = counted_by(
        words_for({"mixer", kind, f"{kind}_some"}, blueprint), **FIELDS[kind], **{f"{kind}_layers": HALF}
    )
    expected = matrices(blueprint) + scores(blueprint, 18) + 18 * STATE[kind]
    assert found == int(6 * 3 * SEQ * expected)
    stock = matrices(qwen3()) + scores(qwen3(), 36)
    assert found != int(6 * 3 * SEQ * stock), "taking every layer for attention gives another number"


def test_a_model_of_nothing_but_mixers_needs_no_heads():
    blueprint = hybrid("mamba", [True] * 36)
    found = counted_by(words_for({"mixer", "mamba"}, blueprint), **FIELDS["mamba"], kv_channels=None)
    assert found == int(6 * 3 * SEQ * (matrices(blueprint) + 36 * STATE["mamba"]))


def test_layers_with_two_mixers_pay_for_both():
    blueprint = hybrid("mamba", [True] * 36)
    blueprint = dataclasses.replace(
        blueprint,
        roles=tuple(
            dataclasses.replace(row, layers=tuple(range(36))) if row.role.startswith("attn.") else row
            for row in blueprint.roles
        ),
    )
    found = counted_by(words_for({"mamba_beside"}, blueprint), **FIELDS["mamba"])
    assert found == int(6 * 3 * SEQ * (matrices(blueprint) + scores(blueprint, 36) + 36 * STATE["mamba"]))


def test_layers_without_an_mlp_or_a_mixer_do_not_pay_for_one():
    blueprint = hybrid("mamba")
    rows = []
    for row in blueprint.roles:
        kept = row.layers
        if row.role.startswith("mlp."):
            kept = tuple(layer for layer in range(36) if layer % 3)
        elif row.role.startswith(("mamba.", "attn.")):
            kept = tuple(layer for layer in row.layers or () if layer % 5)
        rows.append(dataclasses.replace(row, layers=kept))
    blueprint = dataclasses.replace(blueprint, roles=tuple(rows))
    words = words_for({"mixer", "mamba", "mamba_some", "some_bare_layers", "lone_mlps"}, blueprint)
    lists = {
        "mamba_layers": HALF,
        "mlp_layers": [layer % 3 != 0 for layer in range(36)],
        "mixer_layers": [layer % 5 != 0 for layer in range(36)],
    }
    attending = sum(layer % 2 == 1 and layer % 5 != 0 for layer in range(36))
    scanning = sum(layer % 2 == 0 and layer % 5 != 0 for layer in range(36))
    expected = matrices(blueprint) + scores(blueprint, attending) + scanning * STATE["mamba"]
    assert counted_by(words, **FIELDS["mamba"], **lists) == int(6 * 3 * SEQ * expected)


def test_windows_shorten_what_attention_costs():
    blueprint = with_fact(hybrid("lru"), "attention.window", [64] * 36)
    words = words_for({"mixer", "lru", "lru_some"}, blueprint)
    fields = {**FIELDS["lru"], "lru_layers": HALF, "window_size": (63, 0)}
    seen = sum(min(position + 1, 64) for position in range(SEQ)) / SEQ
    expected = matrices(blueprint) + 18 * 2 * 32 * 128 * seen
    found = counted_by(words, **fields, window_attn_skip_freq=None)
    assert found == pytest.approx(6 * 3 * SEQ * expected, rel=1e-3)
    assert found < counted_by(words, **fields, window_attn_skip_freq=[0] * 36)
    full = counted_by(words, **{**fields, "window_size": (SEQ, 0)}, window_attn_skip_freq=None)
    assert full == int(6 * 3 * SEQ * (matrices(blueprint) + scores(blueprint, 18)))


@pytest.mark.parametrize("frequency", [1, [1] * 36])
def test_experts_count_as_often_as_a_token_meets_them(frequency):
    blueprint = hybrid("short_conv", base=mixture())
    words = words_for({"mixer", "short_conv", "short_conv_some"}, blueprint)
    fields = {**FIELDS["short_conv"], "short_conv_layers": HALF, "moe_layer_freq": frequency, "moe_router_topk": 8}
    fields |= {"moe_ffn_hidden_size": 768, "moe_shared_expert_intermediate_size": None}
    assert counted_by(words, **fields) == int(6 * 3 * SEQ * (matrices(blueprint) + scores(blueprint, 18)))


@pytest.mark.parametrize("kind", list(SHAPES))
def test_the_number_in_the_generated_test_is_that_of_the_shapes(kind):
    """Both are reckoned from tensors, by code that has nothing in common with the method but the costs of states."""
    blueprint = hybrid(kind)
    for name, value in FACTS[kind].items():
        blueprint = with_fact(blueprint, name, value)
    expected = matrices(blueprint) + scores(blueprint, 18) * SEQ_LENGTH / SEQ + 18 * STATE[kind]
    assert multiplications(blueprint, SEQ_LENGTH) == expected
    one_less = with_fact(blueprint, "num_attention_heads", 31)
    assert multiplications(one_less, SEQ_LENGTH) < expected


def test_the_generated_test_has_the_fields_and_the_number():
    blueprint = hybrid("short_conv", base=mixture())
    for name, value in FACTS["short_conv"].items():
        blueprint = with_fact(blueprint, name, value)
    words = flops_test_words(blueprint, choose_blocks(blueprint))
    fields = {row["name"]: eval(row["code"]) for row in words["flop_fields"]}
    assert fields["short_conv_channels"] == 2048 and fields["short_conv_layers"] == HALF
    assert fields["moe_layer_freq"] == [1] * 36 and fields["kv_channels"] == 128
    found = counted_by(
        words_for({"mixer", "short_conv", "short_conv_some"}, blueprint),
        **{"moe_shared_expert_intermediate_size": None, **fields, "seq_length": words["flop_seq_length"]},
    )
    assert found * 2 == words["flop_count"] * 3, "three sequences there, two in the generated test"


def test_a_checkout_gets_the_test_of_the_count(tmp_path):
    blueprint = hybrid("short_conv")
    for name, value in FACTS["short_conv"].items():
        blueprint = with_fact(blueprint, name, value)
    path = "tests/unit_tests/models/qwen3/test_qwen3_flops.py"
    root = checkout(tmp_path)
    text = next(change.content for change in plan_in(root, blueprint, "a/b").changes if change.path == path)
    assert str(flops_test_words(blueprint, choose_blocks(blueprint))["flop_count"]) in text
    assert lint_many({path: text}) == ()
    assert path not in {change.path for change in plan_in(root, qwen3(), "a/b").changes}


def test_windows_are_told_as_the_provider_has_them():
    blueprint = with_fact(hybrid("lru"), "attention.window", [64, None] * 18)
    for name, value in FACTS["lru"].items():
        blueprint = with_fact(blueprint, name, value)
    words = flops_test_words(blueprint, choose_blocks(blueprint))
    fields = {row["name"]: eval(row["code"]) for row in words["flop_fields"]}
    assert fields["window_size"] == (63, 0) and fields["window_attn_skip_freq"] == [1, 0] * 18
    assert (
        words["flop_count"]
        > flops_test_words(with_fact(blueprint, "attention.window", [64] * 36), choose_blocks(blueprint))["flop_count"]
    )


def test_every_cost_is_tested():
    assert {row.feature for row in COSTS} == {*SHAPES, "mamba_beside"}
    assert all(row.reason for row in COSTS)


def test_a_model_that_upstream_counts_right_gets_no_count_of_its_own():
    assert flops_words(qwen3(), choose_blocks(qwen3()), frozenset({HOOK})) is None


def test_a_checkout_that_asks_no_provider_gets_none():
    blocks = dataclasses.replace(choose_blocks(qwen3()), features=frozenset({"mixer", "lru", "lru_some"}))
    assert flops_words(hybrid("lru"), blocks, frozenset()) is None


@pytest.mark.parametrize(
    ("row", "change"),
    [
        ("windows of attention", ("attention.window", [64] * 36)),
        ("latent attention", ("mla.kv_rank", 512)),
        ("gates on the attention output", ("attention.output_gate", True)),
        ("gated delta nets", ("delta.layers", HALF)),
        ("attention over selected keys", ("attention.selection", True)),
        ("routed experts", ("moe.num_experts", 8)),
    ],
)
def test_what_a_checkout_does_not_count_is_told(row, change):
    blueprint = with_fact(qwen3(), *change)
    blocks = choose_blocks(qwen3())
    attribute = next(one.attribute for one in COUNTED if one.name == row)
    told = uncounted(blueprint, blocks, frozenset({"hidden_size"}))
    assert [row in note for note in told] == [True]
    assert uncounted(blueprint, blocks, frozenset({attribute})) == ()
    assert uncounted(qwen3(), blocks, frozenset({"hidden_size"})) == ()


def test_the_attributes_are_read_from_source(tmp_path):
    path = tmp_path / "training" / "utils" / "flop_utils.py"
    assert read_counted(tmp_path) == frozenset()
    path.parent.mkdir(parents=True)
    path.write_text(f"def count(cfg):\n    return cfg.model.kv_channels if hasattr(cfg.model, '{HOOK}') else 0\n")
    assert {"kv_channels", HOOK} <= read_counted(tmp_path)
    path.write_text("def (")
    assert read_counted(tmp_path) == frozenset()


def test_the_method_stands_in_the_generated_provider():
    profile = dataclasses.replace(PROFILE, counted=frozenset({HOOK}))
    blueprint = hybrid("short_conv")
    for name, value in (("short_conv.channels", 2048), ("short_conv.conv_width", 3), ("short_conv.bias", False)):
        blueprint = with_fact(blueprint, name, value)
    blueprint = with_fact(blueprint, "short_conv.gate_place", 1)
    plan = make_plan(blueprint, root=Path("/nowhere"), profile=profile, options=Options(year=2026))
    provider = next(change.content for change in plan.changes if change.path.endswith("_provider.py"))
    assert f"def {HOOK}(self, batch_size: int) -> int:" in provider
    own = {change.path: change.content for change in plan.changes if change.path.endswith("_provider.py")}
    style = dataclasses.replace(Style(), known_first_party=("megatron.bridge", "scaffold_qwen3"))
    assert lint_many(own, style) == ()
    older = make_plan(blueprint, root=Path("/nowhere"), profile=PROFILE, options=Options(year=2026))
    assert HOOK not in "".join(change.content for change in older.changes)


_JOB = """
import json, sys
from types import SimpleNamespace
from megatron.bridge.training.utils.flop_utils import num_floating_point_operations
for fields in json.load(sys.stdin):
    print("COUNT", num_floating_point_operations(SimpleNamespace(model=SimpleNamespace(**fields)), batch_size=3))
"""

_USUAL = {
    **{"hidden_size": 4096, "num_layers": 36, "num_attention_heads": 32, "kv_channels": 128, "num_query_groups": 8},
    **{"ffn_hidden_size": 12288, "gated_linear_unit": True, "vocab_size": VOCAB, "seq_length": SEQ},
    **{"make_vocab_size_divisible_by": 128, "tensor_model_parallel_size": 1, "mtp_num_layers": None},
    **{"num_moe_experts": None, "moe_ffn_hidden_size": None, "moe_shared_expert_intermediate_size": None},
    "multi_latent_attention": False,
}


def latent() -> tuple[Blueprint, dict[str, Any], float]:
    shapes = {
        **{"mla.q_a": (1536, 4096), "mla.q_b": (32 * 192, 1536), "mla.kv_a": (512 + 64, 4096)},
        **{"mla.kv_b": (32 * 256, 512), "attn.o": (4096, 32 * 128)},
    }
    base = qwen3()
    kept = tuple(row for row in base.roles if not row.role.startswith(("attn.", "norm.q", "norm.k")))
    rows = tuple(role(name, f"model.layers.*.self_attn.{name[4:]}.weight", shape) for name, shape in shapes.items())
    fields = {
        **{"multi_latent_attention": True, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_head_dim": 128},
        **{"qk_pos_emb_head_dim": 64, "v_head_dim": 128},
    }
    return dataclasses.replace(base, roles=(*kept, *rows)), fields, 36 * 32 * (192 + 128) * SEQ / 2


@pytest.mark.lane
def test_upstream_counts_what_the_shapes_say_where_it_needs_no_help(tmp_path):
    """Dense, mixture, latent, gated delta net of megatron-core, and windows: one run of the released package."""
    from scaffold_tools.verify.lane_env import ensure_lane

    moe, delta, (mla, mla_fields, mla_scores) = mixture(), hybrid("delta"), latent()
    experts = {"num_moe_experts": 128, "moe_ffn_hidden_size": 768, "moe_router_topk": 8, "moe_layer_freq": 1}
    net = {**FIELDS["delta"], "experimental_attention_variant": "gated_delta_net"}
    net["linear_attention_freq"] = [int(flag) for flag in HALF]
    near = sum(min(position + 1, 64) for position in range(SEQ)) / SEQ
    cases: list[tuple[dict[str, Any], float]] = [
        ({}, matrices(qwen3()) + scores(qwen3(), 36)),
        (experts, matrices(moe) + scores(moe, 36)),
        (mla_fields, matrices(mla) + mla_scores),
        (net, matrices(delta) + scores(delta, 18) + 18 * STATE["delta"]),
        ({"window_size": (63, 0), "window_attn_skip_freq": None}, matrices(qwen3()) + 36 * 2 * 4096 * near),
    ]
    python = ensure_lane(install=False).python
    tests = Path(__file__).resolve().parents[1]
    standins = tests.parent / "tools/scaffold_tools/verify/harness/standins"
    path = f"{standins}:{tests / 'support' / 'absent_packages'}"
    told = json.dumps([{**_USUAL, **fields} for fields, _ in cases])
    ran = subprocess.run([python, "-c", _JOB], input=told, capture_output=True, text=True, env={"PYTHONPATH": path})
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = [float(line.split()[1]) for line in ran.stdout.splitlines() if line.startswith("COUNT")]
    assert len(found) == len(cases)
    for number, (fields, expected) in zip(found, cases, strict=True):
        assert number == pytest.approx(6 * 3 * SEQ * expected, rel=1e-3), fields
    assert found[3] != pytest.approx(found[0], rel=1e-3), "a model of attention alone costs something else"
