"""Which field of mcore_adapter's config class expresses which fact.

`McaModelConfig` is megatron-core's `TransformerConfig` with a few fields more, so what a fact means there is decided
by the rows that are shared with Megatron-Bridge, under a profile from which nothing is derived: a ROLL template has no
base class that reads key names. What the adapter calls, fixes or ignores in its own way comes first, as its own rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint, Const, Expression, Fact, Gap, Product, Term
from scaffold_tools.blueprint.vocabulary import FACT_NAMES
from scaffold_tools.targets.megatron_bridge.emission import config_path, plain_key, scalar, whole
from scaffold_tools.targets.megatron_bridge.position_rules import nope_code, one_rope_and_nope
from scaffold_tools.targets.megatron_bridge.profile import Profile
from scaffold_tools.targets.megatron_bridge.rows import (
    WHOLE,
    Row,
    Setting,
    Settlement,
    View,
    always,
    constant,
    decide,
    is_value,
)
from scaffold_tools.targets.megatron_bridge.rules import FUNCTIONS
from scaffold_tools.targets.megatron_bridge.rules import ROWS as SHARED_ROWS
from scaffold_tools.targets.roll.profile import RollProfile

NOTHING_DERIVED = Profile(
    layout="package",
    source="",
    construction="provider",
    provider_fields=frozenset(),
    config_mapping=(),
    activations=(),
    mapping_classes=frozenset(),
    registrations=(),
    families=(),
)
"""A profile under which every shared row states what it knows."""

FIELDS: dict[str, str] = {
    "seq_length": "max_sequence_length",
    "vocab_size": "padded_vocab_size",
    "share_embeddings_and_output_weights": "tie_embeddings_and_output_weights",
    "gated_linear_unit": "swiglu",
}
"""Attribute of the shared rows -> field of McaModelConfig."""

BEFORE: dict[str, str] = {"moe_shared_expert_gate": "moe_use_shared_expert_gate"}
"""Field that megatron-core reads -> what the adapter called it before megatron-core had it."""

DROPPED: dict[str, str] = {
    "rope_scaling": "off by default; a scaled table is the model's own",
    "seq_len_interpolation_factor": "the adapter does not pass it on; a table that needs it is the model's own",
    "yarn_rotary_scaling_factor": "megatron-core takes the mere presence of the attribute for YaRN",
    "moe_grouped_gemm": "a training argument",
    "moe_token_dispatcher_type": "a training argument",
    "moe_permute_fusion": "a training argument",
}
"""Attributes of the shared rows that no template sets, and why."""

SPEC = "transformer_layer_spec"
"""No field: the model class builds its layers with it."""

INTERPOLATION = "rope_interpolation_factor"
"""Field of the model's own config class: the factor by which positions are divided."""

YARN_FIELDS: tuple[tuple[str, str], ...] = (
    ("factor", "rotary_scaling_factor"),
    ("original_max_position_embeddings", "original_max_position_embeddings"),
    ("beta_fast", "beta_fast"),
    ("beta_slow", "beta_slow"),
    ("mscale", "mscale"),
    ("mscale_all_dim", "mscale_all_dim"),
)
"""(key of the rope dict, field of MLATransformerConfig)."""

LATENT_SIZES: tuple[tuple[str, str], ...] = (
    ("mla.q_rank", "q_lora_rank"),
    ("mla.kv_rank", "kv_lora_rank"),
    ("mla.nope_dim", "qk_head_dim"),
    ("mla.rope_dim", "qk_pos_emb_head_dim"),
    ("mla.value_dim", "v_head_dim"),
)
"""(fact, field of MLATransformerConfig)."""

USUAL_HOMES = (None, "rope_parameters", "rope_scaling")
"""Keys of a rope dict that the adapter's own `rope_parameters` stands for."""


def assign(field: str, expression: Expression, comment: str = "") -> Setting:
    """A field from an expression; a plain key becomes a row of `config_hf_to_mca`, good both ways."""
    assert isinstance(expression, Const | Product), field
    key = plain_key(expression)
    row = key if key is not None and "." not in key else None
    code = whole(expression) if field in WHOLE else scalar(expression)
    return Setting(field, code, comment, config_key=row, expression=expression)


def _tables(view: View) -> list[dict[str, Any]]:
    return list(view.value or [])


