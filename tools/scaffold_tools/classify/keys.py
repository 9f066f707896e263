"""The table of config keys, and how the keys of one config are read against it.

The table is data (`keyrows/`). A key that is no row is not an error: it is listed with what it may mean, because a
key that the modeling code reads and nobody accounts for is how an integration goes wrong without any weight missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from scaffold_tools.classify.keyrows import decoder, mixers, modalities, support
from scaffold_tools.classify.keyrows.row import Group, KeyRow, Scope
from scaffold_tools.classify.values import as_dict, as_int, clean, short

KEYS: tuple[KeyRow, ...] = (*decoder.ROWS, *mixers.ROWS, *modalities.ROWS, *support.ROWS)

ROPE_CONTAINERS = frozenset({"rope_parameters", "rope_scaling"})
QUANTISATION_CONTAINERS = frozenset({"quantization_config", "compression_config", "quantization", "quant_config"})
OPAQUE = frozenset({"auto_map", "id2label", "label2id", "task_specific_params", "vocabulary_map", "pruned_heads"})
"""Objects whose own keys are names or labels of the user, not settings."""
_LAYER_TYPE = re.compile(r"(\w+_)?(attention|full|sliding|global|local|linear|main|compress)\w*")
_MAX_DEPTH = 12
_MAX_SPELLING = 80  # longer names are nobody's; regular expressions never see them


class PatternRow(NamedTuple):
    """A spelling that tells the meaning by itself."""

    pattern: str
    row: KeyRow


# Names that follow a rule which no configuration class breaks; the rest must be spelled out in the table.
PATTERNS: tuple[PatternRow, ...] = (
    PatternRow(r"\w+_token_(id|index|ids)", KeyRow("*_token_id", "tokens", "a special token", False)),
    PatternRow(r"\w*(dropout|layerdrop|drop_path)\w*", KeyRow("*dropout*", "training-only", "dropout", False)),
    PatternRow(r"\w*_loss(_\w*)?(coef|coefficient|weight|factor)", KeyRow("*loss*", "training-only", "loss", False)),
    PatternRow(r"(\w+_)?initializer_\w+", KeyRow("*initializer*", "training-only", "spread of fresh weights", False)),
)


@dataclass(frozen=True)
class KnownKey:
    """A key of this config that the table has."""

    path: str
    """Dotted path from the top of config.json."""
    name: str
    """The row's main spelling."""
    group: Group
    meaning: str
    affects_logits: bool
    value: str


@dataclass(frozen=True)
class UnknownKey:
    """A key of this config that nobody recognises."""

    path: str
    value: str
    may_mean: str


def lookup(key: str, scope: Scope = "model") -> KeyRow | None:
    """The row for one spelling (the last part of a dotted path), or None."""
    row = _index().get((scope, key))
    if row is None and scope == "model" and len(key) <= _MAX_SPELLING:
        row = next((entry.row for entry in PATTERNS if re.fullmatch(entry.pattern, key)), None)
    return row


def find(config: dict[str, Any], name: str) -> tuple[str, Any] | None:
    """The first spelling of row `name` that `config` gives a value other than null, with the value; None when none."""
    row = lookup(name)
    for spelling in (name,) if row is None else (row.name, *row.aliases):
        if config.get(spelling) is not None:
            return spelling, config[spelling]
    return None


def read_keys(
    config: dict[str, Any], layers: int | None = None
) -> tuple[tuple[KnownKey, ...], tuple[UnknownKey, ...]]:
    """All keys of a raw config, nested ones by dotted path: those that the table has, and those that it has not.

    `layers` is the depth of the model, which makes per-layer lists recognisable in the hints.
    """
    known: list[KnownKey] = []
    unknown: list[UnknownKey] = []
    for path, key, value, scope in walk(config):
        row = lookup(key, scope)
        place = clean(path, 200)
        if row is None:
            unknown.append(UnknownKey(place, short(value), may_mean(key, value, layers)))
        else:
            known.append(KnownKey(place, row.name, row.group, row.meaning, row.affects_logits, short(value)))
    return tuple(known), tuple(unknown)


