"""Blueprints of models that stock megatron-core cannot express, written by hand: facts as a person reads them in the
modeling code, and the raw config that they belong to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint, Const, Expression, KeyUse, PerLayer, Product, TensorRole, Term
from targets.blueprints import fact, key

LAYERS = "model.layers.*."
FactSpec = tuple[Any, Expression | None]


@dataclasses.dataclass(frozen=True)
class Model:
    """A raw config.json and the blueprint of it."""

    config: dict[str, Any]
    blueprint: Blueprint

    def with_fact(self, name: str, value: Any, expression: Expression | None = None) -> Model:
        """The same model with one fact said differently: a wrong belief for a negative control."""
        rest = tuple(row for row in self.blueprint.facts if row.name != name)
        return dataclasses.replace(
            self, blueprint=dataclasses.replace(self.blueprint, facts=(*rest, fact(name, value, expression)))
        )


def const(value: Any) -> FactSpec:
    return value, Const(value)


def role(name: str, pattern: str, shape: tuple[int, ...], param: Any = "weight", layers: int = 6) -> TensorRole:
    return TensorRole(name, pattern, param, shape, tuple(range(layers)) if "*" in pattern else None)


def base_config(model_type: str, architecture: str, **changes: Any) -> dict[str, Any]:
    config = {
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": 32000,
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": 6,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "rope_theta": 10000.0,
        "initializer_range": 0.02,
        **changes,
    }
    return {name: value for name, value in config.items() if value is not ...}


def rope_set(layers: list[int], kind: str = "default", config_key: str = "rope_parameters") -> dict[str, Any]:
    return {"layers": layers, "type": kind, "theta": 10000.0, "parameters": {}, "config_key": config_key}


def base_facts(config: Mapping[str, Any]) -> dict[str, FactSpec]:
    count = config["num_hidden_layers"]
    head_dim = (
        key("head_dim") if "head_dim" in config else Product((Term("hidden_size"), Term("num_attention_heads", -1.0)))
    )
    scale = (
        key("head_dim", -0.5)
        if "head_dim" in config
        else Product((Term("hidden_size", -0.5), Term("num_attention_heads", 0.5)))
    )
    size = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    return {
        "num_layers": (count, key("num_hidden_layers")),
        "hidden_size": (config["hidden_size"], key("hidden_size")),
        "vocab_size": (config["vocab_size"], key("vocab_size")),
        "num_attention_heads": (config["num_attention_heads"], key("num_attention_heads")),
        "num_query_groups": (config["num_key_value_heads"], key("num_key_value_heads")),
        "head_dim": (size, head_dim),
        "ffn_hidden_size": (config["intermediate_size"], key("intermediate_size")),
        "max_position_embeddings": (config["max_position_embeddings"], key("max_position_embeddings")),
        "norm.kind": const("rmsnorm"),
        "norm.zero_centered": const(False),
        "norm.eps": (config.get("rms_norm_eps"), key("rms_norm_eps")),
        "norm.bias": const(False),
        "norm.affine": const(True),
        "residual.parallel": const(False),
        "residual.multiplier": const(1.0),
        "embedding.multiplier": const(1.0),
        "logits.multiplier": const(1.0),
        "logits.softcap": const(None),
        "attention.scale": (size**-0.5, scale),
        "attention.softcap": const(None),
        "attention.window": ([None] * count, Const(None)),
        "attention.clip_qkv": const(None),
        "qk_norm.kind": const("none"),
        "position.kind": const("rope"),
        "rope.pairing": const("half"),
        "rope.dim": (size, head_dim),
        "rope.fraction": const(1.0),
        "rope.sets": ([rope_set(list(range(count)))], None),
        "mlp.activation": (config.get("hidden_act"), key("hidden_act")),
        "mlp.gated": const(True),
        "bias.qkv": const(False),
        "bias.o": const(False),
        "bias.mlp": const(False),
        "bias.head": const(False),
        "tied_embeddings": (config["tie_word_embeddings"], key("tie_word_embeddings")),
    }


def base_roles(config: Mapping[str, Any]) -> dict[str, TensorRole]:
    hidden, vocab, ffn = config["hidden_size"], config["vocab_size"], config["intermediate_size"]
    size = config.get("head_dim", hidden // config["num_attention_heads"])
    queries, keys = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    rows = [
        role("embed.tokens", "model.embed_tokens.weight", (vocab, hidden)),
        role("norm.final", "model.norm.weight", (hidden,)),
        role("norm.pre_attn", LAYERS + "input_layernorm.weight", (hidden,)),
        role("norm.pre_mlp", LAYERS + "post_attention_layernorm.weight", (hidden,)),
        role("attn.q", LAYERS + "self_attn.q_proj.weight", (queries, hidden)),
        role("attn.k", LAYERS + "self_attn.k_proj.weight", (keys, hidden)),
        role("attn.v", LAYERS + "self_attn.v_proj.weight", (keys, hidden)),
        role("attn.o", LAYERS + "self_attn.o_proj.weight", (hidden, queries)),
        role("mlp.gate", LAYERS + "mlp.gate_proj.weight", (ffn, hidden)),
        role("mlp.up", LAYERS + "mlp.up_proj.weight", (ffn, hidden)),
        role("mlp.down", LAYERS + "mlp.down_proj.weight", (hidden, ffn)),
    ]
    if not config["tie_word_embeddings"]:
        rows.append(role("head", "lm_head.weight", (vocab, hidden)))
    return {row.role: row for row in rows}


def model(
    config: dict[str, Any],
    facts: Mapping[str, FactSpec] | None = None,
    roles: tuple[TensorRole, ...] = (),
    without: tuple[str, ...] = (),
    read: Mapping[str, Any] | None = None,
) -> Model:
    """A model as its difference from a plain Llama. `read`: config keys that only the class's defaults have."""
    merged = {**base_facts(config), **(facts or {})}
    named = {name: row for name, row in base_roles(config).items() if name not in without}
    own = {row.role: row for row in roles if row.param == "weight"}
    biases = tuple(row for row in roles if row.param != "weight")
    return Model(
        config,
        Blueprint(
            model_name="test/model",
            architecture=config["architectures"][0],
            model_type=config["model_type"],
            in_transformers=True,
            facts=tuple(fact(name, value, expression) for name, (value, expression) in merged.items()),
            roles=(*{**named, **own}.values(), *biases),
            layer_kinds=(),
            keys=tuple(KeyUse(name, value, None, None) for name, value in {**config, **(read or {})}.items()),
        ),
    )


