"""A script's table of recipes, as before -> after text; whatever else it looks like is left to people."""

from __future__ import annotations

import pytest

from scaffold_tools.edit.config_map import add_to_config_map
from scaffold_tools.errors import BadInput

MODULE = "megatron.bridge.recipes.qwen3"
RECIPES = {task: f"qwen3_8b_{task}_config" for task in ("pretrain", "sft", "peft")}
SCRIPT = b'''"""Train any model."""

from megatron.bridge.recipes.llama import llama32_1b_pretrain_config
from megatron.bridge.recipes.olmoe import olmoe_7b_pretrain_config


def main(args):
    config_map = {
        "llama32_1b": llama32_1b_pretrain_config,  # small
        "olmoe_7b": olmoe_7b_pretrain_config,  # experts
    }
    return config_map[args.model]()
'''


def test_a_recipe_of_the_same_task_is_added_and_imported():
    after = add_to_config_map(SCRIPT, "qwen3_8b", RECIPES, MODULE).decode()
    assert after == SCRIPT.decode().replace(
        "olmoe_7b_pretrain_config,  # experts\n",
        'olmoe_7b_pretrain_config,  # experts\n        "qwen3_8b": qwen3_8b_pretrain_config,\n',
    ).replace(
        "import olmoe_7b_pretrain_config\n",
        "import olmoe_7b_pretrain_config\nfrom megatron.bridge.recipes.qwen3 import qwen3_8b_pretrain_config\n",
    )
    assert add_to_config_map(after.encode(), "qwen3_8b", RECIPES, MODULE) == after.encode()


def test_the_task_is_that_of_the_others():
    sft = SCRIPT.replace(b"_pretrain_", b"_sft_")
    assert b'"qwen3_8b": qwen3_8b_sft_config' in add_to_config_map(sft, "qwen3_8b", RECIPES, MODULE)


def test_one_line_stays_one_line():
    short = b'import a\n\nconfig_map = {"x": a.x_sft_config}\n'
    after = add_to_config_map(short, "qwen3_8b", RECIPES, MODULE)
    assert b'config_map = {"x": a.x_sft_config, "qwen3_8b": qwen3_8b_sft_config}\n' in after


@pytest.mark.parametrize(
    "source",
    [
        b"x = 1\n",
        b"config_map = {}\n",
        b'config_map = {"a": {"sft": f}}\n',
        b'config_map = {"a": a_sft_config, "b": b_pretrain_config}\n',
        b'config_map = {**others, "a": a_sft_config}\n',
        b'config_map = {"a": a_sft_config}\nconfig_map = {"b": b_sft_config}\n',
    ],
)
def test_other_shapes_are_left_to_people(source):
    with pytest.raises(BadInput):
        add_to_config_map(source, "qwen3_8b", RECIPES, MODULE)
