"""Roles of tensors to converter operations of mcore_adapter: every tensor pattern is consumed once, or is a gap.

Which parameter of megatron-core holds which tensor is what Megatron-Bridge's mapping rows say; here they become
operations on whole tensors, for distribution over ranks is a step of its own in the adapter. Names lose what the
adapter puts before them: the prefix of a layer, and that of an expert.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.targets.megatron_bridge.mapping_rows import DELTA_ROWS, SPLIT_ROWS, Fused
from scaffold_tools.targets.megatron_bridge.mappings import Mappings, map_roles
from scaffold_tools.targets.megatron_bridge.moe_mappings import stacked_layout
from scaffold_tools.targets.roll.distribution import COLUMN, HALVES
from scaffold_tools.targets.roll.homes import Home, beside_attention, beside_experts, several_homes
from scaffold_tools.targets.roll.operations import (
    CHECK,
    DELTA_SIZES,
    LOCAL,
    SHARDED,
    SHARED_BY,
    STACKED,
    STACKED_BIAS,
    STOCK,
    LocalOperation,
    Operation,
)

MCA_LAYER = "decoder.layers.*"
EVERY_EXPERT = ".mlp.experts.local_experts.{}"


@dataclass(frozen=True)
class Converters:
    """All that a template says of tensors."""

    operations: tuple[Operation, ...]
    local: tuple[LocalOperation, ...]
    layer_prefix: str
    moe_prefix: str | None
    ignored: tuple[str, ...]
    """Names without prefix of tensors that the code recomputes (`hf_invalid_keys`)."""
    stacked: bool
    """Whether the experts of a layer are one tensor, so that all of them are needed before one can be written."""
    homes: tuple[Home, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    """(part of a name on disk, what the template takes it for): it begins like an expert's, and is none of one's."""
    known: tuple[tuple[str, str], ...] = ()
    """(parameter, list of the distribution rules) of parameters whose mapping class tells how they are split."""
    gaps: tuple[Gap, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of megatron-core's parameters without prefixes, each once, in all layers that have them."""
        names = [name.removeprefix(EVERY_EXPERT) for row in self.operations for name in row.mca]
        for home in self.homes:
            names += [name.replace(home.usual, home.other) for name in names if home.usual in name]
        return tuple(dict.fromkeys(names))


def convert_roles(
    blueprint: Blueprint, overrides: Mapping[str, str], fields: frozenset[str] = frozenset()
) -> Converters:
    """Operations for every tensor of the blueprint.

    Args:
        blueprint: what is known of the model.
        overrides: names that blocks gave to parameters.
        fields: what blocks add to the config class.
    """
    found = map_roles(blueprint, overrides)
    prefixes = _Prefixes.of(blueprint)
    gaps = [*prefixes.gaps, *(_for_roll(gap) for gap in found.gaps)]
    operations: list[Operation] = []
    local: dict[str, LocalOperation] = {}
    known: dict[str, str] = {}
    for rename in found.renames:
        operations.append(Operation("RenameConverOp", (prefixes.hf(rename.hf),), (mca_name(rename.megatron),)))
    for fused in found.fused:
        if ".local_experts." in fused.megatron:
            continue  # one name is enough: the adapter knows both kinds of experts
        outcome = _operation(fused, found, blueprint, prefixes, local)
        if isinstance(outcome, Operation):
            operations.append(outcome)
            known.update((name, field) for name in outcome.mca if (field := _field(fused, outcome, local)))
        else:
            gaps.append(outcome)
    operations, homes = beside_experts(operations, blueprint)
    operations, more = beside_attention(operations, blueprint, fields)
    homes += more
    gaps += several_homes(operations)
    return Converters(
        operations=tuple(operations),
        local=tuple(local.values()),
        layer_prefix=prefixes.layer,
        moe_prefix=prefixes.moe,
        ignored=tuple(dict.fromkeys(prefixes.hf(pattern) for pattern in found.ignored)),
        stacked=any(row.kind.startswith("stacked_") for row in local.values()),
        homes=homes,
        aliases=prefixes.aliases,
        known=tuple(known.items()),
        gaps=tuple(gaps),
    )


