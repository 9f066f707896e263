from __future__ import annotations

from typing import Any

import pytest

from scaffold_tools.errors import BadInput
from scaffold_tools.source.trust import check_config_names, check_file_name, check_identifier, check_tensor_name


def test_an_identifier_is_handed_back() -> None:
    assert check_identifier("Qwen3ForCausalLM", "the architecture") == "Qwen3ForCausalLM"


@pytest.mark.parametrize(
    "text",
    ["", "class", "None", "a b", "1a", "a-b", "ﬁle", "naïve", "x\n", '"; import os #', "a" * 2000, None, 3, ["a"]],
)
def test_what_is_no_identifier_is_refused(text: Any) -> None:
    with pytest.raises(BadInput, match="the architecture"):
        check_identifier(text, "the architecture")


@pytest.mark.parametrize(
    "config",
    [{}, {"model_type": "qwen3"}, {"model_type": "gpt-sw3.5", "architectures": ["A", "B_2"]}, {"architectures": None}],
)
def test_names_of_real_models_pass(config: dict[str, Any]) -> None:
    check_config_names(config)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": '"; import os #'},
        {"model_type": ""},
        {"model_type": "../x"},
        {"model_type": "a\nb"},
        {"model_type": ["qwen3"]},
        {"model_type": "qwen3_vl", "text_config": {"model_type": "x'; import os"}},
        {"architectures": "LlamaForCausalLM"},
        {"architectures": ["Llama; import os"]},
        {"architectures": [{"a": 1}]},
    ],
)
def test_names_that_could_leave_a_string_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        check_config_names(config)


@pytest.mark.parametrize("name", ["", "a\nb", "a\x00", "a\u202e", "\ud800", "a" * 1025])
def test_tensor_names_with_control_characters_are_refused(name: str) -> None:
    with pytest.raises(BadInput):
        check_tensor_name(name, "here")
    assert check_tensor_name("model.layers.0.mlp.up_proj.weight", "here")


@pytest.mark.parametrize(
    "name", ["", "/etc/x", "../x", "a/../x", "a/./x", "a//x", "..", "C:x", "a\\x", "a\nb", None, 1]
)
def test_file_names_that_leave_the_repository_are_refused(name: object) -> None:
    with pytest.raises(BadInput):
        check_file_name(name, "here")
    assert check_file_name("sub/model-00001-of-00002.safetensors", "here")
