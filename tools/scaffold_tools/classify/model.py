"""Classification: what kind of model an inventory is, each claim with its evidence. No model is known by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from scaffold_tools.classify.claims import Claim, Disagreement
from scaffold_tools.classify.evidence import Evidence
from scaffold_tools.classify.keys import KnownKey, UnknownKey, find, read_keys
from scaffold_tools.classify.layers import LayerPattern, layer_disagreements, layer_patterns
from scaffold_tools.classify.modality import DECODER_ONLY, modality_claim
from scaffold_tools.classify.quantisation import Quantisation, logical_elements, quantisation
from scaffold_tools.classify.signals import AUDIO_CONFIGS, VISION_CONFIGS, Signals, read_signals
from scaffold_tools.classify.structure import structure_claims
from scaffold_tools.classify.values import as_dict, clean, short
from scaffold_tools.errors import BadInput
from scaffold_tools.source.inventory import Inventory

Modality = Literal["llm", "vlm", "audio", "omni", "encoder", "encoder-decoder", "diffusion", "other"]
_SIZES = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
    "num_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "kv_lora_rank",
    "ssm_state_size",
    "sliding_window",
)


@dataclass(frozen=True)
class Size:
    """A number that the config gives of the text model."""

    name: str
    key: str
    """Dotted path of the key that has it."""
    value: str


@dataclass(frozen=True)
class Classification:
    """What kind of model this is."""

    modality: Modality
    structure: tuple[str, ...]
    """dense or moe; mla, sparse-attention, mtp; hybrid-<mixer>, or recurrent and <mixer>; mixers: ssm,
    linear-attention, convolution, recurrence."""
    decoder_only: bool
    tied: bool | None
    """Head and token embedding are one tensor; None when nothing tells."""
    custom_code: bool
    """The repository brings Python code of its own (`auto_map`)."""
    gguf_only: bool
    parameters: int | None
    """Weights of the model by its tensor table (packed ones counted by their values); None without a table."""
    claims: tuple[Claim, ...]
    """The same statements, each with its evidence."""
    quantisation: Quantisation | None
    sizes: tuple[Size, ...]
    layer_patterns: tuple[LayerPattern, ...]
    keys: tuple[KnownKey, ...]
    unrecognised: tuple[UnknownKey, ...]
    disagreements: tuple[Disagreement, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return describe(self)

    def evidence(self, name: str, value: Any = None) -> tuple[Evidence, ...]:
        """The evidence of claim `name` (with that value, where a name has several); empty when it is not claimed."""
        return next((c.evidence for c in self.claims if c.name == name and value in (None, c.value)), ())


def classify(inventory: Inventory) -> Classification:
    """Classify from config keys and the tensor table. Works on any JSON; what nothing tells is not guessed."""
    signals = read_signals(inventory)
    modality, parts, modality_differs = modality_claim(signals)
    structure, structure_differs = structure_claims(signals)
    tied, tied_differs = _tied(signals)
    custom = _custom_code(signals)
    quantised = quantisation(signals)
    parameters = _parameters(signals)
    known, unknown = read_keys(inventory.config, signals.num_layers)
    makes_layers = modality.value in DECODER_ONLY
    claims = (
        modality,
        *parts,
        *(structure if makes_layers else ()),
        tied,
        custom,
        *((parameters,) if parameters else ()),
    )
    return Classification(
        modality=modality.value,
        structure=tuple(claim.value for claim in structure) if makes_layers else (),
        decoder_only=makes_layers,
        tied=tied.value,
        custom_code=custom.value,
        gguf_only=any(part.name == "gguf" for part in parts),
        parameters=parameters.value if parameters else None,
        claims=claims,
        quantisation=quantised,
        sizes=_sizes(signals),
        layer_patterns=layer_patterns(signals),
        keys=known,
        unrecognised=unknown,
        disagreements=(
            *modality_differs,
            *(structure_differs if makes_layers else ()),
            *tied_differs,
            *layer_disagreements(signals),
            *(quantised.disagreements if quantised else ()),
        ),
        notes=(*inventory.notes, *_notes(signals)),
    )


def _tied(signals: Signals) -> tuple[Claim, tuple[Disagreement, ...]]:
    """Tied embeddings: a head in the checkpoint decides; the text model's own key comes before the outer one."""
    keys = _tie_keys(signals)
    said = keys[0][1] if keys else None
    evidence = tuple(Evidence("key", f"{path} = {short(value)}") for path, value in keys)
    differs = []
    if len(keys) > 1 and keys[0][1] != keys[1][1]:
        differs.append(Disagreement("tied", f"{keys[0][0]} and {keys[1][0]} differ"))
    head = _head(signals)
    if head is None:
        return Claim("tied", said, evidence), tuple(differs)
    seen, detail = head
    if said is not None and said != seen:
        differs.append(Disagreement("tied", f"{keys[0][0]} = {short(said)}, but {detail}"))
    return Claim("tied", seen, (Evidence("tensor", detail), *evidence)), tuple(differs)


