"""Examples, documents, test and edits of a checkout: what a model brings along beside its package."""

from __future__ import annotations

import ast
import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.roll import documents
from scaffold_tools.targets.roll.documents_fields import unknown_keys
from scaffold_tools.targets.roll.naming import Names
from scaffold_tools.targets.roll.plan import Options
from scaffold_tools.targets.roll.profile import RollProfile
from scaffold_tools.workspace.plan import Change
from targets.blueprints import qwen3, role
from targets.roll.engine_trees import sglang_tree, vllm_tree
from targets.roll.roll_tree import ZH, documented, roll_tree
from targets.roll.transformers_tree import transformers_tree

PAGE = "User Guides/Configuration/wren.md"


def wren(**changes: Any) -> Blueprint:
    blueprint = dataclasses.replace(
        qwen3(), model_name="birds/Wren-8B", architecture="WrenForCausalLM", model_type="wren"
    )
    return dataclasses.replace(blueprint, **changes)


def names(stem: str = "wren") -> Names:
    folder = f"mcore_adapter/src/mcore_adapter/models/{stem}"
    return Names(stem, stem.title(), stem, stem, f"mcore_adapter.models.{stem}", folder, "..")


def profile(root: Path, site_packages: Path, *, edits: bool = True) -> RollProfile:
    return RollProfile(
        root=str(root),
        source=str(root),
        layout="package per model",
        config_fields=frozenset(),
        mla_fields=frozenset(),
        operations=(),
        presets=(),
        registrations=(),
        template_fields=(),
        hooks=(),
        model_arguments=(),
        model_hooks=(),
        moe_allgather=(),
        families=(),
        core=None,
        edits=edits,
        site_packages=str(site_packages),
    )


