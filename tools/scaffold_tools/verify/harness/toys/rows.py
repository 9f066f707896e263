"""The tables of toy shrinking: which config key is which size, scalar or list, and what it becomes in toy `a` and `b`.

Adding a model family is adding a row. Values of one variant are mutually distinct wherever the two things they size
could be confused by an integration (hidden, ffn, heads*head_dim, vocab, window, original length, ...).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Size:
    """Keys that name one size, and its toy value in variants a and b. None, booleans and 0 are always kept."""

    keys: tuple[str, ...]
    a: int
    b: int
    why: str
    keep_one: bool = False
    """1 has a meaning of its own (one group, one shared expert) and stays."""
    at_most: bool = False
    """Never above the model's own value."""

    def value(self, variant: str, real: int) -> int:
        """The toy's value where the model has `real`."""
        toy = self.a if variant == "a" else self.b
        if self.keep_one and real == 1:
            return 1
        return min(toy, real) if self.at_most else toy


SIZES: tuple[Size, ...] = (
    Size(("hidden_size", "n_embd", "d_model", "dim"), 64, 96, "width of the residual stream"),
    Size(
        (
            "intermediate_size",
            "block_ff_dim",
            "ffn_hidden_size",
            "n_inner",
            "ffn_dim",
            "d_ff",
            "dff",
            "d_inner",
            "feed_forward_size",
        ),
        112,
        144,
        "feed-forward width",
    ),
    Size(("intermediate_multiple_size", "expansion_ratio"), 3, 5, "feed-forward width over hidden size"),
    Size(("block_multiple_of", "multiple_of", "ffn_multiple_of"), 24, 20, "what a feed-forward width is rounded to"),
    Size(("lru_width",), 72, 108, "channels of a linear recurrence; heads divide it"),
    Size(
        ("intermediate_size_mlp", "dense_intermediate_size"),
        128,
        160,
        "feed-forward width of dense layers beside experts",
    ),
    Size(("moe_intermediate_size", "expert_ffn_hidden_size", "moe_ffn_hidden_size"), 40, 56, "width of one expert"),
    Size(
        ("shared_expert_intermediate_size", "shared_intermediate_size", "moe_shared_expert_intermediate_size"),
        88,
        72,
        "width of the shared expert",
    ),
    Size(("vocab_size", "padded_vocab_size"), 136, 152, "rows of the embedding"),
    Size(("encoder_hash_byte_group_vocab",), 139, 157, "rows of each embedding of hashed bytes"),
    Size(("vocab_size_per_layer_input",), 136, 152, "rows of the per-layer embedding; the same ids index it"),
    Size(("hidden_size_per_layer_input",), 28, 36, "width of the per-layer embedding"),
    Size(
        ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx", "seq_length"),
        66,
        58,
        "longer than the sequences that the checks use",
    ),
    # Windows are shorter than the sequence, so that a window that is off by one, or absent, changes logits.
    Size(("sliding_window", "sliding_window_size", "window_size", "attention_window_size"), 5, 7, "attention window"),
    Size(("keep_window_size",), 23, 19, "keys that a query keeps"),
    Size(("attention_chunk_size",), 6, 9, "chunked attention"),
    Size(("floor_scale",), 13, 11, "positions from one step of a query's temperature to the next; two are in sight"),
    # Experts.
    Size(
        ("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts"),
        16,
        24,
        "routed experts; with one of them, code has a plain MLP",
        keep_one=True,
    ),
    Size(
        ("num_experts_per_tok", "experts_per_token", "num_experts_per_token", "top_k_experts", "moe_topk", "moe_k"),
        4,
        5,
        "experts a token; twice the groups kept, as in models with groups",
        keep_one=True,
    ),
    Size(("n_group",), 4, 3, "groups of experts; divides them", keep_one=True),
    Size(("topk_group",), 2, 2, "groups kept; below n_group", keep_one=True),
    Size(("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"), 2, 3, "shared experts"),
    Size(("first_k_dense_replace", "num_dense_layers", "first_k_dense"), 1, 2, "leading dense layers"),
    Size(
        ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules"),
        0,
        0,
        "prediction layers: transformers builds none, so there is nothing to compare with",
    ),
    # Multi-head latent attention.
    Size(("q_lora_rank",), 28, 36, "rank of the query projection"),
    Size(("kv_lora_rank",), 20, 26, "rank of the key-value projection"),
    Size(("qk_nope_head_dim",), 12, 16, "query dims without position"),
    Size(("qk_rope_head_dim",), 8, 12, "query dims with position"),
    Size(("v_head_dim",), 10, 14, "value dims a head"),
    Size(("index_head_dim",), 18, 22, "sparse indexer"),
    Size(
        ("index_n_heads",), 11, 13, "sparse indexer; few heads are all negative at once, and score zero for many keys"
    ),
    Size(("index_topk",), 9, 11, "positions the sparse indexer keeps; below the sequence length"),
    # Linear attention.
    Size(("linear_num_key_heads",), 2, 2, "gated delta net"),
    Size(("linear_num_value_heads",), 4, 6, "gated delta net; a multiple of its key heads"),
    Size(("linear_key_head_dim",), 34, 44, "gated delta net; narrow keys overlap, which makes its kernel noisy"),
    Size(("linear_value_head_dim",), 10, 14, "gated delta net"),
    # State space.
    Size(("mamba_num_heads", "mamba_n_heads"), 8, 12, "with mamba_head_dim 16, twice the hidden size"),
    Size(("mamba_head_dim", "mamba_d_head"), 16, 16, "see mamba_num_heads"),
    Size(("mamba_d_ssm",), 128, 192, "mamba_num_heads * mamba_head_dim"),
    Size(("ssm_state_size", "mamba_d_state", "state_size"), 14, 18, "state a channel"),
    Size(("n_groups", "mamba_n_groups"), 2, 4, "state groups; divides the heads", keep_one=True),
    Size(("chunk_size", "mamba_chunk_size"), 64, 64, "one chunk holds the sequence: HF's CPU path errs across chunks"),
    Size(("time_step_rank", "mamba_dt_rank"), 6, 10, "rank of the step projection"),
    # Vision towers.
    Size(("num_position_embeddings",), 64, 144, "a square: positions of a vision tower"),
    Size(("position_embedding_size",), 64, 144, "positions of a vision tower"),
)