def biases(*names: str) -> tuple[TensorRole, ...]:
    """Bias roles: `attn.q` and the like with the Llama names."""
    tensors = {row.role: row.pattern for row in base_roles(base_config("x", "X")).values()}
    return tuple(role(name, tensors[name].replace(".weight", ".bias"), (1,), "bias") for name in names)


def llama(
    rope: dict[str, Any] | None = None, attention_bias: bool = False, architecture: str = "LlamaForCausalLM"
) -> Model:
    """Llama, with scaled rope and attention biases on request."""
    rope = rope or {"rope_type": "default"}
    config = base_config(
        "llama", architecture, rope_theta=..., attention_bias=attention_bias, mlp_bias=False,
        rope_parameters={"rope_theta": 500000.0, **rope},
    )  # fmt: skip
    facts: dict[str, FactSpec] = {"rope.sets": ([rope_set(list(range(6)), rope["rope_type"])], None)}
    if attention_bias:
        facts |= {name: (True, key("attention_bias")) for name in ("bias.qkv", "bias.o")}
        facts["bias.mlp"] = (False, key("mlp_bias"))
    return model(config, facts, biases("attn.q", "attn.k", "attn.v", "attn.o") if attention_bias else ())


LLAMA3_ROPE = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 1024,
}  # fmt: skip
YARN_ROPE = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
DYNAMIC_ROPE = {"rope_type": "dynamic", "factor": 3.0}
LONGROPE = {
    "rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 1024,
    "short_factor": [1.0 + 0.1 * index for index in range(32)],
    "long_factor": [2.0 + 0.3 * index for index in range(32)],
}  # fmt: skip


