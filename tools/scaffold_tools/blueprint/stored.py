"""What the stored form of the weights means for an import: quantised numbers are not weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold_tools.blueprint.facts import Gap

if TYPE_CHECKING:
    from scaffold_tools.classify.model import Classification


def quantised_gap(classification: Classification | None) -> Gap | None:
    """The gap of a quantised checkpoint, or None.

    The toys of verification are not quantised, so no check on them can see this: the stored numbers imported as
    weights (std about 13 instead of 0.006 for FP8 blocks) give random-level loss and no error.
    """
    found = classification.quantisation if classification is not None else None
    if found is None:
        return None
    scales = f", scales in {', '.join(found.scale_tensors)}" if found.scale_tensors else ""
    return Gap(
        subject="quantization_config",
        reason=f"the checkpoint stores its weights as {found.format}{scales}; as they are, the numbers are no weights",
        write_what="write a bf16 copy of the checkpoint and import that, or undo the scales in the bridge's "
        "maybe_modify_loaded_hf_weight",
        check="the std of each imported weight is that of the dequantised tensor",
    )
