"""How a quantised checkpoint stores its weights, as one value of the blueprint.

The toys, the roles and the mappings all speak of unquantised weights, so the table of tensors is told without
quantisation first (`without_quantisation`); what was there instead is `Blueprint.stored`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from scaffold_tools.blueprint.facts import Gap, Stored, TensorRole
from scaffold_tools.blueprint.stored_declared import declared_groups, declared_weights, weights_by_shape
from scaffold_tools.blueprint.stored_tensors import logical_tensors
from scaffold_tools.source.inventory import Inventory

if TYPE_CHECKING:
    from scaffold_tools.classify.model import Classification


def derive_stored(
    inventory: Inventory, classification: Classification | None, roles: Iterable[TensorRole]
) -> Stored | None:
    """How the weights are stored; None where nothing says that they are quantised.

    Headers decide where there are any; else the config's declaration is taken at its word, for every linear layer that
    it does not leave alone.
    """
    found = classification.quantisation if classification is not None else None
    if found is None:
        return None
    settings = inventory.config.get("quantization_config")
    known = tuple(
        (key, str(settings[key]))
        for key in _SETTINGS
        if isinstance(settings, dict) and isinstance(settings.get(key), str)
    )
    table = inventory.tensors
    if table is not None and table.origin == "headers":
        logical = logical_tensors(table, found.bits)
        groups = tuple(
            replace(group, bits=found.bits, block=found.block_shape) if group.format == found.format else group
            for group in logical.groups
        )
        certainty, unmatched, rest = "constrained", logical.unmatched, logical.not_weights
    else:
        weights = declared_weights(roles, found.left_alone, found.format)
        if not weights and table is not None:
            weights = weights_by_shape(table.tensors, found.left_alone)
        groups = declared_groups(found.format, found.method or "", found.bits, found.block_shape, weights)
        certainty, unmatched, rest = "declared", (), ()
    return Stored(
        groups=groups,
        not_weights=rest,
        left_alone=found.left_alone,
        unmatched=unmatched,
        settings=known,
        certainty="constrained" if certainty == "constrained" else "declared",
        evidence=found.evidence,
    )


_SETTINGS = ("checkpoint_format",)
"""Settings of quantization_config that the arithmetic depends on."""


def without_quantisation(inventory: Inventory, classification: Classification | None = None) -> Inventory:
    """The inventory with the table that an unquantised checkpoint would have; itself where nothing is quantised.

    Where shapes fit several widths in bits, the classification's is taken.
    """
    found = classification.quantisation if classification is not None else None
    table = inventory.tensors
    if table is None or table.origin != "headers":
        return inventory
    logical = logical_tensors(table, found.bits if found else None)
    if not logical.groups:
        return inventory
    return replace(inventory, tensors=replace(table, tensors=logical.tensors))


def stored_gaps(stored: Stored | None) -> tuple[Gap, ...]:
    """What the tensors themselves leave open: parts that belong to nothing, FP8 that nothing scales."""
    if stored is None:
        return ()
    found = []
    if stored.unmatched:
        names = ", ".join(stored.unmatched[:3]) + (", ..." if len(stored.unmatched) > 3 else "")
        found.append(
            Gap(
                "quantization_config",
                f"{len(stored.unmatched)} quantised tensors or scales belong to no weight: {names}",
                write_what="the format that they belong to, as a row of STORED_FORMATS in the generated code",
                check="stored.coverage",
            )
        )
    return tuple(found)
