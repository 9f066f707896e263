"""Multi-head latent attention: megatron-core's own, with the norms, the query projection and the layers of the model.

Stock megatron-core gives the latent norms the epsilon of the layer norms, and puts a norm in front of a query
projection that has no latent.
"""

from __future__ import annotations

from typing import Any

from scaffold_tools.blueprint.facts import Blueprint, Const, Gap, Product, Term
from scaffold_tools.targets.megatron_bridge.blocks.facts import expression, has, key, same
from scaffold_tools.targets.megatron_bridge.blocks.model import (
    BlockRow,
    Naming,
    Part,
    ProviderField,
    ProviderSetting,
)
from scaffold_tools.targets.megatron_bridge.blocks.selection import selects
from scaffold_tools.targets.megatron_bridge.emission import config_path, plain_key

_ATTENTION = "decoder.layers.*.self_attention."
_PARITY = "scaffold verify: logits.max_abs"

SIZES: tuple[tuple[str, str, str], ...] = (
    ("mla.q_rank", "q_lora_rank", "q_lora_rank"),
    ("mla.kv_rank", "kv_lora_rank", "kv_lora_rank"),
    ("mla.nope_dim", "qk_head_dim", "qk_nope_head_dim"),
    ("mla.rope_dim", "qk_pos_emb_head_dim", "qk_rope_head_dim"),
    ("mla.value_dim", "v_head_dim", "v_head_dim"),
)
"""(fact, provider attribute, the config key from which the base bridge derives it)."""

SCALED_TYPES = frozenset({"linear", "dynamic", "yarn", "longrope", "llama3"})
"""Types whose formulas transformers has (`modeling_rope_utils.ROPE_INIT_FUNCTIONS`)."""

YARN_KEYS = frozenset(
    {
        *("rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings"),
        *("beta_fast", "beta_slow", "mscale", "mscale_all_dim"),
    }
)
"""What MLA_ROPE_SCALING_MAPPING of the base bridge carries over."""


def is_latent(blueprint: Blueprint) -> bool:
    """Whether attention is latent."""
    return blueprint.value("mla.kv_rank") is not None


def _rope_types(blueprint: Blueprint) -> set[str]:
    return {str(one.get("type")) for one in blueprint.value("rope.sets") or []}


def _is_stock(one: dict[str, Any]) -> bool:
    """Whether megatron-core's latent attention makes this table by itself."""
    parameters = set(one.get("parameters") or {})
    return one.get("type") == "default" or (one.get("type") == "yarn" and parameters <= YARN_KEYS)


def own_table(blueprint: Blueprint) -> bool:
    """Whether the one rotary table is scaled as only the Hugging Face formulas do it."""
    sets = list(blueprint.value("rope.sets") or [])
    if len(sets) != 1 or _is_stock(sets[0]):
        return False
    partial = "partial_rotary_factor" in (sets[0].get("parameters") or {})
    return sets[0].get("type") in SCALED_TYPES and bool(sets[0].get("config_key")) and not partial


def _table_fields(blueprint: Blueprint) -> tuple[ProviderField, ...]:
    (table,) = blueprint.value("rope.sets")
    why = "Rotary parameters as in the Hugging Face config."
    return (
        ProviderField("rope_parameters", "dict[str, Any] | None", "None", key(str(table["config_key"])), comment=why),
        ProviderField(
            "max_position_embeddings",
            "int | None",
            "None",
            key("max_position_embeddings"),
            comment="Longest position that the rotary formula is anchored to; not the training sequence length.",
        ),
    )


def _settings(blueprint: Blueprint) -> tuple[ProviderSetting, ...]:
    rows = [ProviderSetting("multi_latent_attention", True)]
    rows += [ProviderSetting("qk_layernorm", True, comment="The norms on the latents.")]
    for fact, attribute, derived_from in SIZES:
        if plain_key(expression(blueprint, fact)) != derived_from:
            value = blueprint.value(fact)
            rows.append(ProviderSetting(attribute, value, expression(blueprint, fact) or Const(value)))
    if _rope_types(blueprint) == {"default"}:
        rows.append(_unscaled(blueprint))
    theta = next((one.get("theta_key") for one in blueprint.value("rope.sets") or []), None)
    if theta not in (None, "rope_theta"):
        rows.append(ProviderSetting("rotary_base", None, Product((Term(str(theta)),))))
    if own_table(blueprint):
        rows.append(ProviderSetting("rope_type", "yarn", comment="Angles and a factor; the modeling module has both."))
    if any(use.key.endswith("partial_rotary_factor") for use in blueprint.keys):
        rows.append(ProviderSetting("rotary_percent", 1.0, comment="All of qk_pos_emb_head_dim rotates."))
    return tuple(rows)


def _unscaled(blueprint: Blueprint) -> ProviderSetting:
    """A plain table where the config has one; other sizes of a type have YaRN, with numbers that the base reads."""
    home = next((one.get("config_key") for one in blueprint.value("rope.sets") or []), None)
    if not home:
        return ProviderSetting("rope_type", "rope", comment="Without YaRN, which is the default of MLA.")
    code = f'"yarn" if {config_path(f"{home}.rope_type")} == "yarn" else "rope"'
    return ProviderSetting("rope_type", code=code, comment="YaRN is the default of MLA.")