def mca_name(pattern: str) -> str:
    """Name of a parameter as templates have it: without the layer, and without what leads to one expert."""
    name = pattern.removeprefix(MCA_LAYER)
    if name == pattern:
        return pattern
    expert = re.fullmatch(r"\.mlp\.experts(\.linear_fc[12]\.(?:weight|bias))\*", name)
    return expert[1] if expert else name


@dataclass(frozen=True)
class _Prefixes:
    layer: str
    moe: str | None
    aliases: tuple[tuple[str, str], ...] = ()
    gaps: tuple[Gap, ...] = ()

    @classmethod
    def of(cls, blueprint: Blueprint) -> _Prefixes:
        """What stands before a layer's number, and between it and an expert's."""
        inside = [row for row in blueprint.roles if "*" in row.pattern]
        heads = list(dict.fromkeys(row.pattern.partition("*")[0] for row in inside))
        experts = [row for row in inside if row.role.startswith("moe.expert.") and row.pattern.count("*") == 2]
        between = list(dict.fromkeys(row.pattern.split("*")[1] for row in experts))
        gaps = tuple(
            Gap(
                words[1],
                f"a template has one {what} alone, and this model has {', '.join(words)}",
                write_what="a template subclass that knows both",
                check=CHECK,
            )
            for what, words in (("hf_layer_prefix", heads), ("hf_moe_prefix", between))
            if len(words) > 1
        )
        layer, moe = heads[0] if heads else "model.layers.", between[0] if between else None
        return cls(layer, moe, _aliases(blueprint, layer, moe), gaps)

    def hf(self, pattern: str) -> str:
        """The name of a Hugging Face tensor as templates have it."""
        if not pattern.startswith(f"{self.layer}*"):
            return pattern
        name = pattern.removeprefix(f"{self.layer}*")
        if self.moe is not None and name.startswith(f"{self.moe}*"):
            return name.removeprefix(f"{self.moe}*")
        return dict(self.aliases).get(name, name)


def _aliases(blueprint: Blueprint, layer: str, moe: str | None) -> tuple[tuple[str, str], ...]:
    """The adapter takes whatever begins with `hf_moe_prefix` for a part of an expert."""
    names = [row.pattern.removeprefix(f"{layer}*") for row in blueprint.roles if row.pattern.startswith(f"{layer}*")]
    found = [name for name in names if moe is not None and moe in name and not name.startswith(f"{moe}*")]
    return tuple((name, "." + name.strip(".").replace(".", "_")) for name in found)


def _operation(
    fused: Fused, found: Mappings, blueprint: Blueprint, prefixes: _Prefixes, local: dict[str, LocalOperation]
) -> Operation | Gap:
    names = tuple(prefixes.hf(str(value)) for key, value in fused.arguments if _is_name(key, value))
    mca = (mca_name(fused.megatron),)
    words = {key: value for key, value in fused.arguments if not _is_name(key, value)}
    one = fused.name in STACKED and not _is_indexed(fused)
    if one:
        output_bias = mca[0] == ".linear_fc2.bias" and blueprint.value("mlp.gated") is True
        own = STACKED_BIAS if output_bias else _stacked(STACKED[fused.name], blueprint)
        mca = (EVERY_EXPERT + mca[0],)
        return _with_local(own, Operation(own.name, names, mca, comment=fused.comment), local)
    if (sharded := _sharded(fused)) is not None:
        return _with_local(sharded, Operation(sharded.name, names, mca, comment=fused.comment), local)
    if fused.name == "AutoMapping" and words.pop("permute_dims", False):
        own = LocalOperation("TransposeConverOp", "transpose")
        return _with_local(own, Operation(own.name, names, mca, comment=fused.comment), local)
    if fused.name in LOCAL:
        own = _like(LOCAL[fused.name], fused.name, found)
        return _with_local(own, Operation(own.name, names, mca, tuple(words.items()), fused.comment), local)
    if fused.name in STOCK and not words and not fused.code:
        name, arguments = STOCK[fused.name]
        if name == "QKVConverOp":
            gated = blueprint.value("attention.output_gate") is True and blueprint.role("attn.output_gate") is None
            name = "QKVBiasConverOp" if mca[0].endswith(".bias") else "GatedQKVConverOp" if gated else name
        return Operation(name, names, mca, arguments)
    return Gap(
        subject=str(fused.arguments[0][1]) if fused.arguments else fused.megatron,
        reason=f"no converter operation does what {fused.name} does: {fused.comment}",
        write_what="a subclass of ConverOp in the model's package, about a dozen lines",
        check=CHECK,
    )


