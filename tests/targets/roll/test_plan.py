"""Whole plans for ROLL: their files against goldens, their style, names and the edits of a checkout.

Goldens are regenerated with `SCAFFOLD_UPDATE_GOLDEN=1 pytest tests/targets/roll/test_plan.py` and reviewed as diffs.
"""

from __future__ import annotations

import ast
import dataclasses
import os
from pathlib import Path

import pytest

from scaffold_tools.blueprint.facts import Const, Gap, KeyUse
from scaffold_tools.errors import BadInput
from scaffold_tools.render import lint_many
from scaffold_tools.targets.roll import contexts
from scaffold_tools.targets.roll.plan import STYLE, Options, design, make_plan
from scaffold_tools.targets.roll.profile import RollProfile, read_profile
from targets.blueprints import fact, key, role, with_fact, with_key
from tests.targets.roll.adapter_tree import ADAPTER, write_adapter
from tests.targets.roll.models import changed, dense, fused, latent, mixture, yarn

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "roll"
MODELS = {"dense": dense, "mixture": mixture, "latent": latent, "fused": fused}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> tuple[Path, RollProfile]:
    root, packages = write_adapter(tmp_path_factory.mktemp("roll"))
    return root, read_profile(root, packages)


@pytest.fixture(scope="module")
def beside(checkout) -> RollProfile:
    """For packages of their own."""
    return dataclasses.replace(checkout[1], edits=False)


def own_files(plan) -> dict[str, str]:
    """What this target's core makes: modules and the files that make them a package."""
    return {
        change.path: change.content
        for change in plan.changes
        if change.path.startswith("scaffold_roll_")
        or f"{ADAPTER}/models/heron/" in change.path
        or change.path in ("pyproject.toml", "README.md")
    }


def modules(plan) -> dict[str, str]:
    return {path: text for path, text in own_files(plan).items() if path.endswith(".py") and "/tests/" not in path}


def template_of(blueprint, profile) -> str:
    plan = make_plan(blueprint, root=Path("/nowhere"), profile=profile)
    return next(text for path, text in modules(plan).items() if path.endswith("__init__.py"))