def _gaps(blueprint: Blueprint) -> tuple[Gap, ...]:
    """What megatron-core's latent attention does not do."""
    sets = list(blueprint.value("rope.sets") or [])
    stock = (len(sets) == 1 and _is_stock(sets[0])) or own_table(blueprint)
    bare = not same(blueprint, "mla.norm.kind", "norm.kind") or not same(
        blueprint, "mla.norm.zero_centered", "norm.zero_centered"
    )
    yarn = any((one.get("parameters") or {}).get("mscale_all_dim") for one in sets if one.get("type") == "yarn")
    rows = (
        (
            bool(sets) and not stock,
            "rope.sets",
            "latent attention has one rotary table for all layers, scaled by a known formula",
            "a rotary embedding in the attention of the modeling module",
        ),
        (
            not sets,
            "rope.sets",
            "megatron-core's latent attention rotates part of every query and key; here nothing rotates",
            "an attention without rotation in the modeling module",
        ),
        (
            blueprint.value("rope.dim") not in (None, blueprint.value("mla.rope_dim")),
            "rope.dim",
            "a part of the positional dimensions does not rotate",
            "a rotary embedding of that width in the attention of the modeling module",
        ),
        (
            bool(blueprint.value("bias.qkv")),
            "bias.qkv",
            "projections from the latents have no bias in megatron-core (multi_latent_attention.py: bias=False)",
            "projections with biases in the attention of the modeling module",
        ),
        (
            yarn and blueprint.value("mla.score_mscale") is False,
            "attention.scale",
            "megatron-core multiplies scores by mscale**2 wherever YaRN has mscale_all_dim; this code does not",
            "a softmax scale in the attention of the modeling module",
        ),
        (
            blueprint.value("attention.selection") is True and not selects(blueprint),
            "attention.selection",
            "keys are chosen by data in another way than megatron-core's sparse attention does (dsa.py: DSAIndexer)",
            "an indexer in the modeling module",
        ),
        (
            bare,
            "mla.norm.kind",
            "the norms on the latents are another kind than the layer norms",
            "latent norms of that kind in the modeling module",
        ),
        (
            not has(blueprint, "mla.kv_a_norm"),
            "mla.kv_a_norm",
            "keys and values come from a latent without a norm, which megatron-core builds with qk_layernorm alone",
            "a layer spec without latent norms",
        ),
    )
    return tuple(
        Gap(subject, reason, write_what=what, check=_PARITY) for holds, subject, reason, what in rows if holds
    )


def _part(blueprint: Blueprint, naming: Naming) -> Part:
    features = ["latent_attention"]
    fields: tuple[ProviderField, ...] = ()
    own_eps = not same(blueprint, "mla.norm.eps", "norm.eps")
    names = {
        "norm.pre_attn": "decoder.layers.*.input_layernorm",
        "attn.q": _ATTENTION + "linear_q_proj",
        "mla.q_a": _ATTENTION + "linear_q_down_proj",
        "mla.q_b": _ATTENTION + "linear_q_up_proj",
        "mla.q_a_norm": _ATTENTION + "linear_q_up_proj.layer_norm_{param}",
        "mla.kv_a": _ATTENTION + "linear_kv_down_proj",
        "mla.kv_b": _ATTENTION + "linear_kv_up_proj",
        "mla.kv_a_norm": _ATTENTION + "linear_kv_up_proj.layer_norm_{param}",
    }
    if own_eps or selects(blueprint):  # a choice of keys starts from the normalised latent
        names |= {"mla.q_a_norm": _ATTENTION + "q_layernorm", "mla.kv_a_norm": _ATTENTION + "kv_layernorm"}
    if own_eps:
        features.append("latent_norm")
        fields = (
            ProviderField(
                "latent_layernorm_epsilon",
                "float",
                "1e-6",
                expression(blueprint, "mla.norm.eps"),
                blueprint.value("mla.norm.eps"),
                "Epsilon of the norms on the latents.",
            ),
        )
    if blueprint.value("mla.q_rank") is None:
        features.append("latent_plain_query")
    if own_table(blueprint):
        features.append("latent_rope")
        fields += _table_fields(blueprint)
    if blueprint.value("mla.down_bias"):
        features.append("latent_bias")
        fields += (
            ProviderField(
                "add_latent_bias",
                "bool",
                "False",
                expression(blueprint, "mla.down_bias"),
                True,
                "Biases of the projections to the latents; megatron-core has none.",
            ),
        )
    return Part(
        features=tuple(features),
        fields=fields,
        settings=_settings(blueprint),
        names=tuple(names.items()),
        gaps=_gaps(blueprint),
        values=(("provider_base", "megatron.bridge.models.mla_provider.MLAModelProvider"),),
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "latent attention",
        "megatron-core's latent attention is chosen by the layer spec, and its norms have the layer norms' epsilon",
        (
            *(fact for fact, _, _ in SIZES),
            *("mla.norm.kind", "mla.norm.zero_centered", "mla.norm.eps", "mla.score_mscale", "mla.down_bias"),
            *("head_dim", "attention.scale", "rope.pairing", "rope.dim", "rope.fraction", "rope.sets", "bias.qkv"),
            "attention.selection",
        ),
        is_latent,
        _part,
    ),
)