def _rope_key(table: dict[str, Any]) -> str:
    return str(table.get("config_key") or "rope_parameters")


def usual_base() -> tuple[Setting, ...]:
    """The base where it usually is: a key of its own, and in the rope dict that transformers 5 has."""
    return (
        Setting("rotary_base", "hf_config.rope_theta", config_key="rope_theta"),
        Setting("rope_parameters", "hf_config.rope_parameters", config_key="rope_parameters"),
    )


def base_settings(table: dict[str, Any]) -> tuple[Setting, ...]:
    """`rotary_base`, from wherever this config has it."""
    if table.get("config_key") not in USUAL_HOMES:
        return (Setting("rotary_base", f'{config_path(_rope_key(table))}["rope_theta"]'),)
    own = table.get("theta_key")
    if table.get("config_key") is not None or own == "rope_theta":
        return usual_base()
    return (assign("rotary_base", Product((Term(own),)) if own else Const(table.get("theta"))),)


def _base(view: View) -> tuple[Setting, ...]:
    return base_settings(_tables(view)[0])


def _linear(view: View) -> tuple[Setting, ...]:
    table = _tables(view)[0]
    factor = Product((Term(table.get("factor_key") or f"{_rope_key(table)}.factor"),))
    return (*_base(view), assign(INTERPOLATION, factor, "positions are divided by it"))


def _one(*types: str) -> Callable[[View], bool]:
    """One rotary table, of one of the types, for every layer."""

    def holds(view: View) -> bool:
        tables = _tables(view)
        covered = {layer for table in tables for layer in table.get("layers") or ()}
        everywhere = not covered or covered >= set(range(view.other("num_layers", 0)))
        return len(tables) == 1 and everywhere and tables[0].get("type", "default") in types

    return holds


def _nope(view: View) -> tuple[Setting, ...]:
    tables = _linear(view) if _tables(view)[0].get("type") == "linear" else _base(view)
    return (*tables, Setting("no_rope_freq", nope_code(view) or "", "1: the layer has no rotary embedding"))


def _curve(view: View) -> tuple[Setting, ...]:
    module, name = FUNCTIONS[view.value]
    return (Setting("activation_func", name, imports=((module, name),)),)


ROWS: tuple[Row, ...] = (
    Row("position.kind", is_value("rope"), settings=constant("position_embedding_type", "rope")),
    Row("rope.sets", lambda view: not _tables(view), derived="no rotary embedding"),
    Row("rope.sets", _one("default"), settings=_base),
    Row("rope.sets", _one("linear"), settings=_linear),
    Row("rope.sets", one_rope_and_nope, settings=_nope),
    Row("rope.fraction", lambda view: view.value in (None, 1, 1.0), settings=constant("rotary_percent", 1.0)),
    Row(
        "mlp.activation",
        lambda view: view.value == "silu" and view.other("mlp.gated") is True,
        derived="swiglu is a gate with silu",
    ),
    Row(
        "mlp.activation",
        lambda view: view.value == "relu2" and view.other("mlp.gated") is False,
        settings=constant("squared_relu", True),
    ),
    Row("mlp.activation", lambda view: view.value in FUNCTIONS, settings=_curve),
    # It also tells the adapter that linear_fc1 has two halves, whatever the curve.
    Row("mlp.gated", is_value(True), settings=constant("swiglu", True)),
    Row("mlp.gated", is_value(False), derived="swiglu is off by default"),
    Row("qk_norm.kind", is_value("none"), settings=constant("qk_layernorm", False)),
    Row("moe.score", is_value("softmax"), settings=constant("moe_router_score_function", "softmax")),
)
"""Rows of the adapter's own; they are asked before the shared ones."""

TRAINING: tuple[tuple[str, str], ...] = (
    ("attention_dropout", "attention_dropout"),
    ("router_aux_loss_coef", "moe_aux_loss_coeff"),
)
"""(config key, field): nothing that logits depend on, carried over where the config has it."""


def settle(blueprint: Blueprint, profile: RollProfile, covered: frozenset[str]) -> Settlement:
    """Decide every fact that no block covers; `covered` are the facts of blocks."""
    settings: list[Setting] = []
    derived: dict[str, str] = {}
    gaps: list[Gap] = []
    for fact in blueprint.facts:
        found = decide((*ROWS, *SHARED_ROWS), View(fact, blueprint, NOTHING_DERIVED), covered)
        if found is None:
            gaps.append(_gap(fact))
        elif isinstance(found, str):
            derived[fact.name] = found
        else:
            settings.extend(found)
    return Settlement(tuple(settings), derived, tuple(gaps))


