"""What this target cannot express, in its own words."""

from __future__ import annotations

from dataclasses import replace

from scaffold_tools.blueprint.facts import Gap, Stored
from scaffold_tools.targets.megatron_bridge.blocks import BlockPlan
from scaffold_tools.targets.megatron_bridge.quantised.files import is_covered
from scaffold_tools.targets.megatron_bridge.quantised.files import quantised_gaps as shared_gaps
from scaffold_tools.targets.roll.profile import RollProfile

_WORDS = (
    ("the rope_parameters of the provider, in the bridge", "rope_parameters in the hook of the template"),
    ("layer_types of the provider, in the bridge", "layer_types in the hook of the template"),
    ("the modeling module", "the modules of the model's package"),
)
"""What blocks say of Megatron-Bridge, and what it is called here."""


def block_gaps(blocks: BlockPlan, profile: RollProfile) -> tuple[Gap, ...]:
    """The gaps of blocks, and those of a checkout that lacks what blocks are put into."""
    found = [_here(gap) for gap in blocks.gaps]
    if blocks.layer_spec is not None and "_get_transformer_layer_spec" not in profile.model_hooks:
        found.append(
            Gap(
                "layer spec",
                "McaGPTModel of this checkout has no _get_transformer_layer_spec, through which a model gives its own",
                write_what="a newer ROLL, or a model class that builds its layers itself",
                check="scaffold verify: logits",
            )
        )
    return tuple(found)


def _here(gap: Gap) -> Gap:
    what = gap.write_what
    for theirs, ours in _WORDS if what is not None else ():
        what = (what or "").replace(theirs, ours)
    return replace(gap, write_what=what)


def quantised_gaps(stored: Stored | None) -> tuple[Gap, ...]:
    """ROLL loads weights as they are stored: a quantised checkpoint needs a copy that is not."""
    if stored is None:
        return ()
    found = list(shared_gaps(stored))
    if is_covered(stored):
        formats = ", ".join(dict.fromkeys(group.format for group in stored.groups))
        found.append(
            Gap(
                "quantization_config",
                f"weights are stored as {formats}, and mcore_adapter has nothing that undoes it on the way in",
                write_what="a bf16 copy of the checkpoint: the target megatron-bridge writes a script that makes one",
                check="scaffold verify on the copy",
            )
        )
    return tuple(found)