def gemma() -> Model:
    """Gemma: zero-centred norms, scaled embedding, tied, tanh-GELU whatever the config calls it."""
    config = base_config("gemma", "GemmaForCausalLM", hidden_act="gelu_pytorch_tanh", tie_word_embeddings=True)
    return model(
        config,
        {
            "norm.zero_centered": const(True),
            "embedding.multiplier": (32.0, key("hidden_size", 0.5)),
            "mlp.activation": ("gelu_tanh", None),
        },
    )


_SANDWICH = (
    role("norm.pre_attn", LAYERS + "input_layernorm.weight", (1024,)),
    role("norm.post_attn", LAYERS + "post_attention_layernorm.weight", (1024,)),
    role("norm.pre_mlp", LAYERS + "pre_feedforward_layernorm.weight", (1024,)),
    role("norm.post_mlp", LAYERS + "post_feedforward_layernorm.weight", (1024,)),
)
_KINDS = ["sliding_attention", "full_attention"] * 3


def _windows(kinds: list[str]) -> FactSpec:
    widths = [512 if kind == "sliding_attention" else None for kind in kinds]
    return widths, PerLayer(
        "layer_types", (("full_attention", Const(None)), ("sliding_attention", key("sliding_window")))
    )


def gemma2() -> Model:
    """Gemma 2: sandwich norms, alternating windows, capped scores and logits."""
    config = base_config(
        "gemma2", "Gemma2ForCausalLM", hidden_act=..., hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True,
        query_pre_attn_scalar=144, attn_logit_softcapping=50.0, final_logit_softcapping=30.0, sliding_window=512,
        layer_types=_KINDS,
    )  # fmt: skip
    return model(
        config,
        {
            "norm.zero_centered": const(True),
            "embedding.multiplier": (32.0, key("hidden_size", 0.5)),
            "mlp.activation": ("gelu_tanh", key("hidden_activation")),
            "attention.scale": (1 / 12, key("query_pre_attn_scalar", -0.5)),
            "attention.softcap": (50.0, key("attn_logit_softcapping")),
            "logits.softcap": (30.0, key("final_logit_softcapping")),
            "attention.window": _windows(_KINDS),
        },
        _SANDWICH,
    )


def gemma3() -> Model:
    """Gemma 3: sandwich norms, a rotary table for each kind of layer, windows, zero-centred q/k norms."""
    kinds = ["sliding_attention"] * 2 + ["full_attention"] + ["sliding_attention"] * 2 + ["full_attention"]
    config = base_config(
        "gemma3_text", "Gemma3ForCausalLM", hidden_act=..., hidden_activation="gelu_pytorch_tanh",
        tie_word_embeddings=True, query_pre_attn_scalar=144, sliding_window=512, layer_types=kinds, rope_theta=...,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    )  # fmt: skip
    full = [index for index, kind in enumerate(kinds) if kind == "full_attention"]
    sliding = [index for index, kind in enumerate(kinds) if kind != "full_attention"]
    return model(
        config,
        {
            "norm.zero_centered": const(True),
            "embedding.multiplier": (32.0, key("hidden_size", 0.5)),
            "mlp.activation": ("gelu_tanh", key("hidden_activation")),
            "attention.scale": (1 / 12, key("query_pre_attn_scalar", -0.5)),
            "attention.window": _windows(kinds),
            "qk_norm.kind": const("per_head"),
            "qk_norm.zero_centered": const(True),
            "qk_norm.eps": (1e-6, key("rms_norm_eps")),
            "rope.sets": (
                [
                    rope_set(full, "linear", "rope_parameters.full_attention"),
                    rope_set(sliding, "default", "rope_parameters.sliding_attention"),
                ],
                None,
            ),
        },
        (*_SANDWICH, *_per_head_norms()),
    )