def latent_settings(blueprint: Blueprint) -> tuple[Setting, ...]:
    """Sizes and rotary table of latent attention, which no base class reads from keys here."""
    if blueprint.value("mla.kv_rank") is None:
        return ()
    rows = []
    for name, field in LATENT_SIZES:
        fact = blueprint.fact(name)
        if fact is not None:
            expression = fact.expression if isinstance(fact.expression, Product) else Const(fact.value)
            rows.append(assign(field, expression))
    tables = list(blueprint.value("rope.sets") or [])
    if len(tables) != 1:
        return tuple(rows)
    table = tables[0]
    rows.extend(base_settings(table))
    if table.get("type") == "default":
        # A block would ask the config, since sizes with YaRN are read from it there; here no base class reads them.
        rows.append(Setting("rope_type", '"rope"'))
    if table.get("type") == "yarn":
        rows.append(Setting("rope_type", '"yarn"'))
        parameters, home = table.get("parameters") or {}, config_path(_rope_key(table))
        rows.extend(Setting(field, f'{home}["{key}"]') for key, field in YARN_FIELDS if key in parameters)
        if "original_max_position_embeddings" not in parameters:
            rows.append(Setting("original_max_position_embeddings", "hf_config.max_position_embeddings"))
    return tuple(rows)


ATTENTION_SIZES: tuple[tuple[str, str, str], ...] = (
    ("num_attention_heads", "num_attention_heads", "num_attention_heads"),
    ("num_query_groups", "num_key_value_heads", "num_query_groups"),
)
"""(fact, config key, field)."""


def unused_sizes(blueprint: Blueprint) -> tuple[Setting, ...]:
    """Sizes of attention that no layer has, and that `TransformerConfig` divides by all the same."""
    keys = {use.key: use.value for use in blueprint.keys}
    rows = [(key, field) for fact, key, field in ATTENTION_SIZES if blueprint.fact(fact) is None and keys.get(key)]
    return tuple(Setting(field, f"hf_config.{key}", config_key=key) for key, field in rows)


def training_settings(blueprint: Blueprint) -> tuple[Setting, ...]:
    """What has no effect on logits: dropout is off unless the config has it."""
    keys = {use.key for use in blueprint.keys}
    rows = [Setting("hidden_dropout", "0.0")]
    rows += [Setting(field, f"hf_config.{key}", config_key=key) for key, field in TRAINING if key in keys]
    if "attention_dropout" not in keys:
        rows.append(Setting("attention_dropout", "0.0"))
    return tuple(rows)


def for_adapter(
    rows: tuple[Setting, ...], fields: frozenset[str], own: frozenset[str]
) -> tuple[list[Setting], list[Gap]]:
    """Settings under the adapter's names, the last of each field; and gaps for fields that it does not have.

    Args:
        rows: settings of shared and own rows and of blocks.
        fields: fields of the config class that the model inherits from.
        own: fields that the model's config class adds.
    """
    found: dict[str, Setting] = {}
    gaps: list[Gap] = []
    for row in rows:
        if row.attribute in DROPPED:
            continue
        name = FIELDS.get(row.attribute, row.attribute)
        if name not in fields and BEFORE.get(name) in fields:
            name = BEFORE[name]
        if name not in fields and name not in own and name != SPEC:
            gaps.append(
                Gap(
                    name,
                    f"the config class of this mcore_adapter has no field {name}",
                    write_what="a megatron-core in which TransformerConfig has it, or a block in the model's package",
                    check="scaffold verify: every constant is a field of the config class",
                )
            )
            continue
        found[name] = replace(row, attribute=name)
    return list(found.values()), gaps


def _gap(fact: Fact) -> Gap:
    return Gap(
        subject=fact.name,
        reason=f"no field of McaModelConfig expresses {fact.name} = {str(fact.value)[:80]}",
        write_what="a row in the rules or a block in the model's package"
        if fact.name in FACT_NAMES
        else "a row of the vocabulary first",
        check="scaffold verify: logits",
    )


__all__ = ["ROWS", "always", "for_adapter", "latent_settings", "settle", "training_settings"]
