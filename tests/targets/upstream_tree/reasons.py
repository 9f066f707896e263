"""Why ours fails a test that upstream's code passes: one row a reason, and every row has to be met by a failure."""

from __future__ import annotations

import re
from dataclasses import dataclass

KINDS = {
    "structure": "the test is about a private name, or about how upstream's code is cut",
    "default": "the test holds a value that upstream chose, and that the Hugging Face model does not have",
    "scope": "the test is about something that transformers' class does not have",
    "refusal": "ours stops with an error where upstream's code goes on",
}


@dataclass(frozen=True)
class Reason:
    """Which failures it speaks for, and why they are right."""

    family: str
    """"" for all."""
    test: str
    """Regular expression of the test's name."""
    said: str
    """Regular expression of what the failure says: a reason whose evidence changes no longer applies."""
    kind: str
    why: str

    def holds(self, test: str, said: str) -> bool:
        """Whether a failure is of this reason."""
        return bool(re.search(self.test, test) and re.search(self.said, said))


REASONS: tuple[Reason, ...] = (
    Reason(
        "minimax_m2",
        "replica|unique_shards|unique_kv_shard",
        "no counterpart of upstream's",
        "structure",
        "a class of upstream's for key heads that several ranks have; with ours four tensor ranks over two key heads "
        "give the logits, gradients and export of one process (`scaffold verify --tp 4 --sp`)",
    ),
    Reason(
        "",
        ".",
        "no counterpart of upstream's",
        "structure",
        "a class or function of upstream's module; what it does is in the proof: logits, and ranks of two processes",
    ),
    Reason(
        "olmoe",
        "_layer_spec_integration",
        "<function> == olmoe_layer_spec",
        "structure",
        "the name of upstream's function for layers",
    ),
    Reason(
        "olmoe",
        "test_olmoe_provider::",
        r"0 == 16|function gelu|'aux_loss' == 'seq_aux_loss'",
        "structure",
        "upstream's provider class has the sizes, the activation and the loss of one published model as defaults; "
        "ours has what holds for every config, and the bridge sets what the config says",
    ),
    Reason(
        "olmoe",
        "test_olmoe_model_provider_dtype_configuration",
        r"None == torch\.bfloat16",
        "default",
        "autocast to bfloat16 is a choice for training; upstream's class makes it, of ours the bridge does",
    ),
    Reason(
        "olmoe",
        "test_provider_bridge_kv_channels_calculation",
        "assert None == 128",
        "structure",
        "upstream's bridge divides hidden_size by heads; ours leaves that to megatron-core, which does it on finalize",
    ),
    Reason(
        "qwen3",
        "test_mtp_params_are_registered",
        "missing MTP mappings",
        "scope",
        "transformers' class has no layers for multi-token prediction, so nothing tells their names; "
        "where a config counts such layers, the generated bridge leaves them unbuilt",
    ),
    Reason(
        "glm4_moe",
        "test_mapping_registry_uses_fused_expert_mappings_from_state_source",
        "assert False",
        "scope",
        "experts stacked in one tensor on disk: `save_pretrained` and published checkpoints write them one by one",
    ),
    Reason(
        "deepseek_v3",
        "test_provider_bridge_maps_config",
        r"assert 0\.0 == 0\.0001",
        "default",
        "the weight of the auxiliary loss where a config names none: 0.0001 is upstream's own choice",
    ),
    Reason(
        "deepseek_v3",
        "test_export_preserves_source_inv_freq_for_layer",
        "inv_freq",
        "scope",
        "a buffer that old checkpoints carry and that transformers' class neither has nor reads",
    ),
    Reason(
        "minimax_m2",
        "test_provider_bridge_calculates_rotary_percent",
        r"abs\(\(1\.0 - 0\.5\)\)",
        "scope",
        "transformers' class does not read `rotary_dim` and rotates whole heads; ours does what the class does, "
        "and tells that the key says something else",
    ),
    Reason(
        "",
        "test_dict_hf_param_each_key_processed",
        "key1 is stored as torch.float8_e4m3fn, and no scale",
        "structure",
        "invented names (`key1`): ours finds quantised weights by the ends of their names, `.weight` in this format",
    ),
    Reason(
        "",
        "test_fp8_without_scale_inv_cast_to_bfloat16",
        "stored as torch.float8_e4m3fn, and no scale says what its numbers mean",
        "refusal",
        "numbers of FP8 without their scale are not the weights; upstream casts them and goes on",
    ),
    Reason(
        "minimax_m2",
        "test_provider_bridge_sets_custom_layer_spec",
        "is <upstream_names.Missing>",
        "structure",
        "the name of upstream's function for layers",
    ),
)

SHARED_REASONS: tuple[Reason, ...] = (
    Reason(
        "",
        "test_representative_recipe_environment_is_visible|recipe_examples_match_source_signatures",
        r"FileNotFoundError: .*'\w+\.py'",
        "structure",
        "opens upstream's file of recipes by its path, to read functions of sizes that ours is not about",
    ),
    Reason(
        "",
        "test_explicit_recipe_environment_invariants",
        r"assert set\(\) == \{'deepseek_v3",
        "structure",
        "holds the names of upstream's two recipes of one size and number of GPUs; ours are named after their own",
    ),
    Reason(
        "",
        "test_training_readme_recipes_exist",
        "README references nonexistent recipes",
        "structure",
        "a README that stays names a recipe of upstream's by the size of one model and its number of GPUs",
    ),
)
