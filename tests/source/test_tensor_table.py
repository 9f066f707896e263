"""The derived table is the header of a checkpoint that was really saved, however transformers renames or fuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.errors import BadInput
from scaffold_tools.paths import data_dir
from scaffold_tools.source.read import read_inventory
from scaffold_tools.source.saved import SAVED_FILE, save_table
from scaffold_tools.verify.lane import LaneSession

pytestmark = pytest.mark.lane

Config = dict[str, Any]

_SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 64,
    "max_position_embeddings": 64,
    "dtype": "float32",
}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
_VISION = {"depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}


def config(architecture: str, model_type: str, **more: Any) -> Config:
    return {"architectures": [architecture], "model_type": model_type} | _SMALL | more


_DEEPSEEK = {
    "n_routed_experts": 8,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
    "kv_lora_rank": 16,
    "q_lora_rank": 24,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
}
_TEXT = {key: value for key, value in _SMALL.items() if key != "dtype"}
CASES: dict[str, Config] = {
    "llama": config("LlamaForCausalLM", "llama"),
    "llama in bfloat16": config("LlamaForCausalLM", "llama", dtype="bfloat16"),
    "qwen3": config("Qwen3ForCausalLM", "qwen3", tie_word_embeddings=False),
    "qwen3 tied": config("Qwen3ForCausalLM", "qwen3", tie_word_embeddings=True),
    "gemma2": config("Gemma2ForCausalLM", "gemma2", pad_token_id=0),
    "gemma3 text": config("Gemma3ForCausalLM", "gemma3_text", pad_token_id=0),
    "starcoder2": config("Starcoder2ForCausalLM", "starcoder2"),
    "nemotron": config("NemotronForCausalLM", "nemotron"),
    "qwen3 moe": config("Qwen3MoeForCausalLM", "qwen3_moe", num_experts=8, **_EXPERTS, mlp_only_layers=[1]),
    "mixtral": config("MixtralForCausalLM", "mixtral", num_local_experts=4, num_experts_per_tok=2),
    "deepseek v3": config("DeepseekV3ForCausalLM", "deepseek_v3", **_EXPERTS, **_DEEPSEEK),
    "gpt-oss": config("GptOssForCausalLM", "gpt_oss", num_local_experts=4, num_experts_per_tok=2),
    "qwen3 vl": {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "dtype": "float32",
        "tie_word_embeddings": True,
        "text_config": {"model_type": "qwen3_vl_text", **_TEXT, "tie_word_embeddings": True},
        "vision_config": {"model_type": "qwen3_vl", **_VISION, "deepstack_visual_indexes": [0, 1]},
    },
    "qwen2.5 vl": {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "dtype": "float32",
        "text_config": {"model_type": "qwen2_5_vl_text", **_TEXT},
        "vision_config": {"model_type": "qwen2_5_vl", **_VISION},
    },
}
RENAMED = ("qwen3 moe", "mixtral", "deepseek v3")
"""Cases whose names in memory are not those on disk."""


@pytest.fixture(scope="module")
def lane() -> Iterator[LaneSession]:
    with LaneSession(extra_path=[Path(__file__).parent / "jobs"]) as session:
        yield session


def derive(lane: LaneSession, config: Config, **more: Any) -> dict[str, Any]:
    architecture = (config.get("architectures") or [None])[0]
    request = {"config": config, "architecture": architecture, "trust_remote_code": False, "model_folder": None}
    return lane.call("tensor_table", request | more)


def rows(table: list[dict[str, Any]]) -> dict[str, tuple[tuple[int, ...], str]]:
    named = {row["name"]: (tuple(row["shape"]), row["dtype"]) for row in table}
    assert len(named) == len(table)
    return named


@pytest.mark.parametrize("name", CASES)
def test_the_derived_table_is_that_of_a_saved_checkpoint(lane: LaneSession, name: str) -> None:
    derived = derive(lane, CASES[name])
    saved = lane.call("saved_tensors", {"config": CASES[name]})
    assert rows(derived["tensors"]) == rows(saved["saved"])
    assert derived["architecture"] == CASES[name]["architectures"][0]


@pytest.mark.parametrize("name", RENAMED)
def test_names_in_memory_would_have_been_wrong(lane: LaneSession, name: str) -> None:
    saved = lane.call("saved_tensors", {"config": CASES[name]})
    assert set(saved["in_memory"]) != set(rows(saved["saved"]))  # so the test above can fail


def test_a_tied_head_is_in_memory_and_not_on_disk(lane: LaneSession) -> None:
    saved = lane.call("saved_tensors", {"config": CASES["qwen3 tied"]})
    assert "lm_head.weight" in saved["in_memory"]
    assert "lm_head.weight" not in rows(derive(lane, CASES["qwen3 tied"])["tensors"])
    assert "lm_head.weight" in rows(derive(lane, CASES["qwen3"])["tensors"])


def test_the_auto_class_serves_where_config_names_no_architecture(lane: LaneSession) -> None:
    unnamed = {key: value for key, value in CASES["llama"].items() if key != "architectures"}
    assert derive(lane, unnamed)["architecture"] == "LlamaForCausalLM"


def test_a_class_of_the_language_part_alone_gets_the_language_part(lane: LaneSession) -> None:
    text = {
        "model_type": "llama4_text",
        **_TEXT,
        "num_local_experts": 2,
        "intermediate_size_mlp": 40,
        "pad_token_id": 0,
    }
    whole = {"model_type": "llama4", "text_config": text, "architectures": ["Llama4ForCausalLM"]}
    alone = {**text, "architectures": ["Llama4ForCausalLM"]}
    assert derive(lane, whole)["tensors"] == derive(lane, alone)["tensors"]


def test_a_quantised_config_is_derived_unquantised_and_says_so(lane: LaneSession) -> None:
    quantised = CASES["qwen3"] | {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    answer = derive(lane, quantised)
    assert rows(answer["tensors"]) == rows(derive(lane, CASES["qwen3"])["tensors"])
    assert "unquantised" in answer["notes"][0]
    assert derive(lane, CASES["qwen3"])["notes"] == []


def test_the_embedded_example_is_what_the_class_has_today(lane: LaneSession) -> None:
    folder = data_dir("examples") / "Qwen--Qwen3-8B"
    inventory = read_inventory(
        str(folder / "config.json"), derive_table=lambda request: lane.call("tensor_table", request)
    )
    assert inventory.tensors is not None
    assert save_table(inventory.tensors) == (folder / SAVED_FILE).read_text(encoding="utf-8")


def test_a_renamed_model_type_is_built_as_the_class_that_the_config_names(lane: LaneSession) -> None:
    renamed = derive(lane, CASES["llama"] | {"model_type": "nobody_knows_this"})
    assert renamed["tensors"] == derive(lane, CASES["llama"])["tensors"]


UNKNOWN = {"architectures": ["NobodyForCausalLM"]}
"""A class that transformers does not have: with one that it has, the model_type may be anything."""


@pytest.mark.parametrize(
    ("changes", "problem", "hint"),
    [
        (
            {"model_type": "nobody_knows_this", **UNKNOWN},
            "does not know model_type 'nobody_knows_this'",
            "--trust-remote-code",
        ),
        (
            {
                "model_type": "kimi_k2",
                "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
                **UNKNOWN,
            },
            "does not know model_type 'kimi_k2'",
            "brings its own Python code",
        ),
        ({"model_type": None, **UNKNOWN}, "does not know model_type None", "--trust-remote-code"),
        ({"num_hidden_layers": "many"}, "cannot build 'llama' from this config", "config.json"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers = 1,000,000,000", "at most 10,000"),
        ({"text_config": {"num_hidden_layers": 10**5}}, "num_hidden_layers = 100,000", "at most 10,000"),
        ({"hidden_size": -5}, "cannot build 'llama' from this config", "config.json"),
    ],
)
def test_a_config_that_cannot_be_built_is_bad_input(
    lane: LaneSession, tmp_path: Path, changes: Config, problem: str, hint: str
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CASES["llama"] | changes))
    with pytest.raises(BadInput) as caught:
        read_inventory(str(path), derive_table=lambda request: lane.call("tensor_table", request))
    assert problem in str(caught.value) and hint in str(caught.value)


def test_no_code_of_the_model_runs_unless_it_is_trusted(lane: LaneSession, tmp_path: Path) -> None:
    proof = tmp_path / "it-ran"
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "configuration_own.py").write_text(
        "from pathlib import Path\n"
        "from transformers import LlamaConfig\n"
        f"Path({str(proof)!r}).touch()\n"
        "class OwnConfig(LlamaConfig):\n"
        "    model_type = 'own'\n"
    )
    (folder / "modeling_own.py").write_text(
        "from transformers import LlamaForCausalLM\n"
        "from .configuration_own import OwnConfig\n"
        "class OwnForCausalLM(LlamaForCausalLM):\n"
        "    config_class = OwnConfig\n"
    )
    own = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    config = CASES["llama"] | {"model_type": "own", "architectures": ["OwnForCausalLM"], "auto_map": own}
    (folder / "config.json").write_text(json.dumps(config))
    table = lambda request: lane.call("tensor_table", request)  # noqa: E731
    with pytest.raises(BadInput, match="brings its own Python code"):
        read_inventory(str(folder), derive_table=table)
    assert not proof.exists()
    inventory = read_inventory(str(folder), derive_table=table, trust_remote_code=True)
    assert proof.exists()
    assert inventory.tensors is not None
    expected = derive(lane, CASES["llama"])["tensors"]
    assert {tensor.name for tensor in inventory.tensors.tensors} == {row["name"] for row in expected}