VISION_SIZES: tuple[Size, ...] = (
    Size(("hidden_size", "embed_dim"), 48, 80, "width of a vision or audio tower; not the language model's"),
    Size(("intermediate_size",), 76, 92, "feed-forward width of a tower"),
    Size(("depth", "num_hidden_layers", "num_layers"), 2, 3, "layers of a tower", at_most=True),
    Size(("num_heads", "num_attention_heads"), 2, 4, "heads of a tower"),
    Size(("num_key_value_heads",), 2, 4, "heads of a tower"),
    Size(("head_dim", "global_head_dim"), 24, 20, "hidden / heads of a tower"),
)
"""Rows that win inside `vision_config`, `audio_config` and their like."""

LANGUAGE_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config", "talker_config")
"""Nested configs that are decoders themselves; any other `*_config` is a tower."""

LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HEAD_KEYS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
KV_KEYS = ("num_key_value_heads", "n_head_kv", "num_kv_heads", "num_query_groups", "num_global_key_value_heads")
HEAD_DIM_KEYS = ("head_dim", "kv_channels", "attention_head_dim", "d_kv", "d_head", "attention_head_size")
GLOBAL_HEAD_DIM_KEYS = ("global_head_dim", "swa_head_dim")
WIDTH_OF_TEXT_KEYS = ("out_hidden_size", "projection_dim", "text_hidden_size")
"""Keys of a tower that repeat the language model's hidden size."""

