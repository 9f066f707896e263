"""Why an entry of transformers' causal mapping is no decoder-only language model: rows over what was measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from scaffold_tools.classify.model import Classification

OTHER_INPUT = re.compile("pixel|image|video|audio|input_features")
"""Names of inputs that are no text."""
WRAPPERS = {"vlm": "images", "audio": "audio", "omni": "images and audio"}


class Seen(NamedTuple):
    """What is known of one entry."""

    answer: Mapping[str, Any]
    """Of the job `causal_types`."""
    classification: Classification | None
    """None where the class refuses its own defaults."""

    @property
    def observed(self) -> Mapping[str, Any]:
        """What a toy of it did."""
        return self.answer.get("observed") or {}


class KindRow(NamedTuple):
    """One way of not being a decoder."""

    name: str
    applies: Callable[[Seen], bool]
    reason: Callable[[Seen], str]


def _config(seen: Seen) -> Mapping[str, Any]:
    return seen.answer.get("config") or {}


def _half(seen: Seen) -> str:
    follows = "; its logits follow encoder_hidden_states" if seen.observed.get("cross_attends") else ""
    return f"half of an encoder-decoder: its config has is_encoder_decoder = true{follows}"


def _wraps(seen: Seen) -> str:
    found = seen.classification
    assert found is not None
    towers = (*found.evidence("vision"), *found.evidence("audio")) or found.evidence("modality")
    why = "; ".join(item.detail for item in towers[:2])
    return f"a language model with {WRAPPERS[found.modality]} around it: {why}"


def _is_wrapper(seen: Seen) -> bool:
    """A tower in the config, or one among the tensors whose input the class takes: a name alone may mean bytes."""
    found = seen.classification
    if found is None or found.modality not in WRAPPERS:
        return False
    by_key = any(item.source == "key" for part in ("vision", "audio") for item in found.evidence(part))
    return by_key or any(OTHER_INPUT.search(name) for name in seen.answer.get("inputs") or ())


def _other_config(seen: Seen) -> bool:
    """The same class under the name of its whole config, where the nested one has an entry of its own."""
    runs_on = seen.observed.get("model_config_type")
    other = bool(runs_on) and runs_on != seen.answer.get("model_type")
    return other and bool(seen.observed.get("has_entry")) and "text_config" in _config(seen)


def _lacks_parts(seen: Seen) -> bool:
    """Broken, and either not even a config object, or one with an empty place for another model's config."""
    if not seen.answer.get("problem"):
        return False
    config = seen.answer.get("config")
    return config is None or any(key.endswith("_config") and value is None for key, value in config.items())


NOT_DECODERS: tuple[KindRow, ...] = (
    KindRow(
        "parts",
        _lacks_parts,
        lambda seen: f"it cannot be made without the configs of other models: {seen.answer['problem']}",
    ),
    KindRow("half", lambda seen: _config(seen).get("is_encoder_decoder") is True, _half),
    KindRow("wrapper", _is_wrapper, _wraps),
    KindRow(
        "alias",
        _other_config,
        lambda seen: f"its class runs on the nested config, which is {seen.observed['model_config_type']}",
    ),
    KindRow(
        "not causal",
        lambda seen: seen.observed.get("causal") is False,
        lambda seen: f"not causal: {seen.observed['leak']}",
    ),
    KindRow(
        "cross-attention",
        lambda seen: bool(seen.observed.get("cross_attends")),
        lambda seen: "it attends to another model: its logits follow encoder_hidden_states",
    ),
)
"""The first that applies is the reason."""


def why_not_a_decoder(seen: Seen) -> str | None:
    """The reason, or None where nothing measured speaks against it."""
    return next((row.reason(seen) for row in NOT_DECODERS if row.applies(seen)), None)
