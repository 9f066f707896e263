"""Rotary tables from the settings of a config: inverse frequencies and the factor on cos and sin.

The formulas are those of transformers 5.12.1, `modeling_rope_utils.py` (`_compute_*_parameters`), in plain Python.
They are used twice: to recognise which settings a measured table comes from, and to compute the real model's table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Radians a position for each pair of dimensions, and the factor on cos and sin."""

    inv_freq: tuple[float, ...]
    attention_factor: float


@dataclass(frozen=True)
class Setting:
    """What a table depends on besides its own dict."""

    dim: int
    """Rotated dimensions."""
    max_position_embeddings: int
    """0 where the config has none."""
    original: int
    """`original_max_position_embeddings` of the config itself, where the dict has none; 0 where there is none."""
    length: int
    """Sequence length, for the types that change with it."""


def table(parameters: Mapping[str, Any], setting: Setting) -> Table | None:
    """The table of one rope dict; None for a type that is not known or a dict that lacks something."""
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    formula = dict(FORMULAS).get(kind)
    if formula is None:
        return None
    try:
        return formula(parameters, setting)
    except (KeyError, TypeError, ZeroDivisionError, ValueError):
        return None


def base_table(theta: float, dim: int) -> tuple[float, ...]:
    """theta ** (-2 i / dim) (RoFormer, arXiv 2104.09864)."""
    return tuple(theta ** (-2 * index / dim) for index in range(dim // 2))


def _default(p: Mapping[str, Any], setting: Setting) -> Table:
    return Table(base_table(p["rope_theta"], setting.dim), 1.0)


def _linear(p: Mapping[str, Any], setting: Setting) -> Table:
    return Table(tuple(f / p["factor"] for f in base_table(p["rope_theta"], setting.dim)), 1.0)


def _dynamic(p: Mapping[str, Any], setting: Setting) -> Table:
    limit = setting.max_position_embeddings
    length = max(setting.length, limit)
    factor, dim = p["factor"], setting.dim
    theta = p["rope_theta"] * ((factor * length / limit) - (factor - 1)) ** (dim / (dim - 2))
    return Table(base_table(theta, dim), 1.0)


def _llama3(p: Mapping[str, Any], setting: Setting) -> Table:
    low, high, factor = p["low_freq_factor"], p["high_freq_factor"], p["factor"]
    original = p.get("original_max_position_embeddings") or setting.original
    found = []
    for frequency in base_table(p["rope_theta"], setting.dim):
        wavelength = 2 * math.pi / frequency
        if wavelength > original / low:
            found.append(frequency / factor)
        elif wavelength < original / high:
            found.append(frequency)
        else:
            smooth = (original / wavelength - low) / (high - low)
            found.append((1 - smooth) * frequency / factor + smooth * frequency)
    return Table(tuple(found), 1.0)


def _yarn(p: Mapping[str, Any], setting: Setting) -> Table:
    original = p.get("original_max_position_embeddings") or setting.original or setting.max_position_embeddings
    factor = p["factor"] or setting.max_position_embeddings / original
    dim, theta = setting.dim, p["rope_theta"]
    beta_fast, beta_slow = p.get("beta_fast") or 32, p.get("beta_slow") or 1

    def corrected(turns: float) -> float:
        return (dim * math.log(original / (turns * 2 * math.pi))) / (2 * math.log(theta))

    low, high = corrected(beta_fast), corrected(beta_slow)
    if p.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    found = []
    for index, frequency in enumerate(base_table(theta, dim)):
        keep = 1 - min(max((index - low) / (high - low), 0.0), 1.0)
        found.append(frequency / factor * (1 - keep) + frequency * keep)
    return Table(tuple(found), _yarn_factor(p, factor))


def _yarn_factor(p: Mapping[str, Any], factor: float) -> float:
    def scale(mscale: float = 1.0) -> float:
        return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0

    if p.get("attention_factor") is not None:
        return float(p["attention_factor"])
    if p.get("mscale") and p.get("mscale_all_dim"):
        return scale(p["mscale"]) / scale(p["mscale_all_dim"])
    return scale()


def _longrope(p: Mapping[str, Any], setting: Setting) -> Table:
    original = p.get("original_max_position_embeddings") or setting.original or setting.max_position_embeddings
    factor = p.get("factor") or setting.max_position_embeddings / original
    attention = p.get("attention_factor")
    if attention is None:
        attention = math.sqrt(1 + math.log(factor) / math.log(original)) if factor and factor > 1 else 1.0
    stretch = p["long_factor"] if setting.length > original else p["short_factor"]
    pairs = zip(base_table(p["rope_theta"], setting.dim), stretch, strict=True)
    return Table(tuple(frequency / one for frequency, one in pairs), float(attention))


FORMULAS: tuple[tuple[str, Callable[[Mapping[str, Any], Setting], Table]], ...] = (
    ("default", _default),
    ("linear", _linear),
    ("dynamic", _dynamic),
    ("llama3", _llama3),
    ("yarn", _yarn),
    ("longrope", _longrope),
)


def agrees(found: Table, frequencies: list[float], factor: float) -> bool:
    """Whether a computed table is the measured one (measured in float32 over a few dozen positions)."""
    if len(found.inv_freq) != len(frequencies):
        return False
    close = all(abs(a - b) <= 2e-7 + 2e-4 * abs(a) for a, b in zip(found.inv_freq, frequencies, strict=True))
    return close and abs(found.attention_factor - factor) <= 1e-5 * max(1.0, factor)