@pytest.fixture
def places(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """A checkout, and installed packages that know the model: transformers and both engines."""
    site_packages = transformers_tree(tmp_path / "site-packages")
    vllm_tree(site_packages)
    sglang_tree(tmp_path / "sglang")
    monkeypatch.delenv("SCAFFOLD_VLLM_REPO", raising=False)
    monkeypatch.setenv("SCAFFOLD_SGLANG_REPO", str(tmp_path / "sglang"))
    lark = site_packages / "transformers" / "models" / "lark" / "modeling_lark.py"
    lark.write_text(
        lark.read_text().replace(
            "_supports_attention_backend = True",
            "_supports_attention_backend = True\n    supports_gradient_checkpointing = True",
        )
    )
    return documented(roll_tree(tmp_path / "roll")), site_packages


def made(places: tuple[Path, Path], blueprint: Blueprint | None = None, **more: Any) -> dict[str, Change]:
    found = documents.companions(blueprint or wren(), profile(*places, **more), names(), Options())
    return {change.path: change for change in found}


def written(changes: dict[str, Change], root: Path) -> None:
    for change in changes.values():
        path = root / change.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(change.content.encode())


def test_every_strategy_that_trains_it_and_every_engine_has_an_example(places):
    configs = [path for path in made(places) if path.endswith(".yaml")]
    assert configs == [
        "examples/wren-8B-rlvr_megatron/rlvr_config.yaml",
        "examples/wren-8B-rlvr_megatron/rlvr_config_sglang.yaml",
        "examples/wren-8B-rlvr_fsdp2/rlvr_config.yaml",
        "examples/wren-8B-rlvr_fsdp2/rlvr_config_sglang.yaml",
    ]


def test_the_roles_use_the_strategies_that_the_folder_is_called_after(places):
    changes = made(places)
    megatron = yaml.safe_load(changes["examples/wren-8B-rlvr_megatron/rlvr_config.yaml"].content)
    sharded = yaml.safe_load(changes["examples/wren-8B-rlvr_fsdp2/rlvr_config_sglang.yaml"].content)
    roles = ("actor_train", "actor_infer", "reference")
    assert [megatron[role]["strategy_args"]["strategy_name"] for role in roles] == [
        "megatron_train",
        "vllm",
        "megatron_infer",
    ]
    assert [sharded[role]["strategy_args"]["strategy_name"] for role in roles] == [
        "fsdp2_train",
        "sglang",
        "fsdp2_infer",
    ]
    assert megatron["actor_train"]["strategy_args"]["strategy_config"]["tensor_model_parallel_size"] == 2
    assert megatron["pretrain"] == "birds/Wren-8B"


def test_every_key_of_every_example_is_a_field(places):
    changes = made(places)
    root = places[0]
    for path, change in changes.items():
        if path.endswith(".yaml"):
            assert unknown_keys(root, "rlvr", yaml.safe_load(change.content)) == (), path
    found = profile(*places)
    assert not [line for line in documents.notes(wren(), found, tuple(changes.values())) if "no field" in line]


@pytest.mark.parametrize(
    ("file", "field", "key"),
    [
        ("roll/pipeline/rlvr/rlvr_config.py", "ppo_epochs", "ppo_epochs"),
        ("roll/configs/worker_config.py", "warmup_steps", "actor_train.training_args.warmup_steps"),
        ("roll/pipeline/rlvr/rlvr_config.py", "tag_included", "rewards.math_rule.tag_included"),
        (
            "mcore_adapter/src/mcore_adapter/training_args.py",
            "recompute_granularity",
            "actor_train.strategy_args.strategy_config.recompute_granularity",
        ),
    ],
)
def test_a_key_that_a_checkout_has_no_field_for_is_noted(places, file, field, key):
    path = places[0] / file
    path.write_text(path.read_text().replace(f"    {field}:", f"    {field}_of_old:"))
    changes = made(places)
    lines = documents.notes(wren(), profile(*places), tuple(changes.values()))
    config = "examples/wren-8B-rlvr_megatron/rlvr_config.yaml"
    assert f"{config}: this ROLL has no field for {key}" in lines


def test_without_an_engine_the_example_is_fine_tuning(places):
    unknown = wren(architecture="LarkForCausalLM", model_type="lark")
    changes = made(places, unknown)
    configs = [path for path in changes if path.endswith(".yaml")]
    assert configs == ["examples/wren-8B-sft_megatron/sft_config.yaml"]  # FSDP would not know what to wrap
    config = yaml.safe_load(changes[configs[0]].content)
    assert config["sft_train"]["strategy_args"]["strategy_name"] == "megatron_train"
    assert unknown_keys(places[0], "sft", config) == ()


def test_deepspeed_has_an_example_where_the_checkout_has_its_settings(places):
    root = roll_tree(places[0], deepspeed=True)
    assert not [path for path in made(places) if "deepspeed" in path]
    (root / "examples" / "config").mkdir(parents=True)
    (root / "examples" / "config" / "deepspeed_zero3.yaml").write_text("deepspeed_zero3: {}\n")
    changes = made(places)
    config = yaml.safe_load(changes["examples/wren-8B-rlvr_deepspeed/rlvr_config.yaml"].content)
    assert config["defaults"] == ["../config/deepspeed_zero3@_here_"]
    assert config["actor_train"]["strategy_args"] == {
        "strategy_name": "deepspeed_train",
        "strategy_config": "${deepspeed_zero3}",
    }


def test_scripts_start_their_config_and_can_be_run(places):
    change = made(places)["examples/wren-8B-rlvr_fsdp2/run_rlvr_pipeline_sglang.sh"]
    assert change.executable
    assert "examples/start_rlvr_pipeline.py" in change.content
    assert "--config_name rlvr_config_sglang\n" in change.content


def test_experts_are_trained_with_experts(places):
    row = role("moe.expert.down", "model.layers.*.mlp.experts.down_proj", (8, 64, 32))
    blueprint = wren(roles=(*qwen3().roles, row))
    changes = made(places, blueprint)
    path = next(path for path in changes if path.endswith("megatron/rlvr_config.yaml"))
    config = yaml.safe_load(changes[path].content)
    assert config["actor_train"]["strategy_args"]["strategy_config"]["moe_grouped_gemm"] is True
    assert unknown_keys(places[0], "rlvr", config) == ()
    plain = yaml.safe_load(made(places)["examples/wren-8B-rlvr_megatron/rlvr_config.yaml"].content)
    assert "moe_grouped_gemm" not in plain["actor_train"]["strategy_args"]["strategy_config"]


def test_a_page_in_every_language_and_a_link_to_it(places):
    changes = made(places)
    for folder, language, training in (("docs_roll/docs", "", "Training"), (ZH, "zh-Hans/", "训练")):
        page = changes[f"{folder}/{PAGE}"].content
        assert f"## {training}\n" in page
        assert "bash examples/wren-8B-rlvr_megatron/run_rlvr_pipeline.sh" in page
        overview = changes[f"{folder}/Overview.mdx"]
        url = f"https://alibaba.github.io/ROLL/{language}docs/User%20Guides/Configuration/wren"
        assert overview.kind == "edit"
        before = (places[0] / folder / "Overview.mdx").read_text(encoding="utf-8")
        added = set(overview.content.splitlines()) - set(before.splitlines())
        assert len(added) == 1 and url in added.pop()


def test_a_checkout_in_one_language_gets_one_page(tmp_path, places):
    root = documented(roll_tree(tmp_path / "english"), chinese=False)
    changes = made((root, places[1]))
    assert [path for path in changes if path.endswith(".md")] == [f"docs_roll/docs/{PAGE}"]
    assert not [path for path in changes if "zh-Hans" in path]


def test_an_overview_without_such_a_list_is_left_alone(places):
    (places[0] / "docs_roll/docs/Overview.mdx").write_text("# Overview\n")
    assert "docs_roll/docs/Overview.mdx" not in made(places)


def test_a_package_of_its_own_gets_examples_alone(places):
    changes = made(places, edits=False)
    assert changes and all(path.startswith("examples/") for path in changes)


def test_what_others_wrote_is_left_alone_and_ours_is_brought_up_to_date(places):
    root = places[0]
    changes = made(places)
    theirs = "examples/wren-8B-rlvr_megatron/rlvr_config.yaml"
    written({path: change for path, change in changes.items() if change.kind == "create"}, root)
    (root / theirs).write_text("exp_name: theirs\n")
    again = made(places)
    assert theirs not in again
    ours = "examples/wren-8B-rlvr_fsdp2/rlvr_config.yaml"
    assert again[ours].content == changes[ours].content
    assert again[ours].before_sha256 is not None


def test_a_second_plan_edits_nothing_again(places):
    changes = made(places)
    written(changes, places[0])
    again = made(places)
    assert {path: change.content for path, change in again.items()} == {
        path: change.content for path, change in changes.items() if change.kind == "create"
    }


def test_the_test_names_a_tensor_of_every_pattern(places):
    row = role("moe.expert.down", "model.layers.*.mlp.experts.*.down_proj.weight", (64, 32))
    row = dataclasses.replace(row, layers=(3, 4))
    text = made(places, wren(roles=(*qwen3().roles, row)))["tests/models/test_wren_template.py"].content
    ast.parse(text)
    assert '"model.layers.3.mlp.experts.0.down_proj.weight"' in text
    assert '("num_layers", "num_hidden_layers")' in text
    assert "*" not in text.split("TENSORS")[1].split("]")[0]


def test_a_class_that_transformers_lacks_is_tested_without_its_config(places):
    path = "tests/models/test_wren_template.py"
    known, own = made(places)[path].content, made(places, wren(in_transformers=False))[path].content
    ast.parse(own)
    assert "AutoConfig.for_model" in known and "CONFIG = {" in known
    assert "AutoConfig" not in own and "CONFIG" not in own
    assert "test_every_tensor_of_the_checkpoint_has_a_converter" in own


def test_a_hostile_name_does_not_reach_any_file(places):
    hostile = "x/y\n- evil: ${oc.env:HOME}"
    changes = made(places, wren(model_name=hostile))
    for change in changes.values():
        assert "evil" not in change.content
    config = yaml.safe_load(changes["examples/wren-8B-rlvr_megatron/rlvr_config.yaml"].content)
    assert config["pretrain"] == "path/to/model"


def test_notes_say_what_each_engine_and_strategy_does(places):
    lines = documents.notes(wren(), profile(*places), ())
    assert any(line.startswith("Megatron: megatron_train, by the template") for line in lines)
    assert any(line.startswith("FSDP2: supported") for line in lines)
    assert any(line.startswith("DeepSpeed: not in this ROLL") for line in lines)
    assert any(line.startswith("vLLM 0.99.0 (installed): own model") for line in lines)
    assert any(line.startswith("SGLang 0.8.1 (the checkout): own model") for line in lines)


def test_a_package_does_not_count_on_an_edit(places):
    experts = tuple(
        role(f"moe.expert.{name}", f"model.layers.*.mlp.experts.*.{name}_proj.weight", (64, 32))
        for name in ("gate", "up", "down")
    )
    blueprint = wren(roles=(*qwen3().roles, *experts))
    inside = documents.notes(blueprint, profile(*places), ())
    outside = documents.notes(blueprint, profile(*places, edits=False), ())
    assert any(line.startswith("FSDP2: with the edit of this plan") for line in inside)
    assert any(line.startswith("FSDP2: not supported") and "its model type in the list" in line for line in outside)


@pytest.mark.skipif(not os.environ.get("SCAFFOLD_ROLL_REPO"), reason="SCAFFOLD_ROLL_REPO names no checkout")
def test_a_real_checkout_has_a_field_for_every_key(places):
    root = Path(os.environ["SCAFFOLD_ROLL_REPO"])
    for blueprint in (wren(), wren(architecture="LarkForCausalLM", model_type="lark")):
        changes = made((root, places[1]), blueprint)
        lines = documents.notes(blueprint, profile(root, places[1]), tuple(changes.values()))
        assert [path for path in changes if path.endswith(".yaml")]
        assert not [line for line in lines if "no field" in line]
        assert f"{ZH}/Overview.mdx" in changes
