"""Mappings of experts, router and shared expert; part of `mappings.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scaffold_tools.blueprint.facts import Gap, TensorRole
from scaffold_tools.targets.megatron_bridge.mapping_rows import FUSED_GATE_UP, FUSED_UP_GATE, LAYER, Fused, Rename

MLP = LAYER + "mlp."
STACKED = "StackedExpertsMapping"
STACKED_GATED = "StackedGatedExpertsMapping"
STACKED_PAIR = "StackedPairExpertsMapping"
SQUEEZED = "SqueezedBiasMapping"
LOCAL_EXPERT_CLASSES = frozenset({STACKED, STACKED_GATED, STACKED_PAIR, SQUEEZED})
"""Classes that the family's folder brings along: layouts whose orientation upstream's classes would have to guess."""

_STACKS = ("stacked", "stacked;transposed")
_GROUP = "Mixture of experts"
_BY_PACKING = {"concat:gate,up": FUSED_GATE_UP, "concat:up,gate": FUSED_UP_GATE}


def homes(matrix: str, param: str) -> tuple[tuple[str, str], ...]:
    """(Megatron name, comment) for grouped experts and for their sequential twins."""
    return (
        (f"{MLP}experts.{matrix}.{param}*", "grouped experts"),
        (f"{MLP}experts.local_experts.*.{matrix}.{param}", "the same for experts one by one"),
    )


def map_experts(rows: Sequence[TensorRole]) -> tuple[list[Rename], list[Fused], list[Gap]]:
    """Rows for every tensor with a role `moe.*`."""
    renames: list[Rename] = []
    fused: list[Fused] = []
    gaps: list[Gap] = []
    for param in ("weight", "bias", "other"):
        own = [row for row in rows if row.param == param]
        roles = {row.role: row for row in own}
        if len(roles) != len(own):
            double = sorted({row.role for row in own if sum(one.role == row.role for one in own) > 1})
            gaps.append(Gap(double[0], "tensors of several names have this role", check="import.hf_consumed"))
            continue
        fused.extend(_pairs(roles, param))
        for row in roles.values():
            for outcome in _single(row):
                if isinstance(outcome, Rename):
                    renames.append(outcome)
                elif isinstance(outcome, Fused):
                    fused.append(outcome)
                else:
                    gaps.append(outcome)
    return renames, fused, gaps


def _pairs(roles: dict[str, TensorRole], param: str) -> Iterator[Fused]:
    """Gate and up that are two tensors; takes them out of `roles`."""
    for prefix, targets in (
        ("moe.expert", homes("linear_fc1", param)),
        ("moe.shared", ((f"{MLP}shared_experts.linear_fc1.{param}", "shared expert"),)),
    ):
        gate, up = roles.get(f"{prefix}.gate"), roles.get(f"{prefix}.up")
        if gate is None or up is None or gate.packing != up.packing:
            continue
        if gate.packing and (prefix != "moe.expert" or param != "weight" or gate.packing not in _STACKS):
            continue
        del roles[f"{prefix}.gate"], roles[f"{prefix}.up"]
        name = STACKED_PAIR if gate.packing else "GatedMLPMapping"
        for target, comment in targets:
            yield Fused(name, target, (("gate", gate.pattern), ("up", up.pattern)), comment)


def _single(row: TensorRole) -> Iterator[Rename | Fused | Gap]:
    role, param = row.role, row.param
    if role == "moe.router" and param != "other":
        yield Rename(_GROUP, f"{MLP}router.{param}", row.pattern)
    elif role == "moe.router.correction_bias":
        target = f"{MLP}router.expert_bias"
        if len(row.shape) > 1:
            yield Fused(SQUEEZED, target, (("hf_param", row.pattern),), "stored with a leading dimension of one")
        else:
            yield Rename(_GROUP, target, row.pattern)
    elif role == "moe.shared.down":
        yield Rename(_GROUP, f"{MLP}shared_experts.linear_fc2.{param}", row.pattern)
    elif role == "moe.shared.up":
        yield Rename(_GROUP, f"{MLP}shared_experts.linear_fc1.{param}", row.pattern)
    elif role == "moe.shared.router" and param == "weight":
        arguments = (("hf_param", row.pattern),)
        yield Fused("ReplicatedMapping", f"{MLP}shared_experts.gate_weight", arguments, "gate of the shared expert")
    elif role == "moe.shared.gate_up" and row.packing in _BY_PACKING:
        target = f"{MLP}shared_experts.linear_fc1.{param}"
        yield Fused(_BY_PACKING[row.packing], target, (("hf_param", row.pattern),), "shared expert, one tensor")
    elif role in ("moe.expert.down", "moe.expert.up", "moe.expert.gate_up"):
        yield from _expert(row)
    else:
        yield _gap(row)


def _expert(row: TensorRole) -> Iterator[Rename | Fused | Gap]:
    words = (row.packing or "").split(";")
    layout = next((word for word in words if ":" in word), None)
    stacked, turned = "stacked" in words, "transposed" in words
    matrix = "linear_fc2" if row.role == "moe.expert.down" else "linear_fc1"
    gated = row.role == "moe.expert.gate_up"
    name = _class(stacked, turned or row.param == "bias", layout, gated)
    if name is None:
        yield _gap(row)
        return
    for target, comment in homes(matrix, row.param):
        yield Fused(name, target, (("hf_param", row.pattern),), comment)


def _class(stacked: bool, turned: bool, layout: str | None, gated: bool) -> str | None:
    """Upstream's class where nothing has to be guessed from shapes, else one of the family's own.

    Upstream's classes take a two-dimensional tensor for one expert's, so stacked biases count as turned.
    """
    if not stacked:
        if turned:
            return None
        return _BY_PACKING.get(str(layout)) if gated else "AutoMapping"
    if gated:
        return "FusedGatedExpertMapping" if layout == "concat:gate,up" and not turned else STACKED_GATED
    return STACKED if turned else "FusedExpertMapping"


def _gap(row: TensorRole) -> Gap:
    return Gap(
        subject=row.pattern,
        reason=f"no mapping class unpacks {row.packing} ({row.role}, {row.param}, shape {list(row.shape)})",
        write_what="a mapping in mapping_registry, and the Megatron parameter that receives the tensor",
        check="the checks import.hf_consumed and round_trip.exact of scaffold verify",
    )


def stacked_layout(rows: Sequence[TensorRole]) -> dict[str, object]:
    """How stacked experts are stored: words for the template of the family's own classes."""
    packings = [(row.packing or "").split(";") for row in rows if row.role == "moe.expert.gate_up"]
    layout = next((word for words in packings for word in words if ":" in word), "concat:gate,up")
    kind, _, order = layout.partition(":")
    weights = [row for row in rows if row.role == "moe.expert.gate_up" and row.param == "weight"]
    return {
        "interleaved": kind == "interleaved",
        "first": "up" if order.startswith("up") else "gate",
        "second": "gate" if order.startswith("up") else "up",
        "transposed": any("transposed" in (row.packing or "").split(";") for row in weights),
        "pair_transposed": any(row.role == "moe.expert.gate" and row.packing == "stacked;transposed" for row in rows),
    }