@pytest.mark.parametrize("name", MODELS)
def test_the_modules_are_the_golden_ones(name, beside):
    plan = make_plan(MODELS[name](), root=Path("/nowhere"), profile=beside, options=Options())
    found = {path: text for path, text in own_files(plan).items() if path.startswith("scaffold_roll_")}
    folder = GOLDEN / name
    if os.environ.get("SCAFFOLD_UPDATE_GOLDEN"):
        for path, text in found.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    golden = {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*.py")}
    assert plan.gaps == ()
    assert found == golden


@pytest.mark.parametrize("name", MODELS)
def test_generated_code_is_clean_in_both_layouts(name, checkout):
    for profile in (checkout[1], dataclasses.replace(checkout[1], edits=False)):
        plan = make_plan(MODELS[name](), root=checkout[0], profile=profile)
        assert lint_many(modules(plan), STYLE) == ()
        for text in modules(plan).values():
            ast.parse(text)


def test_planning_twice_gives_the_same(checkout):
    root, profile = checkout
    assert make_plan(mixture(), root=root, profile=profile) == make_plan(mixture(), root=root, profile=profile)


def test_a_checkout_gets_a_package_and_one_import_line(checkout):
    root, profile = checkout
    plan = make_plan(dense(), root=root, profile=profile)
    assert plan.package == "mcore_adapter.models.heron"
    assert f"{ADAPTER}/models/heron/__init__.py" in {change.path for change in plan.changes}
    edit = next(change for change in plan.changes if change.path == f"{ADAPTER}/models/__init__.py")
    before = (root / edit.path).read_text()
    assert edit.content == before.replace("    robin,\n", "    heron,\n    robin,\n")
    package = next(text for path, text in modules(plan).items() if path.endswith("__init__.py"))
    assert "from ..auto.config_auto import register_config" in package
    assert "mcore_adapter.models" not in package


@pytest.mark.parametrize("name", MODELS)
def test_an_older_checkout_gets_its_template_at_the_end_of_the_others(name, tmp_path):
    root, packages = write_adapter(tmp_path, older=True)
    plan = make_plan(MODELS[name](), root=root, profile=read_profile(root, packages))
    changes = {change.path: change for change in plan.changes}
    edit = changes[f"{ADAPTER}/models/converter/template.py"]
    before = (root / edit.path).read_text()
    assert edit.content.startswith(before.rstrip() + "\n\n\n")
    added = edit.content.removeprefix(before.rstrip())
    assert added.count("register_template(") == 1
    assert "from mcore_adapter" not in added
    names = {node.name for node in ast.parse(edit.content).body if isinstance(node, ast.ClassDef)}
    used = {
        call.func.id
        for call in ast.walk(ast.parse(added))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    }
    assert {one for one in used if one.endswith("ConverOp")} <= names, "operations are in this module"
    package = changes[f"{ADAPTER}/models/heron/__init__.py"].content
    assert "register_dist_config" in package
    assert "register_template" not in package
    assert "from . import heron" in changes[f"{ADAPTER}/models/__init__.py"].content
    assert not any("converters_heron" in path for path in changes)


def test_what_is_beside_roll_names_it_in_full(beside):
    assert "from mcore_adapter.models.auto.config_auto import register_config" in template_of(dense(), beside)


def test_a_package_takes_the_place_of_a_model_that_roll_has(checkout, beside):
    """Rules of distribution are refused for a model type that has some."""
    known = dataclasses.replace(dense(), model_type="wren")
    assert 'dist_configs.pop("wren", None)' in template_of(known, beside)
    assert "dist_configs" not in template_of(dense(), beside)
    inside = make_plan(known, root=checkout[0], profile=checkout[1])
    assert not any("dist_configs.pop" in change.content for change in inside.changes)
    assert any("takes the place of mcore_adapter.models.wren:wren" in note for note in inside.notes)


def test_scaled_rope_is_never_left_to_the_adapter(beside):
    """Its own handling has the factor of llama3 fixed, and takes the presence of a field for YaRN."""
    text = template_of(yarn(dense()), beside)
    assert 'kw_args["rope_parameters"] = rope_parameters' in text
    assert 'getattr(hf_config, "rope_parameters", None)' in text
    assert "yarn_rotary_scaling_factor" not in text
    plan = make_plan(yarn(dense()), root=Path("/nowhere"), profile=beside)
    model = next(text for path, text in modules(plan).items() if "modeling_heron" in path)
    assert "self.rotary_pos_emb = HeronRotaryEmbedding(config, cp_group=self.pg_collection.cp)" in model
    assert "rotary_pos_emb" not in str(modules(make_plan(dense(), root=Path("/nowhere"), profile=beside)))


def test_latent_attention_says_whether_its_table_is_scaled(beside):
    assert '"rope_type": "rope"' in template_of(latent(), beside)
    scaled = template_of(yarn(latent()), beside)
    assert '"rope_type": "yarn"' in scaled
    assert 'kw_args["rotary_scaling_factor"] = rope_parameters["factor"]' in scaled
    assert 'kw_args["beta_fast"] = rope_parameters["beta_fast"]' in scaled
    assert 'kw_args["original_max_position_embeddings"] = hf_config.max_position_embeddings' in scaled


def test_linear_rope_is_put_into_the_table_that_the_adapter_builds(beside):
    (table,) = dense().value("rope.sets")
    parameters = {"rope_theta": 1e6, "rope_type": "linear", "factor": 4.0}
    blueprint = with_fact(dense(), "rope.sets", [{**table, "type": "linear", "parameters": parameters}])
    texts = modules(make_plan(blueprint, root=Path("/nowhere"), profile=beside))
    model = next(text for path, text in texts.items() if "modeling_heron" in path)
    assert "self.rotary_pos_emb.seq_len_interpolation_factor = config.rope_interpolation_factor" in model
    assert any("rope_interpolation_factor: float | None" in text for text in texts.values())


def test_weights_of_experts_are_renormalised_as_the_config_says(beside):
    """mcore_adapter's own template of such a model ignores the key, and logits are off by more than one."""
    softmax = with_fact(mixture(), "moe.score", "softmax", Const("softmax"))
    softmax = with_fact(softmax, "moe.correction_bias", False, Const(False))
    text = template_of(softmax, beside)
    assert 'kw_args["moe_router_pre_softmax"] = not hf_config.norm_topk_prob' in text


def test_a_gate_that_megatron_core_calls_otherwise_today_gets_todays_name(beside):
    gated = with_fact(mixture(), "moe.shared_gate", True, Const(True))
    assert '"moe_shared_expert_gate": True' in template_of(gated, beside)
    older = dataclasses.replace(beside, config_fields=beside.config_fields - {"moe_shared_expert_gate"})
    assert '"moe_use_shared_expert_gate": True' in template_of(gated, older)


def test_another_curve_keeps_the_two_halves_and_survives_a_saved_config(beside):
    blueprint = with_fact(with_key(dense(), "hidden_act", "gelu"), "mlp.activation", "gelu", key("hidden_act"))
    texts = modules(make_plan(blueprint, root=Path("/nowhere"), profile=beside))
    config = next(text for path, text in texts.items() if "configuration_heron" in path)
    assert "super().__post_init__()" in config
    assert config.index("super().__post_init__()") < config.index("self.activation_func = gelu")
    assert '"swiglu": True' in next(text for path, text in texts.items() if path.endswith("__init__.py"))


def test_biases_after_a_sum_over_ranks_are_not_taken_for_weights(beside):
    facts = (
        fact("bias.qkv", True, Const(True)),
        fact("bias.o", True, Const(True)),
        fact("bias.mlp", True, Const(True)),
    )
    roles = tuple(
        role(name, f"model.layers.*.{module}.bias", (4096,), "bias")
        for name, module in (
            *(("attn.q", "self_attn.q_proj"), ("attn.k", "self_attn.k_proj"), ("attn.v", "self_attn.v_proj")),
            *(("attn.o", "self_attn.o_proj"), ("mlp.gate", "mlp.gate_proj"), ("mlp.up", "mlp.up_proj")),
            ("mlp.down", "mlp.down_proj"),
        )
    )
    plan = make_plan(changed(dense(), facts, roles), root=Path("/nowhere"), profile=beside)
    texts = modules(plan)
    package = next(text for path, text in texts.items() if path.endswith("__init__.py"))
    assert plan.gaps == ()
    assert '".self_attention.linear_proj.row_bias"' in package
    assert "QKVBiasConverOp" in package
    assert "linear_proj.bias" not in package
    model = next(text for path, text in texts.items() if "modeling_heron" in path)
    assert "def state_dict_for_save_checkpoint" in model
    assert "def load_state_dict" in model


def test_keys_that_a_config_class_computes_are_read_and_not_written_back(beside):
    blueprint = dataclasses.replace(dense(), keys=tuple(use for use in dense().keys if use.key != "head_dim"))
    text = template_of(blueprint, beside)
    assert 'kw_args["kv_channels"] = hf_config.head_dim' in text
    assert '"head_dim": "kv_channels"' not in text


def test_stacked_experts_are_gathered_on_several_ranks(checkout):
    root, profile = checkout
    stacked = (
        role("moe.expert.gate_up", "model.layers.*.mlp.experts.gate_up_proj", (16, 2816, 4096), "weight"),
        role("moe.expert.down", "model.layers.*.mlp.experts.down_proj", (16, 4096, 1408), "weight", "stacked"),
    )
    stacked = (dataclasses.replace(stacked[0], packing="stacked;concat:gate,up"), stacked[1])
    blueprint = changed(mixture(), (), stacked, ("moe.expert.",))
    plan = make_plan(blueprint, root=root, profile=profile)
    assert plan.gaps == ()
    edited = {change.path: change.content for change in plan.changes if change.kind == "edit"}
    for path, _ in profile.moe_allgather:
        assert '["wren_vl_moe", "heron"]' in edited[path]
    outside = make_plan(blueprint, root=root, profile=dataclasses.replace(profile, edits=False))
    assert any("several expert-parallel ranks" in note for note in outside.notes)


def test_a_field_that_the_config_class_lacks_is_a_gap(beside):
    less = dataclasses.replace(beside, config_fields=beside.config_fields - {"qk_layernorm"})
    gaps = design(dense(), less, Options()).gaps
    assert [gap.subject for gap in gaps] == ["qk_layernorm"]
    assert design(dense(), beside, Options()).gaps == ()


def test_a_fact_that_nothing_expresses_is_a_gap(beside):
    unknown = with_fact(dense(), "attention.chunk", [4] * 36)
    unknown = with_fact(unknown, "mystery.fact", 3)
    gaps = design(unknown, beside, Options()).gaps
    assert any(gap.subject == "mystery.fact" and "McaModelConfig" in gap.reason for gap in gaps)


def test_gaps_of_the_blueprint_are_kept(beside):
    gap = Gap("model.layers.*.odd", "of unknown role")
    assert gap in design(dataclasses.replace(dense(), gaps=(gap,)), beside, Options()).gaps


@pytest.mark.parametrize("word", ['"; import os #', "x\nimport os", "../../etc", "a'b\"c", "{{ 7*7 }}", "class"])
def test_hostile_names_reach_no_code(word, beside):
    with pytest.raises(BadInput):
        make_plan(dataclasses.replace(dense(), architecture=word), root=Path("/nowhere"), profile=beside)
    hostile = dataclasses.replace(dense(), model_name=word, keys=(*dense().keys, KeyUse(word, word, None, None)))
    for text in modules(make_plan(hostile, root=Path("/nowhere"), profile=beside)).values():
        ast.parse(text)
        assert word not in text


def model_of(blueprint, profile) -> str:
    texts = modules(make_plan(blueprint, root=Path("/nowhere"), profile=profile))
    return next((text for path, text in texts.items() if "modeling_heron" in path), "")


def test_own_core_attention_takes_rolls_masks_for_what_they_are(beside):
    """ROLL marks tokens with 1; megatron-core asks what a query must not see. Fused attention needs no mask."""
    capped = with_fact(with_key(dense(), "cap", 30.0), "attention.softcap", 30.0, key("cap"))
    assert "attention_mask = (attention_mask == 0)[:, None, None, :]" in model_of(capped, beside)
    assert "attention_mask" not in model_of(yarn(dense()), beside)


def test_positions_that_are_looked_up_are_numbered_and_never_packed(beside):
    learned = with_fact(with_fact(dense(), "position.kind", "learned"), "rope.sets", [])
    table = role("embed.positions", "model.embed_positions.weight", (40960, 4096))
    learned = changed(learned, (), (table,))
    text = model_of(learned, beside)
    assert "position_ids = torch.arange(input_ids.size(1)" in text
    assert "packed sequences are not supported" in text
    assert "position_ids" not in model_of(yarn(dense()), beside)


def test_adapters_of_operations_that_do_more_than_move_rows_are_refused_in_one_line(beside):
    """mcore_adapter's own error lists every operation, and it takes a subclass for what it derives from."""
    made = design(fused(), beside, Options())
    assert "raise NotImplementedError" not in template_of(fused(), beside)
    turned = tuple(dataclasses.replace(row, transposed=True) for row in made.converters.local)
    one = dataclasses.replace(
        made, converters=dataclasses.replace(made.converters, local=(turned[0], *made.converters.local[1:]))
    )
    assert contexts.template(one)["hooks"]["lora"]["others"] == [turned[0].name]
