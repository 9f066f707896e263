"""What ROLL's own templates are measured on, and for what is wrong the line that makes it right.

A fix that restores parity proves the cause. None of this touches the checkout: a package takes the template's place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from targets.roll.proof_packages import Change


@dataclass(frozen=True)
class Case:
    """One config of a model type."""

    model_type: str
    name: str = "usual"
    changes: dict[str, Any] = field(default_factory=dict)
    """Of the config; `...` takes a key out."""
    cause: str = ""
    """What is wrong in the template, in one line; "" where nothing is known."""
    fix: Change | None = None
    """The lines that make it right; None where none would do."""
    given: Change | None = None
    """What is made right on both sides: a fault of the same template that would hide this one."""


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}
LATENT_YARN = {
    **{"type": "yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0, "beta_fast": 32, "beta_slow": 1},
    "original_max_position_embeddings": 4096,
}
PLAIN_ROPE = 'fields |= {"rope_parameters": None, "rope_scaling": None, "rotary_base": rope["rope_theta"]}'
OWN_FREQUENCIES = """
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
class Stretched(MODEL_MAPPING["llama"]):
    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        own = AutoConfig.from_pretrained(config.name_or_path)
        kind = own.rope_parameters["rope_type"]
        self.rotary_pos_emb.inv_freq = ROPE_INIT_FUNCTIONS[kind](own, "cpu")[0]
MODEL_MAPPING["llama"] = Stretched
"""
RENAMED_FIELD = 'fields["original_max_position_embeddings"] = fields.pop("max_position_embeddings")'
RENAMED_LENGTH = """
CONFIG_MAPPING["deepseek_v3"].max_position_embeddings = property(lambda own: own.original_max_position_embeddings)
"""
LATENT_NORMS = """
class LatentNorms(MODEL_MAPPING["deepseek_v3"]):
    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        for name, module in self.named_modules():
            if name.endswith(("linear_q_up_proj", "linear_kv_up_proj")):
                module.eps = 1e-6
MODEL_MAPPING["deepseek_v3"] = LatentNorms
"""
WHOLE_DOWN = """
for name in (".self_attention.linear_q_down_proj.weight", ".self_attention.linear_kv_down_proj.weight"):
    rules.column_parallel_weights.remove(name)
    rules.duplicated_weights.append(name)
