"""Training recipes in a checkout: where they go, what they say, which lists name them, and when there are none."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from scaffold_tools.render import lint_many
from scaffold_tools.targets.megatron_bridge.plan import Options, make_plan
from scaffold_tools.targets.megatron_bridge.recipes.layout import read_recipe_layout
from targets.blueprints import qwen3, with_fact, with_key
from targets.checkouts import checkout, plan_in, profile_of
from targets.test_recipe_rules import mixture

CANONICAL = re.compile(r".+_(?:pretrain|sft|peft)_\d+gpu_[a-z0-9]+_(?:bf16|fp8cs|fp8mx|fp8sc|nvfp4)(?:_.+)?_config")
"""As upstream's test of recipe environments has it."""
RECIPES = "src/megatron/bridge/recipes"


def planned(root: Path, blueprint=None, model_id: str | None = "Qwen/Qwen3-8B"):
    return plan_in(root, blueprint or qwen3(), model_id)


def texts(root: Path, blueprint=None, model_id: str | None = "Qwen/Qwen3-8B") -> dict[str, str]:
    return {change.path: change.content for change in planned(root, blueprint, model_id).changes}


def written(root: Path, blueprint=None) -> dict[str, str]:
    found = texts(root, blueprint)
    for path, text in found.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text.encode("utf-8"))
    return found


def functions(text: str) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}


def test_factories_are_named_and_shaped_as_upstream_demands(tmp_path):
    """One inline environment right before the return, no decorator, a name with GPUs and precision."""
    text = texts(checkout(tmp_path))[f"{RECIPES}/qwen3/h100/qwen3_8b.py"]
    public = {name: node for name, node in functions(text).items() if name.endswith("_config")}
    assert len(public) == 3 and all(CANONICAL.fullmatch(name) for name in public)
    for node in public.values():
        assert not node.decorator_list
        assert isinstance(node.body[-1], ast.Return)
        assert ast.unparse(node.body[-2]) == "cfg.env_vars = {**COMMON_RECIPE_ENV_VARS}"
        assert sum("env_vars" in ast.unparse(line) for line in node.body) == 1


def test_without_hardware_folders_the_factories_have_the_short_names(tmp_path):
    found = texts(checkout(tmp_path, hardware=False))
    assert not [path for path in found if "/h100/" in path]
    assert {"qwen3_8b_pretrain_config", "qwen3_8b_sft_config", "qwen3_8b_peft_config"} <= set(
        functions(found[f"{RECIPES}/qwen3/qwen3_8b.py"])
    )
    assert "from megatron.bridge.recipes.qwen3 import *" in found[f"{RECIPES}/__init__.py"]


@pytest.mark.parametrize("hardware", [True, False])
def test_everything_passes_the_linter_of_the_target(tmp_path, hardware):
    found = texts(checkout(tmp_path, hardware=hardware), mixture())
    assert lint_many({path: text for path, text in found.items() if path.endswith(".py")}) == ()


def test_a_new_family_gets_export_lists(tmp_path):
    found = texts(checkout(tmp_path))
    assert "from megatron.bridge.recipes.qwen3.h100.qwen3_8b import *" in found[f"{RECIPES}/qwen3/h100/__init__.py"]
    assert '"qwen3_8b_sft_config",' in found[f"{RECIPES}/qwen3/__init__.py"]
    every = found[f"{RECIPES}/__init__.py"].splitlines()
    assert every[-2:] == [f"from megatron.bridge.recipes.qwen3{part} import *" for part in ("", ".h100")]


def test_a_second_model_joins_the_lists_of_its_family(tmp_path):
    """In the family's own style, which is relative imports here; nothing else of the file changes."""
    found = texts(checkout(tmp_path, family="qwen3"))
    family = found[f"{RECIPES}/qwen3/__init__.py"]
    assert "from .llama3 import (\n    llama3_8b_sft_config,\n)\nfrom .qwen3_8b import (\n" in family
    hardware = found[f"{RECIPES}/qwen3/h100/__init__.py"]
    assert "from megatron.bridge.recipes.qwen3.h100.qwen3_8b import *  # noqa: F403\n" in hardware
    assert '"llama3_8b_sft_2gpu_h100_bf16_config"' in hardware
    edits = [change.path for change in planned(tmp_path).changes if change.kind == "edit"]
    assert f"{RECIPES}/__init__.py" in edits


@pytest.mark.parametrize("family", [None, "qwen3"])
def test_a_second_run_plans_the_same(tmp_path, family):
    first = written(checkout(tmp_path, family=family))
    second = texts(tmp_path)
    assert {path: first[path] for path in second} == second
    assert f"{RECIPES}/qwen3/h100/qwen3_8b.py" in second


def test_recipes_that_the_checkout_has_are_left_alone(tmp_path):
    """Two factories of one name would shadow each other."""
    root = checkout(tmp_path)
    own = root / RECIPES / "qwen3" / "qwen3.py"
    own.parent.mkdir()
    own.write_text("def qwen3_8b_sft_config(): ...\n")
    plan = planned(root)
    assert not [change.path for change in plan.changes if "/recipes/" in change.path]
    assert any("left as they are" in note for note in plan.notes)