def _per_head_norms() -> tuple[TensorRole, ...]:
    return (
        role("norm.q", LAYERS + "self_attn.q_norm.weight", (64,)),
        role("norm.k", LAYERS + "self_attn.k_norm.weight", (64,)),
    )


def windows(name: str) -> Model:
    """A model of one window size, told as if there were two: the value says so, the expressions stay right."""
    described = MODELS[name]()
    expression = next(row.expression for row in described.blueprint.facts if row.name == "attention.window")
    widths = [512 if kind == "sliding_attention" else None for kind in described.config["layer_types"]]
    return described.with_fact("attention.window", [256, *widths[1:]], expression)


def granite() -> Model:
    """Granite: four multipliers."""
    config = base_config(
        "granite", "GraniteForCausalLM", head_dim=..., embedding_multiplier=12.0, residual_multiplier=0.22,
        attention_multiplier=0.0078125, logits_scaling=8.0,
    )  # fmt: skip
    return model(
        config,
        {
            "embedding.multiplier": (12.0, key("embedding_multiplier")),
            "residual.multiplier": (0.22, key("residual_multiplier")),
            "logits.multiplier": (0.125, key("logits_scaling", -1.0)),
            "attention.scale": (0.0078125, key("attention_multiplier")),
        },
    )


_POST_ONLY = (
    role("norm.post_attn", LAYERS + "post_attention_layernorm.weight", (1024,)),
    role("norm.post_mlp", LAYERS + "post_feedforward_layernorm.weight", (1024,)),
)


def olmo2() -> Model:
    """OLMo 2: norms after the sublayers alone, q/k norms over all heads."""
    config = base_config("olmo2", "Olmo2ForCausalLM", head_dim=...)
    return model(
        config,
        {
            "qk_norm.kind": const("full"),
            "qk_norm.zero_centered": const(False),
            "qk_norm.eps": (1e-6, key("rms_norm_eps")),
        },
        (
            *_POST_ONLY,
            role("norm.q", LAYERS + "self_attn.q_norm.weight", (1024,)),
            role("norm.k", LAYERS + "self_attn.k_norm.weight", (512,)),
        ),
        without=("norm.pre_attn", "norm.pre_mlp"),
    )


def olmo() -> Model:
    """OLMo: LayerNorm without parameters, clipped projections."""
    config = base_config("olmo", "OlmoForCausalLM", head_dim=..., rms_norm_eps=..., clip_qkv=8.0)
    return model(
        config,
        {
            "norm.kind": const("layernorm"),
            "norm.affine": const(False),
            "norm.eps": const(1e-5),
            "attention.clip_qkv": (8.0, key("clip_qkv")),
        },
        without=("norm.pre_attn", "norm.pre_mlp", "norm.final"),
    )


def cohere(use_qk_norm: bool = False) -> Model:
    """Cohere: parallel sublayers from one LayerNorm without bias, interleaved rope, scaled logits."""
    config = base_config(
        "cohere", "CohereForCausalLM", head_dim=..., rms_norm_eps=..., layer_norm_eps=1e-5, logit_scale=0.0625,
        tie_word_embeddings=True, use_qk_norm=use_qk_norm,
    )  # fmt: skip
    facts: dict[str, FactSpec] = {
        "norm.kind": const("layernorm"),
        "norm.eps": (1e-5, key("layer_norm_eps")),
        "residual.parallel": const(True),
        "logits.multiplier": (0.0625, key("logit_scale")),
        "rope.pairing": const("interleaved"),
    }
    roles: tuple[TensorRole, ...] = ()
    if use_qk_norm:
        facts |= {
            "qk_norm.kind": const("per_head"),
            "qk_norm.zero_centered": const(False),
            "qk_norm.eps": (1e-5, key("layer_norm_eps")),
        }
        roles = (
            role("norm.q", LAYERS + "self_attn.q_norm.weight", (16, 64)),
            role("norm.k", LAYERS + "self_attn.k_norm.weight", (8, 64)),
        )
    return model(config, facts, roles, without=("norm.pre_mlp",))