def _sharded(fused: Fused) -> LocalOperation | None:
    """The operation for parts that ranks share one by one."""
    words = dict(fused.arguments)
    if fused.name == SPLIT_ROWS:
        parts = int(str(words.get("parts", 1)))
        return LocalOperation(
            f"Split{parts}ConverOp", "sharded_rows", sizes=(f"rows // {parts}",) * parts, groups=(parts,)
        )
    if fused.name == DELTA_ROWS:
        sizes = tuple(DELTA_SIZES[key] for key, _ in fused.arguments)
        what = "Input" if len(sizes) > 3 else "Convolution"
        return LocalOperation(f"Joined{what}ConverOp", "sharded_rows", sizes=sizes, groups=(1,) * len(sizes))
    if fused.name in SHARDED:
        name, sizes, groups = SHARDED[fused.name]
        return LocalOperation(name, "sharded_rows", sizes=sizes, groups=groups)
    return None


def _field(fused: Fused, operation: Operation, local: Mapping[str, LocalOperation]) -> str | None:
    """How a parameter is split, where its mapping class tells it."""
    if operation.name in local and local[operation.name].kind in ("sharded_rows", "grouped_delta"):
        return COLUMN
    if fused.name == "GatedMLPMapping" and operation.mca[0].startswith(".self_attention."):
        return HALVES
    return SHARED_BY.get(fused.name)


def _with_local(own: LocalOperation, operation: Operation, local: dict[str, LocalOperation]) -> Operation | Gap:
    """The operation; a gap where its class would have to be two different ones."""
    if local.setdefault(own.name, own) == own:
        return operation
    return Gap(
        operation.hf[0],
        f"{own.name} would need two layouts in one model",
        write_what="a second operation in the model's package",
        check=CHECK,
    )


def _like(own: LocalOperation, name: str, found: Mappings) -> LocalOperation:
    """With the layout that the mapping rows chose."""
    chosen = next((row for row in found.local if row.name == name), None)
    if chosen is None:
        return own
    return replace(
        own,
        order=chosen.order or own.order,
        blocks=chosen.blocks,
        interleaved=chosen.interleaved,
        transposed=chosen.transposed,
    )


def _stacked(own: LocalOperation, blueprint: Blueprint) -> LocalOperation:
    layout = stacked_layout(blueprint.roles)
    if own.kind == "stacked_gate_up" and not own.order:
        order = (str(layout["first"]), str(layout["second"]))
        return replace(
            own, order=order, interleaved=bool(layout["interleaved"]), transposed=bool(layout["transposed"])
        )
    if own.kind == "stacked_pair":
        return replace(own, transposed=bool(layout["pair_transposed"]))
    return own


def _is_name(key: str, value: object) -> bool:
    return isinstance(value, str) and key != "before"


def _is_indexed(fused: Fused) -> bool:
    """Whether every expert has tensors of its own."""
    return all(str(value).count("*") > 1 for key, value in fused.arguments if _is_name(key, value))


def _for_roll(gap: Gap) -> Gap:
    """The same gap in the words of this target."""
    if gap.write_what is None or "mapping" not in gap.write_what:
        return gap
    reason = gap.reason.replace("no mapping class unpacks", "no converter operation unpacks")
    what = "a converter operation in the model's package, and the parameter that receives the tensor"
    return replace(gap, reason=reason, write_what=what, check=CHECK)
