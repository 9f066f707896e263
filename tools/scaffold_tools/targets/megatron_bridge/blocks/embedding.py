"""What happens to the token embedding before the first layer: a norm, and absolute positions of unusual kinds."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.targets.megatron_bridge.blocks.facts import expression, has
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part, ProviderField, ProviderSetting

ABSOLUTE = ("learned", "sinusoidal")
"""Kinds of positions that are added to the token embedding."""
_LENGTH = "max_position_embeddings"


def has_embedding_norm(blueprint: Blueprint) -> bool:
    """Whether a norm acts on the embedding output; one without weights leaves no tensor."""
    return bool(blueprint.value("embedding.norm")) or has(blueprint, "norm.embed")


def _offset(blueprint: Blueprint) -> int:
    return int(blueprint.value("position.offset") or 0)


def _offset_field(blueprint: Blueprint) -> ProviderField:
    return ProviderField(
        "position_offset", "int", "0", None, _offset(blueprint) or None, "Number of the first position."
    )


def _table(blueprint: Blueprint, naming: Naming) -> Part:
    role, length = blueprint.role("embed.positions"), blueprint.value(_LENGTH)
    if role is not None and role.shape and role.shape[0] != (length or 0) + _offset(blueprint):
        rows = f"{role.shape[0]} rows for {length} positions numbered from {_offset(blueprint)}"
        return Part(covers=(), gaps=(Gap("position.offset", f"the position embedding has {rows}"),))
    length_field = ProviderField(
        _LENGTH, "int", "2048", expression(blueprint, _LENGTH), length, "Positions that the table has a row for."
    )
    return Part(
        features=("positions", "position_table"),
        fields=(length_field, _offset_field(blueprint)),
        module_types=((f"{naming.prefix}PositionEmbedding", "replicated"),),
    )


def _sinusoid(blueprint: Blueprint, naming: Naming) -> Part:
    order, _, spacing = str(blueprint.value("position.sinusoid")).partition(":")
    features = ["positions", "sinusoid", f"sinusoid_{order}", f"sinusoid_{spacing}"]
    return Part(
        features=tuple(features),
        fields=(_offset_field(blueprint),),
        settings=(
            ProviderSetting(
                "position_embedding_type", "learned_absolute", comment="Added to the embedding; nothing is learned."
            ),
        ),
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "embedding norm",
        "a norm acts on the embedding output, which megatron-core passes on as it is",
        ("embedding.norm",),
        has_embedding_norm,
        lambda blueprint, naming: Part(features=("embed_norm",), names=(("norm.embed", "embedding.embedding_norm"),)),
    ),
    BlockRow(
        "numbered positions",
        "the position table starts at another number than 0, so it has more rows than there are positions",
        ("position.offset",),
        lambda blueprint: blueprint.value("position.kind") == "learned" and _offset(blueprint) > 0,
        _table,
    ),
    BlockRow(
        "sinusoidal positions",
        "sines and cosines are added to the token embedding; megatron-core has learned tables only",
        ("position.kind", "position.sinusoid", "position.offset"),
        lambda blueprint: blueprint.value("position.kind") == "sinusoidal",
        _sinusoid,
    ),
)