def _tie_keys(signals: Signals) -> list[tuple[str, bool]]:
    found = []
    for prefix, mapping in dict.fromkeys(((signals.text_path, "text"), ("", "config"))):
        config = signals.text if mapping == "text" else signals.config
        hit = find(config, "tie_word_embeddings")
        if hit and isinstance(hit[1], bool):
            found.append((f"{prefix}.{hit[0]}".lstrip("."), hit[1]))
    return list(dict.fromkeys(found))


def _head(signals: Signals) -> tuple[bool, str] | None:
    """(tied, why) from the tensors; None where they do not tell. A class's table is not evidence of its checkpoint."""
    if not signals.from_headers:
        return None
    # `output.weight` and `head.weight` are heads at the top of a checkpoint only; inside a layer they are projections.
    heads = r"((^|\.)(lm_head|embed_out|output_layer)|^(model\.)?(output|head))\.(weight|qweight|weight_packed)$"
    head = signals.first(heads)
    if head is not None and not head.layers:
        return False, f"{clean(head.name)} is in the checkpoint"
    embedding = signals.first(r"(^|\.)(embed_tokens|wte|word_embeddings|tok_embeddings|embeddings|embed_in)\.weight$")
    return (True, f"{clean(embedding.name)} is in the checkpoint, a head is not") if embedding else None


def _custom_code(signals: Signals) -> Claim:
    mapping = as_dict(signals.config.get("auto_map"))
    if mapping is None:
        return Claim("custom_code", False, (Evidence("key", "no auto_map"),))
    names = ", ".join(clean(str(key), 40) for key in list(mapping)[:6])
    return Claim("custom_code", True, (Evidence("key", f"auto_map names code for {names}"),))


def _parameters(signals: Signals) -> Claim | None:
    if not signals.patterns:
        return None
    count = sum(pattern.count for pattern in signals.patterns)
    where = "headers of the checkpoint" if signals.from_headers else "class that transformers has"
    return Claim("parameters", logical_elements(signals), (Evidence("tensor", f"{count} tensors by the {where}"),))


def _sizes(signals: Signals) -> tuple[Size, ...]:
    prefix = f"{signals.text_path}." if signals.text_path else ""
    found = ((name, find(signals.text, name)) for name in _SIZES)
    return tuple(Size(name, f"{prefix}{hit[0]}", short(hit[1], 40)) for name, hit in found if hit)


class NoteRow(NamedTuple):
    """Something that looks like a sign but is none, and why."""

    key: str
    unless: tuple[str, ...]
    note: str


_TOWERS = (*VISION_CONFIGS, *AUDIO_CONFIGS)
NOTES: tuple[NoteRow, ...] = (
    NoteRow(
        "text_config", _TOWERS, "text_config is nested, but no other tower is described: class defaults apply to it"
    ),
    NoteRow("audio_token_id", AUDIO_CONFIGS, "audio_token_id without audio settings: this model takes no audio"),
    NoteRow("image_token_id", VISION_CONFIGS, "image_token_id without vision settings: this model takes no images"),
)


def _notes(signals: Signals) -> tuple[str, ...]:
    return tuple(
        row.note
        for row in NOTES
        if signals.config.get(row.key) is not None and not any(as_dict(signals.config.get(key)) for key in row.unless)
    )


class RefusalRow(NamedTuple):
    """A kind of model that no target takes."""

    modality: str
    what: str
    hint: str


REFUSALS: tuple[RefusalRow, ...] = (
    RefusalRow("encoder-decoder", "an encoder-decoder", "give a decoder-only model"),
    RefusalRow("encoder", "an encoder without a next-token head", "give a decoder-only model"),
    RefusalRow("diffusion", "a diffusion model", "give a decoder-only model"),
    RefusalRow("other", "no language model by its config.json", "its config needs a vocabulary and a layer stack"),
)


def require_supported(classification: Classification) -> None:
    """Refuse what no target can take.

    Raises:
        BadInput: an encoder-decoder, an encoder, a diffusion model, nothing recognisable, or GGUF files alone.
    """
    if classification.gguf_only:
        raise BadInput(
            "the repository has GGUF files and no safetensors",
            hint="give the repository that the GGUF files were made from",
        )
    for row in REFUSALS:
        if row.modality == classification.modality:
            why = "; ".join(item.detail for item in classification.evidence("modality")[:2])
            raise BadInput(f"this model is {row.what}: {why}", hint=row.hint)


def describe(classification: Classification) -> str:
    """One line: kind, structure, quantisation, number of weights."""
    parts = [classification.modality, *classification.structure]
    if classification.quantisation:
        parts.append(f"quantised ({classification.quantisation.format})")
    if classification.tied:
        parts.append("tied embeddings")
    if classification.parameters:
        parts.append(f"{classification.parameters / 1e9:.2f}B weights")
    if classification.unrecognised:
        parts.append(f"{len(classification.unrecognised)} unrecognised keys")
    return ", ".join(parts)
