"""The toy whose sizes coincide: matrices are square wherever the architecture lets them be.

Toys `a` and `b` have no two sizes alike, so a matrix that is taken the wrong way round has the wrong shape. Code that
finds out from the shape which way round a matrix is (or transposes what it should not, where that goes unnoticed)
passes both of them, and fails on a checkpoint whose sizes happen to be equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from toys.rows import HEAD_KEYS, LANGUAGE_CONFIGS, USUAL_SIZES, WHOLES, is_int, size_row
from toys.toy import complete, runs
from toys.toy_config import shrink_config

VARIANT = "square"
SIZES_OF = "a"
"""The toy that it is made of."""
HEAD_IS_QUOTIENT = tuple(sizes for sizes in USUAL_SIZES if sizes.head_dim_is_quotient)


@dataclass(frozen=True)
class Square:
    """Keys that get a size of the others'."""

    keys: tuple[str, ...]
    value: Callable[[int, int, dict[str, Any]], int | None]
    """(hidden size, heads, the toy's config) -> size; None where it does not come out even."""
    why: str


def _row(key: str) -> tuple[str, ...]:
    row = size_row(key, False)
    assert row is not None
    return row.keys


SQUARES: tuple[Square, ...] = (
    Square(_row("intermediate_size"), lambda hidden, heads, toy: hidden, "matrices of the MLP"),
    Square(_row("intermediate_size_mlp"), lambda hidden, heads, toy: hidden, "dense layers beside experts"),
    Square(_row("moe_intermediate_size"), lambda hidden, heads, toy: hidden, "matrices of an expert"),
    Square(_row("shared_expert_intermediate_size"), lambda hidden, heads, toy: hidden, "the shared expert"),
    Square(_row("lru_width"), lambda hidden, heads, toy: hidden, "projections of a linear recurrence"),
    Square(("q_lora_rank",), lambda hidden, heads, toy: hidden, "the projection onto the queries' latent"),
    Square(("v_head_dim",), lambda hidden, heads, toy: _share(hidden, heads), "the output projection of MLA"),
    Square(
        ("qk_nope_head_dim",),
        lambda hidden, heads, toy: _rest(_share(hidden, heads), toy.get("qk_rope_head_dim")),
        "the projection from the latent to queries",
    ),
    Square(
        ("qk_head_dim",),
        lambda hidden, heads, toy: _share(hidden, heads) if "qk_nope_head_dim" in toy else None,
        "the sum of the two parts of a query",
    ),
    Square(
        ("linear_value_head_dim",),
        lambda hidden, heads, toy: _share(hidden, toy.get("linear_num_value_heads")),
        "the output projection of linear attention",
    ),
)
"""Query and output projections are square already: a head is hidden size over heads."""


def _share(whole: int, parts: Any) -> int | None:
    return whole // parts if is_int(parts) and parts > 0 and whole % parts == 0 else None


def _rest(whole: int | None, part: Any) -> int | None:
    return whole - part if whole is not None and is_int(part) and part < whole else None


def squared(toy: dict[str, Any]) -> dict[str, Any]:
    """A toy's config with the sizes of `SQUARES`; configs of language models inside it too."""
    hidden = next((toy[key] for key in WHOLES if is_int(toy.get(key))), None)
    heads = next((toy[key] for key in HEAD_KEYS if is_int(toy.get(key))), 0)
    changed = dict(toy)
    for row in SQUARES if hidden else ():
        for key in row.keys:
            if is_int(toy.get(key)) and toy[key] > 0 and (value := row.value(hidden, heads, toy)) is not None:
                changed[key] = value
    for name in LANGUAGE_CONFIGS:
        if isinstance(toy.get(name), dict):
            changed[name] = squared(toy[name])
    return changed


def prepare_square(config: dict[str, Any]) -> dict[str, Any] | None:
    """The toy's config, or None where the class takes no such sizes."""
    full = complete(config)
    found = (squared(shrink_config(full, SIZES_OF, sizes)) for sizes in HEAD_IS_QUOTIENT)
    return next((one for one in found if runs(one)), None)