def walk(config: dict[str, Any]) -> Iterator[tuple[str, str, Any, Scope]]:
    """Every `(dotted path, key, value, scope)`; objects that hold settings are entered, after their own entry."""
    pending: list[tuple[str, dict[str, Any], Scope, int]] = [("", config, "model", 0)]
    while pending:
        prefix, mapping, scope, depth = pending.pop(0)
        for key, value in mapping.items():
            path = f"{prefix}{key}"
            inner = _inner_scope(key, value, scope)
            if not (scope == "rope" and inner == "rope") and not _is_group_label(key, value, scope):
                yield path, key, value, scope
            if inner is not None and depth < _MAX_DEPTH:
                pending.append((f"{path}.", value, inner, depth + 1))


def _inner_scope(key: str, value: Any, scope: Scope) -> Scope | None:
    """The scope of the keys inside this value, or None when it is not entered."""
    if not isinstance(value, dict) or key in OPAQUE:
        return None
    if scope == "quantisation" or key in QUANTISATION_CONTAINERS:
        return "quantisation"
    if key in ROPE_CONTAINERS or (scope == "rope" and _is_layer_type(key)):
        return "rope"
    return "model" if key.endswith("config") or lookup(key) is not None else None


def _is_layer_type(key: str) -> bool:
    return len(key) <= _MAX_SPELLING and _LAYER_TYPE.fullmatch(key) is not None


def _is_group_label(key: str, value: Any, scope: Scope) -> bool:
    """Names that a quantiser gives to its groups (`group_0`) or modules: labels of objects, not settings."""
    return scope == "quantisation" and isinstance(value, dict) and lookup(key, scope) is None


@cache
def _index() -> dict[tuple[Scope, str], KeyRow]:
    return {(row.scope, spelling): row for row in KEYS for spelling in (row.name, *row.aliases)}


class HintRow(NamedTuple):
    """What an unknown key may mean, from the form of its name and value."""

    applies: Callable[[str, Any, int | None], bool]
    hint: str


def _per_layer(value: Any, layers: int | None) -> bool:
    return isinstance(value, (list, str)) and layers is not None and layers > 1 and len(value) == layers


_READ = "if the code reads it, logits depend on it"
HINTS: tuple[HintRow, ...] = (
    HintRow(lambda key, value, layers: value is None, "null: most likely a feature that this model leaves off"),
    HintRow(
        lambda key, value, layers: value is False or value in ([], {}, ""),
        "off or empty: most likely a feature that this model does not use",
    ),
    HintRow(
        lambda key, value, layers: value is True,
        f"a switch that is on: possibly another code path; {_READ}",
    ),
    HintRow(
        lambda key, value, layers: _per_layer(value, layers),
        f"one entry a layer: a per-layer pattern; {_READ}",
    ),
    HintRow(
        lambda key, value, layers: as_dict(value) is not None and key.endswith("config"),
        f"a sub-config: possibly another tower or module; {_READ}",
    ),
    HintRow(lambda key, value, layers: isinstance(value, (dict, list)), f"a structured setting; {_READ}"),
    HintRow(
        lambda key, value, layers: isinstance(value, float) and 0 < value < 1e-3,
        f"a very small float: possibly an epsilon; {_READ}",
    ),
    HintRow(
        lambda key, value, layers: isinstance(value, float),
        f"a float: possibly a multiplier, a cap or a rate; {_READ}",
    ),
    HintRow(
        lambda key, value, layers: as_int(value) is not None,
        "a whole number: possibly a size, a count or an index; sizes show in tensor shapes, the rest does not",
    ),
    HintRow(lambda key, value, layers: isinstance(value, str), f"a name: possibly selects a variant; {_READ}"),
)


def may_mean(key: str, value: Any, layers: int | None = None) -> str:
    """What a key that is not in the table may mean: the first row of `HINTS` that applies."""
    return next((row.hint for row in HINTS if row.applies(key, value, layers)), f"unknown; {_READ}")