def nemotron() -> Model:
    """Nemotron: zero-centred LayerNorm with bias, squared ReLU without a gate, partial rotation."""
    config = base_config(
        "nemotron", "NemotronForCausalLM", rms_norm_eps=..., norm_eps=1e-5, hidden_act="relu2", rope_theta=...,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    )  # fmt: skip
    return model(
        config,
        {
            "norm.kind": const("layernorm"),
            "norm.zero_centered": const(True),
            "norm.bias": const(True),
            "norm.eps": (1e-5, key("norm_eps")),
            "mlp.gated": const(False),
            "rope.dim": (32, None),
            "rope.fraction": (0.5, key("rope_parameters.partial_rotary_factor")),
        },
        _layernorm_biases(),
        without=("mlp.gate",),
    )


def _layernorm_biases(*without: str) -> tuple[TensorRole, ...]:
    return tuple(row for row in biases("norm.final", "norm.pre_attn", "norm.pre_mlp") if row.role not in without)


def starcoder2() -> Model:
    """StarCoder 2: LayerNorm with bias, biases everywhere, tanh-GELU without a gate, one window."""
    config = base_config(
        "starcoder2", "Starcoder2ForCausalLM", head_dim=..., rms_norm_eps=..., norm_epsilon=1e-5, use_bias=True,
        hidden_act="gelu_pytorch_tanh", sliding_window=512, tie_word_embeddings=True, embedding_dropout=0.0,
        residual_dropout=0.0, attention_bias=...,
    )  # fmt: skip
    names = {"mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}
    return model(
        config,
        {
            "norm.kind": const("layernorm"),
            "norm.bias": const(True),
            "norm.eps": (1e-5, key("norm_epsilon")),
            "mlp.gated": const(False),
            "mlp.activation": ("gelu_tanh", key("hidden_act")),
            "attention.window": ([512] * 6, key("sliding_window")),
            **{name: (True, key("use_bias")) for name in ("bias.qkv", "bias.o", "bias.mlp")},
        },
        (
            *_layernorm_biases(),
            *biases("attn.q", "attn.k", "attn.v", "attn.o"),
            *(role(name, f"{LAYERS}{path}.weight", (1,)) for name, path in names.items()),
            *(role(name, f"{LAYERS}{path}.bias", (1,), "bias") for name, path in names.items()),
        ),
        without=("mlp.gate",),
    )


def phi() -> Model:
    """Phi: parallel sublayers from one LayerNorm, biases everywhere and on the head, partial rotation."""
    config = base_config(
        "phi", "PhiForCausalLM", head_dim=..., rms_norm_eps=..., layer_norm_eps=1e-5, hidden_act="gelu_pytorch_tanh",
        rope_theta=..., embd_pdrop=0.0, resid_pdrop=0.0, attention_bias=...,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    )  # fmt: skip
    names = {
        "attn.o": "self_attn.dense", "mlp.up": "mlp.fc1", "mlp.down": "mlp.fc2",
    }  # fmt: skip
    return model(
        config,
        {
            "norm.kind": const("layernorm"),
            "norm.bias": const(True),
            "norm.eps": (1e-5, key("layer_norm_eps")),
            "residual.parallel": const(True),
            "mlp.gated": const(False),
            "mlp.activation": ("gelu_tanh", None),
            "rope.dim": (32, None),
            "rope.fraction": (0.5, key("rope_parameters.partial_rotary_factor")),
            **{name: const(True) for name in ("bias.qkv", "bias.o", "bias.mlp", "bias.head")},
        },
        (
            *biases("norm.pre_attn", "attn.q", "attn.k", "attn.v"),
            role("norm.final", "model.final_layernorm.weight", (1024,)),
            role("norm.final", "model.final_layernorm.bias", (1024,), "bias"),
            role("head", "lm_head.weight", (32000, 1024)),
            role("head", "lm_head.bias", (32000,), "bias"),
            *(role(name, f"{LAYERS}{path}.weight", (1,)) for name, path in names.items()),
            *(role(name, f"{LAYERS}{path}.bias", (1,), "bias") for name, path in names.items()),
        ),
        without=("mlp.gate", "norm.pre_mlp"),
    )


def hunyuan(rope: dict[str, Any] | None = None) -> Model:
    """HunYuan: q/k norms after the rotation, biases of attention alone; dynamic rope with alpha on request."""
    rope = rope or {"rope_type": "default"}
    config = base_config(
        "hunyuan_v1_dense", "HunYuanDenseV1ForCausalLM", rope_theta=..., attention_bias=True,
        rope_parameters={"rope_theta": 10000.0, **rope},
    )  # fmt: skip
    one = rope_set(list(range(6)), rope["rope_type"]) | {"parameters": rope}
    return model(
        config,
        {
            "rope.sets": ([one], None),
            "qk_norm.kind": const("per_head"),
            "qk_norm.after_rope": const(True),
            "qk_norm.zero_centered": const(False),
            "qk_norm.eps": (1e-6, key("rms_norm_eps")),
            "bias.qkv": (True, key("attention_bias")),
            "bias.o": (True, key("attention_bias")),
        },
        (
            role("norm.q", LAYERS + "self_attn.query_layernorm.weight", (64,)),
            role("norm.k", LAYERS + "self_attn.key_layernorm.weight", (64,)),
            *biases("attn.q", "attn.k", "attn.v", "attn.o"),
        ),
    )


def exaone4() -> Model:
    """EXAONE 4: norms after the sublayers alone, windows with scaled rope, full attention without positions."""
    config = base_config(
        "exaone4", "Exaone4ForCausalLM", head_dim=..., sliding_window=512, layer_types=_KINDS, rope_theta=...,
        sliding_window_pattern=2, rope_parameters={"rope_theta": 1000000.0, **LLAMA3_ROPE},
    )  # fmt: skip
    return model(
        config,
        {
            "attention.window": _windows(_KINDS),
            "rope.sets": ([rope_set([0, 2, 4], "llama3")], None),
            "qk_norm.kind": const("per_head"),
            "qk_norm.after_rope": const(False),
            "qk_norm.zero_centered": const(False),
            "qk_norm.eps": (1e-6, key("rms_norm_eps")),
        },
        (*_POST_ONLY, *_per_head_norms()),
        without=("norm.pre_attn", "norm.pre_mlp"),
    )


def glm4() -> Model:
    """GLM 4: sandwich norms, interleaved partial rotation."""
    config = base_config(
        "glm4", "Glm4ForCausalLM", rope_theta=..., pad_token_id=0,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    )  # fmt: skip
    sandwich = {
        "norm.pre_attn": "input_layernorm", "norm.post_attn": "post_self_attn_layernorm",
        "norm.pre_mlp": "post_attention_layernorm", "norm.post_mlp": "post_mlp_layernorm",
    }  # fmt: skip
    gate_up = TensorRole(
        "mlp.gate_up", f"{LAYERS}mlp.gate_up_proj.weight", "weight", (5632, 1024), tuple(range(6)), "concat:gate,up"
    )
    return model(
        config,
        {
            "rope.pairing": const("interleaved"),
            "rope.dim": (32, None),
            "rope.fraction": (0.5, key("rope_parameters.partial_rotary_factor")),
        },
        (*(role(name, f"{LAYERS}{path}.weight", (1024,)) for name, path in sandwich.items()), gate_up),
        without=("mlp.gate", "mlp.up"),
    )


def mpt() -> Model:
    """MPT: ALiBi, LayerNorm without bias, exact GELU without a gate, fused projections."""
    config = {
        "architectures": ["MptForCausalLM"], "model_type": "mpt", "vocab_size": 32000, "d_model": 1024, "n_heads": 16,
        "n_layers": 6, "expansion_ratio": 4, "max_seq_len": 2048, "layer_norm_epsilon": 1e-5, "resid_pdrop": 0.0,
        "emb_pdrop": 0.0, "tie_word_embeddings": True, "initializer_range": 0.02,
        "attn_config": {"attn_pdrop": 0, "alibi": True, "alibi_bias_max": 8},
    }  # fmt: skip
    names = {
        "hidden_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 16, "num_key_value_heads": 16,
        "intermediate_size": 4096, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "hidden_act": "gelu",
    }  # fmt: skip
    layers = "transformer.blocks.*."
    paths = {
        "norm.pre_attn": "norm_1", "norm.pre_mlp": "norm_2", "attn.o": "attn.out_proj", "mlp.up": "ffn.up_proj",
        "mlp.down": "ffn.down_proj",
    }  # fmt: skip
    width = (4096, Product((Term("d_model"),), 4.0))
    per_head = Product((Term("hidden_size"), Term("num_attention_heads", -1.0)))
    described = model(
        {**config, **names},
        {
            "num_layers": (6, key("n_layers")),
            "hidden_size": (1024, key("d_model")),
            "num_attention_heads": (16, key("n_heads")),
            "num_query_groups": (16, key("n_heads")),
            "head_dim": (64, per_head),
            "ffn_hidden_size": width,
            "max_position_embeddings": (2048, key("max_seq_len")),
            "norm.kind": const("layernorm"),
            "norm.eps": (1e-5, key("layer_norm_epsilon")),
            "attention.scale": (0.125, Product((Term("hidden_size", -0.5), Term("num_attention_heads", 0.5)))),
            "position.kind": const("alibi"),
            "rope.pairing": const("half"),
            "rope.dim": const(0),
            "rope.sets": ([], None),
            "mlp.gated": const(False),
            "mlp.activation": ("gelu", None),
        },
        (
            role("embed.tokens", "transformer.wte.weight", (32000, 1024)),
            role("norm.final", "transformer.norm_f.weight", (1024,)),
            TensorRole(
                "attn.qkv", layers + "attn.Wqkv.weight", "weight", (3072, 1024), tuple(range(6)), "concat:q,k,v"
            ),
            *(role(name, f"{layers}{path}.weight", (1,)) for name, path in paths.items()),
        ),
        without=("attn.q", "attn.k", "attn.v", "mlp.gate"),
    )
    keys = tuple(use for use in described.blueprint.keys if use.key in config)
    return Model(config, dataclasses.replace(described.blueprint, keys=keys))


MODELS = {
    "gemma": gemma,
    "gemma2": gemma2,
    "gemma3_text": gemma3,
    "granite": granite,
    "olmo2": olmo2,
    "olmo": olmo,
    "llama3": lambda: llama(LLAMA3_ROPE),
    "llama_yarn": lambda: llama(YARN_ROPE),
    "llama_dynamic": lambda: llama(DYNAMIC_ROPE),
    "llama_longrope": lambda: llama(LONGROPE),
    "llama_attention_bias": lambda: llama(attention_bias=True),
    "nemotron": nemotron,
    "starcoder2": starcoder2,
    "cohere": cohere,
    "cohere_qk_norm": lambda: cohere(use_qk_norm=True),
    "phi": phi,
    "hunyuan": hunyuan,
    "hunyuan_alpha": lambda: hunyuan({"rope_type": "dynamic", "alpha": 100.0, "factor": 2.0}),
    "exaone4": exaone4,
    "glm4": glm4,
    "mpt": mpt,
    "gemma2_windows": lambda: windows("gemma2"),
    "gemma3_windows": lambda: windows("gemma3_text"),
}