HEADS = {"a": (4, 2), "b": (6, 2)}
"""Query heads and key-value groups of a toy with grouped queries: ratio 2 and 3."""


@dataclass(frozen=True)
class Sizes:
    """Heads of both toys."""

    heads: dict[str, tuple[int, int]]
    head_dim_is_quotient: bool
    """An explicit head_dim is hidden size / heads, as code expects that does not use the key throughout."""
    why: str
    rotary_kept: bool = False
    """The share of a head that rotates is the model's own."""
    layers_multiple: int = 1
    """What divides the number of layers: stages of a pipeline that are all of one length."""


USUAL_SIZES: tuple[Sizes, ...] = (
    Sizes(HEADS, False, "every size tells one thing from another"),
    Sizes(HEADS, True, "code that projects from hidden size to hidden size, whatever head_dim says"),
    Sizes({"a": (4, 2), "b": (8, 2)}, False, "code that cuts heads into four blocks"),
    Sizes(HEADS, True, "the same, and code that cuts a head into parts of which one rotates", rotary_kept=True),
)
"""What a toy tries, in this order."""

LINKED: tuple[tuple[str, str], ...] = (
    ("word_embed_proj_dim", "hidden_size"),
    ("embedding_dim", "hidden_size"),
    ("num_blocks", "num_hidden_layers"),
)
"""A size that usually repeats another: it stays equal to it where it is so in the model."""
WHOLES = ("hidden_size", "n_embd", "d_model")
"""Sizes that a list of numbers may divide up."""


def linked_sizes(config: dict[str, Any], toy: dict[str, Any]) -> dict[str, Any]:
    """Sizes that repeat others, and lists whose numbers add up to one."""
    repeated = {
        key: toy[other] for key, other in LINKED if is_int(config.get(key)) and config[key] == config.get(other)
    }
    return repeated | {
        key: divided(value, toy[whole])
        for key, value in config.items()
        for whole in WHOLES
        if isinstance(value, list) and len(value) > 1 and all(map(is_int, value)) and sum(value) == config.get(whole)
    }