"""
HEAD_SIZE = Change('keys["head_dim"] = "kv_channels"')
ROTATED_SHARE = Change(fields='fields["rotary_percent"] = rope["partial_rotary_factor"]')
OUTPUT_BIAS = "the bias of the output projection has no operation, and no field switches it on alone"
CASES: tuple[Case, ...] = (
    Case(
        "llama",
        "head size of its own",
        cause="`head_dim` is not mapped to `kv_channels`; and the rope as in the next line",
        fix=Change(HEAD_SIZE.change, PLAIN_ROPE),
    ),
    Case(
        "llama",
        "no scaling",
        cause="`rotary_scaling` is on whenever there are `rope_parameters`, which transformers 5 always has",
        fix=Change(HEAD_SIZE.change, PLAIN_ROPE),
        given=HEAD_SIZE,
    ),
    Case(
        "llama",
        "scaled rope",
        {"rope_scaling": LLAMA3},
        cause="`rope_scaling` is not read: megatron-core's factor 8, frequencies 1 and 4 and length 8192 apply",
        fix=Change(HEAD_SIZE.change, after=OWN_FREQUENCIES),
        given=HEAD_SIZE,
    ),
    Case("llama", "attention biases", {"attention_bias": True}, cause=OUTPUT_BIAS, given=HEAD_SIZE),
    Case("qwen2"),
    Case("qwen2", "tied", {"tie_word_embeddings": True}),
    Case(
        "qwen2",
        "YaRN",
        {"rope_scaling": YARN},
        cause="`rope_scaling` of type yarn is not read: the rope stays plain",
    ),
    Case(
        "qwen2",
        "windows",
        {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 4},
        cause="`sliding_window` is not mapped: every layer sees everything",
        fix=Change(
            fields='fields["window_size"] = (hf_config.sliding_window - 1, 0)\n'
            'fields["window_attn_skip_freq"] = [int(one == "sliding_attention") for one in hf_config.layer_types]'
        ),
    ),
    Case("qwen3"),
    Case("qwen3", "tied", {"tie_word_embeddings": True}),
    Case("qwen3", "attention biases", {"attention_bias": True}, cause=OUTPUT_BIAS),
    Case("mistral", "head size of its own", {}, "`head_dim` is not mapped to `kv_channels`", HEAD_SIZE),
    Case(
        "mistral",
        "windows",
        {"sliding_window": 4096},
        cause="`sliding_window` is not mapped: every layer sees everything",
        fix=Change(HEAD_SIZE.change, 'fields["window_size"] = (hf_config.sliding_window - 1, 0)'),
        given=HEAD_SIZE,
    ),
    Case(
        "seed_oss",
        cause="`residual_dropout` and `hidden_dropout` are swapped: training keeps megatron-core's dropout of 0.1",
        fix=Change('del keys["hidden_dropout"]\nkeys["residual_dropout"] = "hidden_dropout"'),
    ),
    Case("qwen3_moe", "normed top-k", {"norm_topk_prob": True}),
    Case(
        "qwen3_moe",
        "top-k as it is",
        {"norm_topk_prob": False},
        cause="`norm_topk_prob` is not read: weights are always renormalised",
        fix=Change(fields='fields["moe_router_pre_softmax"] = not hf_config.norm_topk_prob'),
    ),
    Case(
        "qwen3_moe",
        "some layers dense",
        {"mlp_only_layers": [0, 1]},
        cause="`mlp_only_layers` is not read: every layer has experts",
    ),
    Case(
        "qwen2_moe",
        cause="megatron-core calls the shared expert's gate `moe_shared_expert_gate` now, not as ROLL's own field",
        fix=Change(fields='fields["moe_shared_expert_gate"] = True'),
    ),
    Case("mixtral"),
    Case(
        "deepseek_v3",
        "no scaling",
        cause="a rope without a type counts as none, but transformers 5 writes the type `default`: it stays YaRN",
        fix=Change(WHOLE_DOWN, 'fields |= {"rope_type": "rope", "rotary_scaling_factor": 1.0}', LATENT_NORMS),
        given=Change(WHOLE_DOWN, after=RENAMED_LENGTH + LATENT_NORMS),
    ),
    Case(
        "deepseek_v3",
        "YaRN",
        {"rope_scaling": LATENT_YARN},
        cause="megatron-core calls the length `original_max_position_embeddings` now: a TypeError",
        fix=Change(WHOLE_DOWN, RENAMED_FIELD, RENAMED_LENGTH + LATENT_NORMS),
        given=Change(WHOLE_DOWN, after=LATENT_NORMS),
    ),
    Case(
        "deepseek_v3",
        "two tensor ranks",
        {"rope_scaling": LATENT_YARN},
        cause="the projections into the latent space are shared out by columns, their modules are whole on every rank",
        fix=Change(WHOLE_DOWN, RENAMED_FIELD, RENAMED_LENGTH + LATENT_NORMS),
        given=Change(fields=RENAMED_FIELD, after=RENAMED_LENGTH + LATENT_NORMS),
    ),
    Case(
        "deepseek_v3",
        "epsilon of latent norms",
        {"rope_scaling": LATENT_YARN},
        cause="Hugging Face's code has 1e-6, ROLL `rms_norm_eps`: the same in DeepSeek-V3, not in every model",
        fix=Change(WHOLE_DOWN, RENAMED_FIELD, RENAMED_LENGTH + LATENT_NORMS),
        given=Change(WHOLE_DOWN, RENAMED_FIELD, RENAMED_LENGTH),
    ),
    Case(
        "glm4_moe",
        cause="`partial_rotary_factor` is read and then overwritten by the constant 0.5, which is right for most",
        fix=ROTATED_SHARE,
    ),
    Case(
        "glm4_moe",
        "normed queries and keys",
        {"use_qk_norm": True},
        cause="`use_qk_norm` has no operations",
        given=ROTATED_SHARE,
    ),
    Case(
        "qwen3_next",
        cause="`linear_attention_type` is no field of megatron-core 0.19 any more",
    ),
)
