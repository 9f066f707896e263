"""What a row of the key table holds."""

from __future__ import annotations

from typing import Literal, NamedTuple

Group = Literal[
    "size",
    "attention",
    "rope",
    "norm",
    "mlp",
    "scaling",
    "moe",
    "mla",
    "ssm",
    "linear-attention",
    "convolution",
    "recurrent",
    "encoder-decoder",
    "mtp",
    "vision",
    "audio",
    "quantisation",
    "tokens",
    "training-only",
    "generation/cache",
    "bookkeeping",
]

Scope = Literal["model", "rope", "quantisation"]
"""Where a key means what its row says: anywhere in a model config, inside a rope dict, inside a quantisation dict."""


class KeyRow(NamedTuple):
    """One config key."""

    name: str
    """The most common spelling."""
    group: Group
    meaning: str
    affects_logits: bool
    """Whether a forward pass in evaluation mode can depend on it."""
    aliases: tuple[str, ...] = ()
    scope: Scope = "model"


def rows(
    group: Group, table: tuple[tuple[str, str], ...], *, affects_logits: bool = True, scope: Scope = "model"
) -> tuple[KeyRow, ...]:
    """Rows of one group from `(spellings, meaning)` pairs; the first spelling is the name, the others are aliases."""
    made = []
    for spellings, meaning in table:
        name, *aliases = spellings.split()
        made.append(KeyRow(name, group, meaning, affects_logits, tuple(aliases), scope))
    return tuple(made)
