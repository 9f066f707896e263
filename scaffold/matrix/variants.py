"""Variants of a model: rows of keys to change, applied to every type whose config has the keys.

Bugs live in variants: a bias that only one projection has, a rope factor that nobody uses, a window on every third
layer. A row never names a model; what the class refuses to build is no variant of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Config = dict[str, Any]

FLAGS = re.compile(
    r".*bias.*|norm_topk_prob|tie_word_embeddings|.*qk_?(layer)?_?norm|alibi|multi_query|(use_)?parallel_(attn|residual)"
    r"|new_decoder_architecture|rope_interleave|apply_residual_connection_post_layernorm|do_layer_norm_before|use_post_norm"
    r"|scale_attn.*|mup_enabled|moe_apply_router_weight_on_input|attention_k_eq_v|.*softmax_in_fp32|learned_pos_emb"
    r"|mamba_(rms_norm|norm_before_gate)|linear_allow_neg_eigval|scale_embedding|.*elementwise_affine"
)
"""Flags that change what a forward pass computes."""
USUAL_FLAGS = frozenset({"tie_word_embeddings", "attention_bias", "norm_topk_prob"})


@dataclass(frozen=True)
class Variant:
    """One change to a config."""

    name: str
    change: Callable[[Config], Config | None]
    """The keys to set, or None where the config does not have what is changed."""
    usual: bool = False
    """Part of a run without `--variants`."""


def variants_of(config: Config, *, every: bool) -> list[tuple[str, Config]]:
    """(name, config) of each variant that this config can take.

    Args:
        config: the base.
        every: all rows, or the usual ones.
    """
    found = []
    for row in (*VARIANTS, *_flags(config)):
        if not (every or row.usual):
            continue
        changed = row.change(config)
        if changed is not None and any(config.get(key) != value for key, value in changed.items()):
            found.append((row.name, config | changed))
    return found


def _flags(config: Config) -> list[Variant]:
    """Each flag that config has, the other way round."""
    names = [key for key, value in config.items() if isinstance(value, bool) and FLAGS.fullmatch(key)]
    return [
        Variant(f"{key}={str(not config[key]).lower()}", _set({key: not config[key]}), usual=key in USUAL_FLAGS)
        for key in names
    ]


def _set(values: Config) -> Callable[[Config], Config | None]:
    return lambda config: values if all(key in config for key in values) else None


def _rope(make: Callable[[Config], Config]) -> Callable[[Config], Config | None]:
    """Another rope type; where layers of a kind have a table each, for the first kind alone."""

    def change(config: Config) -> Config | None:
        old = config.get("rope_parameters")
        if not isinstance(old, dict):
            return None
        if "rope_theta" in old:
            return {"rope_parameters": _kept(old) | make(config)}
        name = next((key for key, value in old.items() if isinstance(value, dict) and "rope_theta" in value), None)
        return None if name is None else {"rope_parameters": old | {name: _kept(old[name]) | make(config)}}

    return change


def _kept(rope: Config) -> Config:
    return {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}


def _longrope(config: Config) -> Config:
    rope = config["rope_parameters"]
    share = rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    half = max(1, int(_head_dim(config) * share) // 2)
    return {
        "rope_type": "longrope",
        "short_factor": [1.0 + 0.01 * place for place in range(half)],
        "long_factor": [1.0 + 0.25 * place for place in range(half)],
        "original_max_position_embeddings": 4096,
        "factor": 8.0,
    }


def _head_dim(config: Config) -> int:
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def _kv_heads(count: Callable[[int], int]) -> Callable[[Config], Config | None]:
    def change(config: Config) -> Config | None:
        heads, groups = config.get("num_attention_heads"), config.get("num_key_value_heads")
        if not isinstance(heads, int) or not isinstance(groups, int):
            return None
        return {"num_key_value_heads": count(heads)}

    return change


def _windows(pattern: Callable[[int], bool]) -> Callable[[Config], Config | None]:
    """Windows on the layers that `pattern` names, by the per-layer key; the other layers keep full attention."""

    def change(config: Config) -> Config | None:
        kinds = config.get("layer_types")
        if not isinstance(kinds, list) or not set(kinds) <= {"full_attention", "sliding_attention"}:
            return None
        if "sliding_window" not in config:
            return None
        chosen = ["sliding_attention" if pattern(layer) else "full_attention" for layer in range(len(kinds))]
        switch = {"use_sliding_window": True} if "use_sliding_window" in config else {}
        return {"layer_types": chosen, "sliding_window": config["sliding_window"] or 4096, **switch}

    return change


def _window_everywhere(config: Config) -> Config | None:
    if "sliding_window" not in config or "layer_types" in config:
        return None
    return {"sliding_window": 2048 if config["sliding_window"] != 2048 else 1024}


def _window_nowhere(config: Config) -> Config | None:
    if "layer_types" in config or not config.get("sliding_window"):
        return None
    return {"sliding_window": None}


def _explicit_head_dim(config: Config) -> Config | None:
    if "head_dim" not in config or not isinstance(config.get("hidden_size"), int):
        return None
    return {"head_dim": 2 * config["hidden_size"] // config["num_attention_heads"]}


def _partial(config: Config) -> Config | None:
    rope = config.get("rope_parameters")
    if isinstance(rope, dict) and "partial_rotary_factor" in rope:
        return {"rope_parameters": rope | {"partial_rotary_factor": 0.25}}
    return {"partial_rotary_factor": 0.25} if "partial_rotary_factor" in config else None


def _dense_first(count: int) -> Callable[[Config], Config | None]:
    def change(config: Config) -> Config | None:
        if "first_k_dense_replace" in config:
            return {"first_k_dense_replace": count}
        kinds = config.get("mlp_layer_types")
        if isinstance(kinds, list) and set(kinds) <= {"dense", "sparse"}:
            return {"mlp_layer_types": ["dense"] * count + ["sparse"] * (len(kinds) - count)}
        return {"mlp_only_layers": list(range(count))} if "mlp_only_layers" in config else None

    return change


VARIANTS: tuple[Variant, ...] = (
    Variant("rope-linear", _rope(lambda config: {"rope_type": "linear", "factor": 2.5})),
    Variant(
        "rope-llama3",
        _rope(
            lambda config: {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            }
        ),
    ),
    Variant(
        "rope-llama3-unusual",
        _rope(
            lambda config: {
                "rope_type": "llama3",
                "factor": 32.0,
                "low_freq_factor": 1.5,
                "high_freq_factor": 5.0,
                "original_max_position_embeddings": 4096,
            }
        ),
        usual=True,
    ),
    Variant(
        "rope-yarn",
        _rope(lambda config: {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}),
    ),
    Variant(
        "rope-yarn-unusual",
        _rope(
            lambda config: {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 4096,
                "beta_fast": 24.0,
                "beta_slow": 2.0,
                "attention_factor": 1.3,
                "truncate": False,
            }
        ),
    ),
    Variant("rope-dynamic", _rope(lambda config: {"rope_type": "dynamic", "factor": 2.0})),
    Variant("rope-longrope", _rope(_longrope)),
    Variant("rotary-partial", _partial),
    Variant("window-everywhere", _window_everywhere),
    Variant("window-nowhere", _window_nowhere),
    Variant("windows-all", _windows(lambda layer: True)),
    Variant("windows-none", _windows(lambda layer: False)),
    Variant("windows-periodic", _windows(lambda layer: layer % 3 != 2), usual=True),
    Variant("windows-irregular", _windows(lambda layer: layer in {0, 1, 4})),
    Variant("heads-mqa", _kv_heads(lambda heads: 1)),
    Variant("heads-gqa", _kv_heads(lambda heads: heads // 4 if heads % 4 == 0 else 1), usual=True),
    Variant("heads-mha", _kv_heads(lambda heads: heads)),
    Variant("head_dim-explicit", _explicit_head_dim),
    Variant("moe-dense-first", _dense_first(2)),
    Variant("moe-sparse-everywhere", _dense_first(0)),
    Variant("moe-every-second", _set({"decoder_sparse_step": 2})),
    Variant("moe-no-shared-expert", _set({"n_shared_experts": None})),
    Variant("moe-two-shared-experts", _set({"n_shared_experts": 2})),
    Variant("moe-groups", _set({"n_group": 4, "topk_group": 2})),
    Variant("moe-scaled", _set({"routed_scaling_factor": 2.5})),
    Variant("router-sigmoid", _set({"scoring_func": "sigmoid"})),
    Variant("router-softmax", _set({"scoring_func": "softmax"})),
    Variant("activation-gelu", _set({"hidden_act": "gelu"})),
    Variant("activation-gelu-tanh", _set({"hidden_act": "gelu_pytorch_tanh"})),
    Variant("activation-relu2", _set({"hidden_act": "relu2"})),
    Variant("softcap-attention", _set({"attn_logit_softcapping": 50.0})),
    Variant("softcap-logits", _set({"final_logit_softcapping": 30.0})),
    Variant("q_lora-none", _set({"q_lora_rank": None})),
    Variant("clip-qkv", _set({"clip_qkv": 8.0})),
)