def test_a_checkout_of_a_time_before_base_configs_gets_none(tmp_path):
    root = checkout(tmp_path)
    (root / RECIPES / "common.py").unlink()
    assert read_recipe_layout(root / "src/megatron/bridge") is None
    plan = planned(root)
    assert not [change.path for change in plan.changes if "/recipes/" in change.path]
    assert any("no recipes" in note for note in plan.notes)


def test_recipes_without_an_adapter_helper_have_no_peft(tmp_path):
    root = checkout(tmp_path)
    (root / RECIPES / "utils" / "dataset_utils.py").unlink()
    text = texts(root)[f"{RECIPES}/qwen3/h100/qwen3_8b.py"]
    assert "_peft_" not in text and "_sft_" in text


def test_only_fields_of_the_provider_are_set(tmp_path):
    """Whatever else upstream's recipes set, an attribute that this checkout lacks would be lost without an error."""
    root = checkout(tmp_path)
    text = texts(root)[f"{RECIPES}/qwen3/h100/qwen3_8b.py"]
    set_here = set(re.findall(r"cfg\.model\.(\w+) =", text))
    assert set_here - {"pipeline_model_parallel_layout"} <= profile_of(root).provider_fields
    assert "cross_entropy_fusion_impl" not in text, "not a field of this provider"


def test_experts_bring_expert_parallelism(tmp_path):
    root = checkout(tmp_path)
    moe = next(text for path, text in texts(root, mixture()).items() if "/h100/qwen3_" in path)
    dense = texts(root)[f"{RECIPES}/qwen3/h100/qwen3_8b.py"]
    assert "cfg.model.expert_model_parallel_size = " in moe and "expert" not in dense


def test_stages_of_different_length_are_spelled_out(tmp_path):
    """37 layers divide among no number of stages; the layout gives each of them once."""
    blueprint = with_fact(qwen3(), "num_query_groups", 1)
    blueprint = with_fact(blueprint, "num_layers", 37)
    found = texts(checkout(tmp_path), blueprint)
    text = found[f"{RECIPES}/qwen3/h100/qwen3_8b.py"]
    scope: dict = {}
    builder = functions(text)["get_qwen3_8b_pipeline_layout"]
    exec(compile(ast.Module([builder], []), "layout", "exec"), {"_NUM_LAYERS": 37}, scope)
    layout = scope["get_qwen3_8b_pipeline_layout"](4, None)
    assert [stage.count("decoder") for stage in layout] == [10, 9, 9, 9]
    assert (layout[0][0], layout[-1][-1]) == ("embedding", "loss")
    assert scope["get_qwen3_8b_pipeline_layout"](1, None) is None
    with pytest.raises(ValueError, match="cannot be spread"):
        scope["get_qwen3_8b_pipeline_layout"](38, None)
    assert "pipeline_layout" not in texts(tmp_path)[f"{RECIPES}/qwen3/h100/qwen3_8b.py"].split("_apply_common")[0]


def test_recurrent_layers_are_not_packed(tmp_path):
    root = checkout(tmp_path)
    packed = texts(root)[f"{RECIPES}/qwen3/h100/qwen3_8b.py"]
    apart = texts(root, with_fact(qwen3(), "attention.softcap", 50.0))[f"{RECIPES}/qwen3/h100/qwen3_8b.py"]
    assert "default_squad_config" not in packed
    assert "default_squad_config(" in apart and "enable_offline_packing=False" in apart


def test_layers_that_predict_further_tokens_are_switched_off(tmp_path):
    """The bridge converts none, so that a recipe would train random ones."""
    import dataclasses

    root = checkout(tmp_path)
    profile = profile_of(root)
    mapping = (*profile.config_mapping, ("num_nextn_predict_layers", "mtp_num_layers"))
    profile = dataclasses.replace(profile, config_mapping=mapping)
    for count, expected in ((1, True), (0, False)):
        blueprint = with_key(qwen3(), "num_nextn_predict_layers", count)
        plan = make_plan(blueprint, root=root, profile=profile, options=Options("a/Qwen3-8B", year=2026))
        bridge, recipe = (
            next(change.content for change in plan.changes if change.path.endswith(end))
            for end in ("/qwen3_bridge.py", "h100/qwen3_8b.py")
        )
        assert ("provider.mtp_num_layers = None" in bridge) is expected
        assert "mtp_num_layers" not in recipe, "what the bridge says is not said again"


def test_a_hostile_model_name_is_only_ever_a_string(tmp_path):
    found = texts(checkout(tmp_path), model_id='x/8B"; import os #')
    text = found[f"{RECIPES}/qwen3/h100/qwen3_8p2b.py"]
    assert "import os" not in text


def test_a_script_that_lists_recipes_gets_one_more(tmp_path):
    """Checkouts of an earlier time have such a script; in what they have no table, nothing is guessed."""
    root = checkout(tmp_path)
    script = root / "examples" / "models" / "train_any_basic.py"
    script.parent.mkdir(parents=True)
    script.write_text('import a\n\nconfig_map = {"x": a.x_sft_config}\n')
    after = texts(root)["examples/models/train_any_basic.py"]
    assert '"qwen3_8b": qwen3_8b_sft_config' in after
    assert "from megatron.bridge.recipes.qwen3 import qwen3_8b_sft_config" in after
    script.write_text("config_map = build()\n")
    plan = planned(root)
    assert "examples/models/train_any_basic.py" not in {change.path for change in plan.changes}
    assert any("by hand" in note for note in plan.notes)
