"""What goes in and comes out: text, images, audio; decoder only, encoder, encoder-decoder, diffusion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from scaffold_tools.classify.claims import Claim, Disagreement, Rule, gather, weigh
from scaffold_tools.classify.evidence import Evidence
from scaffold_tools.classify.keys import find
from scaffold_tools.classify.signals import (
    AUDIO_CONFIGS,
    AUDIO_TOWER,
    VISION_CONFIGS,
    VISION_TOWER,
    Signals,
    sub_config,
)
from scaffold_tools.classify.structure import told
from scaffold_tools.classify.values import as_dict, as_int, clean, short

_PIXELS = ("image_size", "num_channels", "in_channels", "in_chans", "spatial_merge_size")


def _tower_config(names: tuple[str, ...]) -> Callable[[Signals], str | None]:
    def detect(signals: Signals) -> str | None:
        found = sub_config(signals.config, names)
        return f"{found[0]} is an object of {len(found[1])} keys" if found else None

    return detect


def _any_config_with(first: str, others: tuple[str, ...]) -> Callable[[Signals], str | None]:
    """Some sub-config, whatever its name, has key `first` and one of `others`."""

    def detect(signals: Signals) -> str | None:
        for key, value in signals.config.items():
            inner = as_dict(value)
            if inner and first in inner and any(other in inner for other in others):
                return f"{clean(key, 60)} has {first} = {short(inner[first])}"
        return None

    return detect


def _flat_pixels(signals: Signals) -> str | None:
    if as_int(signals.text.get("patch_size")) is None:
        return None
    other = next((key for key in _PIXELS if signals.text.get(key) is not None), None)
    return f"patch_size = {short(signals.text['patch_size'])} beside {other}" if other else None


def _tower_tensor(expression: Any) -> Callable[[Signals], str | None]:
    def detect(signals: Signals) -> str | None:
        found = next((pattern for pattern in signals.patterns if expression.search(pattern.name)), None)
        return told(found.name, found.layers) if found else None

    return detect


def _wrapped_text(signals: Signals) -> str | None:
    """A text model wrapped by a class that generates from more than text, with no tower spelled out (weak)."""
    towers = (*VISION_CONFIGS, *AUDIO_CONFIGS)
    if not signals.text_path or sub_config(signals.config, towers):
        return None
    suffix = _class_suffix("ForConditionalGeneration")(signals)
    return f"{signals.text_path} is nested and {suffix} (weak)" if suffix else None


def _text(signals: Signals) -> str | None:
    found = find(signals.text, "vocab_size")
    if found is None or as_int(found[1]) is None:
        return None
    return f"{found[0]} = {short(found[1])}" if signals.num_layers or find(signals.text, "hidden_size") else None


def _causal_code(signals: Signals) -> str | None:
    mapping = as_dict(signals.config.get("auto_map")) or {}
    return "auto_map names AutoModelForCausalLM" if "AutoModelForCausalLM" in mapping else None


def _flag(key: str, value: Any) -> Callable[[Signals], str | None]:
    def detect(signals: Signals) -> str | None:
        place = next((mapping for mapping in (signals.text, signals.config) if mapping.get(key) is value), None)
        return None if place is None else f"{key} = {short(value)}"

    return detect


def _two_depths(signals: Signals) -> str | None:
    if signals.text.get("is_encoder_decoder") is False:
        return None
    sides = [as_int((find(signals.text, name) or ("", None))[1]) for name in ("encoder_layers", "decoder_layers")]
    return f"encoder and decoder depth {sides[0]} and {sides[1]}" if all(sides) else None


def _two_sides(signals: Signals) -> str | None:
    both = as_dict(signals.config.get("encoder")) and as_dict(signals.config.get("decoder"))
    return "objects named encoder and decoder" if both else None


def _cross_attention(signals: Signals) -> str | None:
    found = signals.first(r"(^|\.)decoder\..*(encoder_attn|EncDecAttention|crossattention|cross_attn)\b")
    return told(found.name, found.layers) if found else None


def _segments(signals: Signals) -> str | None:
    count = as_int(signals.text.get("type_vocab_size"))
    if not count or signals.text.get("is_decoder") is True or signals.text.get("is_encoder_decoder") is True:
        return None
    return f"type_vocab_size = {count}"


def _class_suffix(suffix: str) -> Callable[[Signals], str | None]:
    def detect(signals: Signals) -> str | None:
        names = signals.config.get("architectures")
        name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
        decoder = signals.text.get("is_decoder") is True
        return f"architectures names a class ending in {suffix}" if name.endswith(suffix) and not decoder else None

    return detect


def _towers_without_text(signals: Signals) -> str | None:
    return None if _text(signals) or signals.text_path else _flat_pixels(signals)


def _has_key(key: str) -> Callable[[Signals], str | None]:
    def detect(signals: Signals) -> str | None:
        return f"{key} = {short(signals.config[key])}" if signals.config.get(key) is not None else None

    return detect


def _diffusion_files(signals: Signals) -> str | None:
    return "the repository has model_index.json" if "model_index.json" in signals.files else None


def _only_gguf(signals: Signals) -> str | None:
    quantised = [name for name in signals.files if name.lower().endswith(".gguf")]
    if not quantised or any(name.endswith(".safetensors") for name in signals.files):
        return None
    return f"{clean(quantised[0])} and no safetensors file"


RULES: tuple[Rule, ...] = (
    Rule("text", "key", _text, "a vocabulary and a layer stack"),
    # A model may spell all its sizes as nobody else does: then its own word that it predicts tokens has to do.
    Rule("text", "key", _causal_code, "a next-token model by its own code"),
    Rule("text", "key", _class_suffix("ForCausalLM"), "a next-token head (weak)"),
    Rule("text", "key", _class_suffix("LMHeadModel"), "a next-token head (weak)"),
    Rule("vision", "key", _tower_config(VISION_CONFIGS), "settings of a vision tower"),
    Rule("vision", "key", _any_config_with("patch_size", _PIXELS), "patches of pixels"),
    Rule("vision", "key", _flat_pixels, "patches of pixels"),
    Rule(
        "vision", "key", _wrapped_text, "an outer model around the text model, of whose class the tower is a default"
    ),
    Rule("vision", "tensor", _tower_tensor(VISION_TOWER), "weights of a vision tower"),
    Rule("audio", "key", _tower_config(AUDIO_CONFIGS), "settings of an audio tower"),
    Rule("audio", "key", _any_config_with("num_mel_bins", ("d_model", "hidden_size", "encoder_layers")), "mel bins"),
    Rule("audio", "tensor", _tower_tensor(AUDIO_TOWER), "weights of an audio tower"),
    Rule("encoder-decoder", "key", _flag("is_encoder_decoder", True), "an encoder feeds the decoder"),
    Rule("encoder-decoder", "key", _two_depths, "two stacks"),
    Rule("encoder-decoder", "key", _two_sides, "two models joined by cross-attention"),
    Rule("encoder-decoder", "tensor", _cross_attention, "cross-attention to an encoder"),
    Rule("encoder", "key", _segments, "segment embeddings belong to bidirectional encoders"),
    Rule("encoder", "key", _flag("is_causal", False), "attention is not causal"),
    Rule("encoder", "key", _flag("use_bidirectional_attention", True), "attention is not causal"),
    Rule("encoder", "key", _class_suffix("ForMaskedLM"), "a masked-token head needs bidirectional attention (weak)"),
    Rule("encoder", "key", _has_key("logit_scale_init_value"), "two towers compared by a contrastive loss"),
    Rule("encoder", "key", _has_key("feat_extract_norm"), "an encoder of raw audio"),
    Rule("encoder", "key", _towers_without_text, "images in, no vocabulary out"),
    Rule("diffusion", "key", _has_key("_diffusers_version"), "written by the diffusers library"),
    Rule("diffusion", "key", _diffusion_files, "a diffusers pipeline"),
    Rule("gguf", "key", _only_gguf, "weights for llama.cpp, already quantised"),
)


class ModalityRow(NamedTuple):
    """A modality and what has to hold; the first row that applies is taken."""

    modality: str
    needs: frozenset[str]
    reason: str


MODALITIES: tuple[ModalityRow, ...] = (
    ModalityRow("diffusion", frozenset({"diffusion"}), "no next-token model"),
    ModalityRow("encoder-decoder", frozenset({"encoder-decoder"}), "two stacks, whatever the input is"),
    ModalityRow("encoder", frozenset({"encoder"}), "no next-token head"),
    ModalityRow("omni", frozenset({"text", "vision", "audio"}), "text, images and audio"),
    ModalityRow("vlm", frozenset({"text", "vision"}), "text and images"),
    ModalityRow("audio", frozenset({"text", "audio"}), "text and audio"),
    ModalityRow("llm", frozenset({"text"}), "text alone"),
    ModalityRow("other", frozenset(), "nothing tells what this is"),
)
DECODER_ONLY = frozenset({"llm", "vlm", "audio", "omni"})
_TENSORS_DECIDE = frozenset({"vision", "audio"})


def modality_claim(signals: Signals) -> tuple[Claim, tuple[Claim, ...], tuple[Disagreement, ...]]:
    """The modality with the evidence of everything it needs; the parts found; what the sources disagree about."""
    parts: dict[str, Claim] = {}
    disagreements: list[Disagreement] = []
    for name in dict.fromkeys(rule.claim for rule in RULES):
        decide = signals.from_headers and name in _TENSORS_DECIDE
        holds, why, differs = weigh(name, gather(RULES, name, signals), tensors_decide=decide)
        if differs:
            disagreements.append(differs)
        if holds:
            parts[name] = Claim(name, True, why)
    row = next(row for row in MODALITIES if row.needs <= parts.keys())
    evidence = tuple(item for name in sorted(row.needs) for item in parts[name].evidence)
    claim = Claim("modality", row.modality, evidence or (Evidence("key", row.reason),))
    return claim, tuple(parts.values()), tuple(disagreements)
