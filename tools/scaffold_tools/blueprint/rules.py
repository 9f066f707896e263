"""How each measured fact becomes a Fact: its type, and the config keys that usually hold it, as hints only.

A hint never decides: it breaks ties between keys of equal value, and gives a declared value when nothing was measured.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Kind = Literal["int", "float", "flag", "word", "layers"]


class FactRule(NamedTuple):
    """One row for each fact that the probe measures directly."""

    name: str
    kind: Kind
    hints: tuple[str, ...] = ()
    assumed: Any = None
    """The field's common default, for a blueprint without a probe."""


SIZES = ("hidden_size", "n_embd", "d_model", "dim")
RULES: tuple[FactRule, ...] = (
    FactRule("num_layers", "int", ("num_hidden_layers", "n_layer", "num_layers", "n_layers")),
    FactRule("hidden_size", "int", SIZES),
    FactRule("vocab_size", "int", ("vocab_size",)),
    FactRule("num_attention_heads", "int", ("num_attention_heads", "n_head", "n_heads", "num_heads")),
    FactRule("num_query_groups", "int", ("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_heads")),
    FactRule("head_dim", "int", ("head_dim",)),
    FactRule("ffn_hidden_size", "int", ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")),
    FactRule("norm.kind", "word", (), "rmsnorm"),
    FactRule("norm.zero_centered", "flag", (), False),
    FactRule(
        "norm.eps", "float", ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"), 1e-5
    ),
    FactRule("norm.bias", "flag", (), False),
    FactRule("norm.affine", "flag", (), True),
    FactRule("residual.parallel", "flag", ("use_parallel_residual", "parallel_attn"), False),
    FactRule("residual.multiplier", "float", ("residual_multiplier",), 1.0),
    FactRule("embedding.multiplier", "float", ("embedding_multiplier",), 1.0),
    FactRule("logits.multiplier", "float", ("logit_scale",), 1.0),
    FactRule("logits.softcap", "float", ("final_logit_softcapping",)),
    FactRule("attention.scale", "float", ("attention_multiplier",)),
    FactRule("attention.softcap", "float", ("attn_logit_softcapping",)),
    FactRule("attention.window", "layers", ("sliding_window",)),
    FactRule("attention.clip_qkv", "float", ("clip_qkv",)),
    FactRule("qk_norm.kind", "word", (), "none"),
    FactRule("qk_norm.norm", "word"),
    FactRule("qk_norm.bias", "flag"),
    FactRule("qk_norm.affine", "flag"),
    FactRule("qk_norm.after_rope", "flag"),
    FactRule("qk_norm.zero_centered", "flag"),
    FactRule("qk_norm.eps", "float", ("rms_norm_eps", "layer_norm_eps", "norm_eps")),
    FactRule(
        "mlp.activation", "word", ("hidden_act", "hidden_activation", "activation_function", "activation"), "silu"
    ),
    FactRule("mlp.gated", "flag", (), True),
    FactRule("bias.qkv", "flag", ("attention_bias", "use_qkv_bias", "use_bias", "qkv_bias"), False),
    FactRule("bias.o", "flag", ("attention_bias", "use_bias"), False),
    FactRule("bias.mlp", "flag", ("mlp_bias", "use_bias"), False),
    FactRule("bias.head", "flag", ("lm_head_bias",), False),
    FactRule("tied_embeddings", "flag", ("tie_word_embeddings",), False),
)

CURVES: dict[str, str] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "quick_gelu": "quick_gelu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "mish": "mish",
}
"""Activation names of configs (transformers' ACT2FN) and the curve that they promise."""
