"""How positions enter, as attributes of the provider: numbered, rotated by one table, or not at all in some layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint, Chosen, Const, PerLayer, Product, Term
from scaffold_tools.render.literals import python_literal as literal
from scaffold_tools.targets.megatron_bridge.emission import config_path, label_flags, scalar, value_flags
from scaffold_tools.targets.megatron_bridge.rows import (
    Row,
    Setting,
    View,
    always,
    constant,
    derives,
    is_value,
    sets_attribute,
)


def _rope_sets(view: View) -> list[dict[str, Any]]:
    return list(view.value or [])


def _one_rope(*types: str) -> Callable[[View], bool]:
    """One rotary table for all layers, of one of the types."""

    def holds(view: View) -> bool:
        sets = _rope_sets(view)
        return len(sets) == 1 and sets[0].get("type") in types and not _nope_layers(view)

    return holds


def _nope_layers(view: View) -> list[int]:
    covered = {layer for row in _rope_sets(view) for layer in row.get("layers") or ()}
    return sorted(set(range(view.other("num_layers", 0))) - covered) if covered else []


def _llama3_is_the_hard_coded_one(view: View) -> bool:
    """megatron-core's `_apply_scaling` has low 1, high 4 and original length 8192 written into it."""
    if not _one_rope("llama3")(view):
        return False
    parameters = _rope_sets(view)[0].get("parameters") or {}
    return (
        parameters.get("low_freq_factor") == 1
        and parameters.get("high_freq_factor") == 4
        and parameters.get("original_max_position_embeddings") == 8192
    )


def _rope_key(view: View) -> str:
    return str(_rope_sets(view)[0].get("config_key") or "rope_parameters")


def _rope_setting(view: View, attribute: str, parameter: str) -> Setting:
    expression = Product((Term(f"{_rope_key(view)}.{parameter}"),))
    return Setting(attribute, scalar(expression), expression=expression)


def _theta(view: View) -> tuple[Setting, ...]:
    """Nothing for the usual home of theta, which the base bridge knows; an assignment for any other."""
    table = _rope_sets(view)[0]
    if not table.get("config_key") and table.get("theta_key") != "rope_theta":
        own = table.get("theta_key")
        expression = Product((Term(own),)) if own else Const(table.get("theta"))
        return (Setting("rotary_base", scalar(expression), expression=expression),)
    if _rope_key(view) in ("rope_parameters", "rope_scaling"):
        return ()
    return (_rope_setting(view, "rotary_base", "rope_theta"),)


def _linear_rope(view: View) -> tuple[Setting, ...]:
    own = _rope_sets(view)[0].get("factor_key")
    if own:
        expression = Product((Term(own),))
        return (*_theta(view), Setting("seq_len_interpolation_factor", scalar(expression), expression=expression))
    return (*_theta(view), _rope_setting(view, "seq_len_interpolation_factor", "factor"))


def _llama3_rope(view: View) -> tuple[Setting, ...]:
    on = Setting("rope_scaling", "True")
    return (*_theta(view), on, _rope_setting(view, "rope_scaling_factor", "factor"))


def per_layer_flags(blueprint: Blueprint, layers: Sequence[int], num_layers: int) -> str | None:
    """Code that gives 1 in exactly `layers`, from a per-layer list of the config; None where no list says it."""
    chosen = set(layers)
    for use in blueprint.keys:
        if not isinstance(use.value, list) or len(use.value) != num_layers:
            continue
        inside = {repr(item) for index, item in enumerate(use.value) if index in chosen}
        outside = {repr(item) for index, item in enumerate(use.value) if index not in chosen}
        if not inside or inside & outside:
            continue
        labels = sorted({item for item in use.value if repr(item) in inside}, key=repr)
        if all(isinstance(item, str) for item in labels):
            return label_flags(PerLayer(use.key, ()), labels)
        if len(labels) == 1 and isinstance(labels[0], int | bool):
            return f"[int(flag == {literal(labels[0])}) for flag in {config_path(use.key)}]"
    return None


def nope_code(view: View) -> str | None:
    """Code that gives 1 for each layer without rotary embedding; None where nothing in the config says which."""
    if isinstance(view.expression, Chosen):
        return value_flags(view.expression, Const(None))
    return per_layer_flags(view.blueprint, _nope_layers(view), view.other("num_layers", 0))


def one_rope_and_nope(view: View) -> bool:
    """One table that needs no class of its own, and layers without any."""
    sets = _rope_sets(view)
    plain = len(sets) == 1 and sets[0].get("type") in ("default", "linear")
    return plain and bool(_nope_layers(view)) and nope_code(view) is not None


def _nope(view: View) -> tuple[Setting, ...]:
    linear = _rope_sets(view)[0].get("type") == "linear"
    tables = _linear_rope(view) if linear else _theta(view)
    return (*tables, Setting("no_rope_freq", nope_code(view) or "", "1: the layer has no rotary embedding"))


ROWS: tuple[Row, ...] = (
    Row("position.kind", is_value("rope"), derived="the base bridge chooses rotary embeddings"),
    Row(
        "position.kind",
        is_value("learned"),
        settings=constant("position_embedding_type", "learned_absolute"),
    ),
    Row("position.kind", is_value("none"), settings=constant("position_embedding_type", "none")),
    Row("position.offset", is_value(0), derived="megatron-core numbers positions from 0"),
    Row("rope.reversed", is_value(False), derived="angles grow with the position"),
    Row("rope.pairing", is_value("half", None), derived="halves rotate together in megatron-core"),
    Row(
        "rope.pairing",
        is_value("interleaved"),
        settings=constant("rotary_interleaved", True, "dimensions 2i and 2i+1 rotate together"),
    ),
    Row("rope.dim", always, derived="rope.fraction speaks for it"),
    Row(
        "rope.fraction",
        lambda view: (
            view.value in (None, 1, 1.0)
            and not isinstance(view.fact.expression, Product)
            and not any(
                use.key.endswith("partial_rotary_factor") and use.value not in (None, 1) for use in view.blueprint.keys
            )
        ),
        derived="whole heads rotate by default",
    ),
    Row("rope.fraction", derives("rotary_percent"), derived="CONFIG_MAPPING gives rotary_percent"),
    Row("rope.fraction", always, settings=sets_attribute("rotary_percent")),
    Row("rope.sets", lambda view: not _rope_sets(view), derived="no rotary embedding"),
    Row("rope.sets", _one_rope("default"), settings=_theta),
    Row("rope.sets", _one_rope("linear"), settings=_linear_rope),
    Row("rope.sets", _llama3_is_the_hard_coded_one, settings=_llama3_rope),
    Row("rope.sets", _one_rope("yarn"), derived="YARN_ROPE_SCALING_MAPPING of the base bridge"),
    Row("rope.sets", one_rope_and_nope, settings=_nope),
)
"""Rows of `position.*` and `rope.*`."""