def divided(parts: list[int], whole: int) -> list[int]:
    """A whole in the shares of other numbers, each at least 1; the last takes what is left."""
    kept = [max(1, whole * part // sum(parts)) for part in parts[:-1]]
    return [*kept, whole - sum(kept)]


def heads_by_layer(config: dict[str, Any], toy: dict[str, Any]) -> dict[str, Any]:
    """Lists of head counts, one a layer (`num_attention_heads_per_layer`), in proportion to the toy's own count."""
    changed: dict[str, Any] = {}
    for base in (*HEAD_KEYS, *KV_KEYS):
        for key, listed in config.items():
            counts = isinstance(listed, list) and listed and all(is_int(one) and one > 0 for one in listed)
            if not key.startswith(f"{base}_") or not counts or not is_int(config.get(base)):
                continue
            groups = next((toy[name] for name in KV_KEYS if is_int(toy.get(name))), 1)
            changed[key] = [_in_proportion(one, config[base], toy[base], groups) for one in toy[key]]
    return changed


def _in_proportion(count: int, base: int, toy: int, groups: int) -> int:
    """A multiple of the groups, and another than the toy's own count where the model's is another."""
    if count == base:
        return toy
    found = max(groups, groups * round(count * toy / (base * groups)))
    return found if found != toy else toy + groups


def state_space_heads(config: dict[str, Any], variant: str) -> dict[str, Any]:
    """Heads of a model without attention, where `num_heads * head_dim` is the expanded hidden size."""
    keys = ("num_heads", "head_dim", "expand", "hidden_size")
    if not all(is_int(config.get(key)) for key in keys) or "num_attention_heads" in config:
        return {}
    if config["num_heads"] * config["head_dim"] != config["expand"] * config["hidden_size"]:
        return {}
    rows = (size_row("mamba_num_heads", False), size_row("mamba_head_dim", False))
    return {key: row.value(variant, config[key]) for key, row in zip(keys, rows, strict=False) if row}


LINEAR_BLOCK = {"a": 9, "b": 7}
"""Positions that linear attention computes at once: below the sequence length, and dividing none."""


def linear_blocks(config: dict[str, Any], variant: str) -> dict[str, Any]:
    """Blocks of models some of whose layers are linear attention; in others the key is a number of positions."""
    kinds = config.get("layer_types") or ()
    linear = is_int(config.get("block_size")) and "linear_attention" in kinds
    return {"block_size": LINEAR_BLOCK[variant]} if linear else {}


def width_of_head(config: dict[str, Any], variant: str, heads: int) -> int:
    """Hidden size of the toy over its heads."""
    key = next((key for key in ("hidden_size", "n_embd", "d_model", "dim") if is_int(config.get(key))), "hidden_size")
    row = size_row(key, False)
    return row.value(variant, config.get(key, 2)) // heads if row else HEAD_DIM[variant]


HEAD_DIM = {"a": 24, "b": 20}
"""Explicit head_dim: neither hidden/heads (16) nor any other size, so heads*head_dim is not the hidden size."""
GLOBAL_HEAD_DIM = {"a": 32, "b": 36}
ROTARY_SHARE = {"a": 1 / 3, "b": 0.6}
"""Share of a head that is rotated where the model rotates a part: 8 of 24 and 12 of 20 (nobody's 1/4 or 1/2)."""
ORIGINAL_LENGTH = {"a": 24, "b": 20}
"""Original context length of scaled rope: below the sequence length, so that scaling acts."""
SEQUENCE_LENGTH = {"a": 37, "b": 31}
"""Tokens of one sequence: above every window, chunk and original length, below every maximum."""
MAX_TOY_LAYERS = 13
"""A period that does not fit is compressed to the first layer of each kind."""

PERIOD_KEYS = (
    "sliding_window_pattern",
    "_sliding_window_pattern",
    "full_attention_interval",
    "interleave_moe_layer_step",
    "decoder_sparse_step",
    "moe_layer_freq",
    "moe_layer_interval",
    "no_rope_layer_interval",
    "attn_layer_period",
    "expert_layer_period",
    "global_attn_every_n_layers",
    "layer_group_size",
)
"""Every n-th layer is another kind: the toy has one full period and one layer more."""
LAYER_INDEX_LISTS = ("mlp_only_layers", "full_attn_idxs", "attn_layer_indices", "global_attn_indices", "moe_layers")
"""Lists that hold layer numbers, not one value a layer."""
LAST_LAYERS = ("num_kv_shared_layers",)
"""How many layers at the end are of another kind."""
LAYER_STRINGS = ("hybrid_override_pattern", "hybrid_layer_pattern")
"""One character a layer."""

DROPPED = ("quantization_config", "torch_dtype", "dtype", "transformers_version", "auto_map")
"""A toy is fp32 and unquantised; `auto_map` names code that must not run."""


@dataclass(frozen=True)
class Scalar:
    """Keys (a whole-key pattern) whose canary is not simply near the model's own value."""

    pattern: str
    a: float
    b: float
    why: str
    integer: bool = False

    def matches(self, key: str) -> bool:
        """Whether this row is about `key`."""
        return re.fullmatch(self.pattern, key) is not None


SCALARS: tuple[Scalar, ...] = (
    Scalar(r".*(_eps|epsilon)|eps", 0.0113, 0.0237, "at 1e-6 no error in an eps would show in logits"),
    Scalar(r"rope_theta|rotary_emb_base|rotary_base", 7351.0, 3119.0, "rope base"),
    Scalar(r"rope_local_base_freq|local_rope_theta|swa_rope_theta", 419.0, 733.0, "rope base of windowed layers"),
    Scalar(r"global_rope_theta|compress_rope_theta", 2749.0, 5113.0, "rope base of global layers"),
    Scalar(r"attn_logit_softcapping", 2.7, 1.9, "low enough to bend toy scores"),
    Scalar(r"moe_router_logit_softcapping", 0.9, 1.3, "low enough to bend toy logits of a router"),
    Scalar(r"final_logit_softcapping|logits_soft_cap|logit_softcap", 3.3, 4.1, "low enough to bend toy logits"),
    Scalar(r"query_pre_attn_scalar", 37, 53, "not head_dim", integer=True),
    Scalar(r".*ffn.*multiplier", 1.37, 0.71, "far enough from one that rounding up does not hide it"),
    Scalar(r"lm_head_multiplier", 0.83, 1.21, "models of this kind make logits so small that a toy's would be noise"),
    Scalar(r"clip_qkv|qkv_clip", 0.83, 1.17, "low enough to clip"),
    Scalar(r"swiglu_limit|glu_limit", 0.91, 1.27, "low enough to clip"),
    Scalar(r"routed_scaling_factor|moe_router_scaling_factor", 1.73, 2.31, "scale of routed experts"),
    Scalar(r"router_jitter_noise", 0.19, 0.27, "where it acts on logits, several experts are within it of the best"),
)

ROPE_SCALARS: tuple[Scalar, ...] = (
    Scalar(r"rope_theta|rope_base", 7351.0, 3119.0, "rope base"),
    Scalar(r"factor", 2.6, 3.4, "stretch"),
    Scalar(r"low_freq_factor", 1.15, 1.25, "llama3: band edge; with length 24 and base 7351 all three bands occur"),
    Scalar(r"high_freq_factor", 3.3, 2.9, "llama3: band edge, above low_freq_factor"),
    Scalar(r"beta_fast", 1.7, 1.6, "yarn: a correction range that is not clamped at the first dimension"),
    Scalar(r"beta_slow", 0.61, 0.53, "yarn: upper edge of the correction range"),
    Scalar(r"attention_factor", 1.21, 1.33, "scale of cos and sin"),
    Scalar(r"mscale", 0.87, 1.19, "yarn of MLA"),
    Scalar(r"mscale_all_dim", 1.13, 0.79, "yarn of MLA"),
    Scalar(r"llama_4_scaling_beta", 0.29, 0.17, "temperature that grows with position"),
)

ZEROED = re.compile(r".*(dropout|pdrop|_drop|droprate).*")
"""Dropout is off in logits; a toy has none at all."""
KEPT = re.compile(
    r"initializer_range|init_std|embedding_init_std|pretraining_tp|ep_size|tp_size|.*(loss|coef|jitter).*"
    r"|time_step_(min|max|floor|limit)|mamba_dt_(min|max)|(qk|v)_dim_factor"
)
"""Scalars that cannot act on logits (initialisation, losses, parallel layout, clamps of initial values), and factors
between sizes."""
INTEGER_SCALARS = re.compile(
    r"(logit_scale|logits_scaling|.*_multiplier|embedding_scale|residual_scale|scale_emb|scale_depth|dim_model_base"
    r"|.*_(alpha|beta)_factor)"
)
"""Scalars that configs also write as integers."""
TOKEN_ID = re.compile(r".*_(token|image|audio|video)_(id|index|ids)|.*_token_id|.*_token_index|.*_token_ids")


def size_row(key: str, tower: bool) -> Size | None:
    """The row of a size key; rows of towers win inside a tower."""
    rows = (*VISION_SIZES, *SIZES) if tower else SIZES
    return next((row for row in rows if key in row.keys), None)


def scalar_row(key: str, rows: tuple[Scalar, ...] = SCALARS) -> Scalar | None:
    """The row of a scalar key."""
    return next((row for row in rows if row.matches(key)), None)


def is_int(value: Any) -> bool:
    """An integer that is no boolean."""
    return isinstance(value, int) and not isinstance(value, bool)
