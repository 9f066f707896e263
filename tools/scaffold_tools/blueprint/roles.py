"""Roles of the real checkpoint's tensors: what the probe found on the toy, carried over by name pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from scaffold_tools.blueprint.facts import Gap, TensorRole
from scaffold_tools.classify.evidence import Evidence
from scaffold_tools.source.inventory import TensorInfo

NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


class BufferRow(NamedTuple):
    """Tensors that old checkpoints hold and that the code computes for itself."""

    pattern: str
    reason: str


BUFFERS: tuple[BufferRow, ...] = (
    BufferRow(
        r"rotary_emb\.inv_freq$|rope\.freqs$|rotary_pos_emb\.inv_freq$", "rotary frequencies, computed from the config"
    ),
    BufferRow(
        r"attn\.masked_bias$|attn\.bias$|attention\.masked_bias$|attention\.bias$", "causal mask of old checkpoints"
    ),
    BufferRow(r"(k|v)_scale$|kv_scale$", "scale of a quantised cache, not a weight"),
)
"""Hints by name, used only for tensors that the code has no parameter for."""


@dataclass(frozen=True)
class Roles:
    """Roles, and what did not fit."""

    rows: tuple[TensorRole, ...]
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]


def pattern_of(name: str) -> str:
    """A tensor name with each index replaced by `*`."""
    return NUMBER.sub("*", name)


def matcher(pattern: str) -> re.Pattern[str]:
    """Regular expression of a pattern; each `*` is one index."""
    return re.compile(r"(\d+)".join(re.escape(part) for part in pattern.split("*")) + r"\Z")


def derive_roles(observed: dict[str, Any], tensors: Iterable[TensorInfo] | None, layers: int | None) -> Roles:
    """Give every tensor of the checkpoint its role.

    Args:
        observed: observations of one toy (`roles`, `names`).
        tensors: the checkpoint's table; None when there is none, then shapes are empty.
        layers: number of layers of the real model, used without a table.
    """
    found = _patterns(observed)
    if tensors is None:
        rows = tuple(replace(row, layers=tuple(range(layers or 0)) if "*" in row.pattern else None) for row in found)
        return Roles(rows, (), ("no tensor table: names are those of the transformers class, shapes are unknown",))
    table = {info.name: info for info in tensors}
    shift, notes = _prefix_shift(found, table)
    left = dict(table)
    rows_out: list[TensorRole] = []
    gaps: list[Gap] = []
    for row in found:
        pattern = shift(row.pattern)
        match_name = matcher(pattern).match  # a mixture of experts has tens of thousands of names
        hits = [(info, match) for name, info in table.items() if (match := match_name(name))]
        if not hits:
            gaps.append(_missing(row))
            continue
        for info, _ in hits:
            left.pop(info.name, None)
        numbers = sorted({int(match.group(1)) for _, match in hits}) if "*" in pattern else None
        shape = tuple(hits[0][0].shape)
        rows_out.append(
            replace(row, pattern=pattern, shape=shape, layers=tuple(numbers) if numbers is not None else None)
        )
    extra_rows, extra_gaps, extra_notes = _leftovers(left, rows_out, observed)
    return Roles((*rows_out, *extra_rows), (*gaps, *extra_gaps), (*notes, *extra_notes))


def agreed_packings(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """The first toy's observations, each fused tensor with the first layout that fits both toys.

    With as many groups as blocks, or one group, several layouts are the same; the other toy tells them apart.
    """
    other: dict[str, set[str]] = {}
    for row in b.get("roles", ()):
        key = f"{row['role']} {row['param']}"
        labels = set(str(row.get("packing")).split("|"))
        other[key] = other[key] & labels if key in other else labels
    rows = []
    for row in a.get("roles", ()):
        found = str(row["packing"]).split("|") if row.get("packing") else []
        both = [label for label in found if label in other.get(f"{row['role']} {row['param']}", found)]
        rows.append({**row, "packing": next(iter(both or found), None)})
    return {**a, "roles": rows}


def _patterns(observed: dict[str, Any]) -> list[TensorRole]:
    names = observed.get("names") or {}
    rows: dict[tuple[str, str, str], TensorRole] = {}
    groups: dict[tuple[str, str, str], list[str]] = {}
    for entry in observed.get("roles", ()):
        disk = names.get(entry["tensor"]) or entry["tensor"]
        groups.setdefault((entry["role"], entry["param"], pattern_of(disk)), []).append(disk)
    for entry in observed.get("roles", ()):
        disk = names.get(entry["tensor"]) or entry["tensor"]
        group = groups[entry["role"], entry["param"], pattern_of(disk)]
        apart = entry["role"].startswith("moe.expert.") and "stacked" not in (entry.get("packing") or "")
        key = (entry["role"], entry["param"], pattern_of_group(group, experts=apart))
        evidence = Evidence("probe", f"the toy's {entry['tensor']} acts as {entry['role']}")
        rows.setdefault(
            key,
            TensorRole(
                key[0], key[2], key[1], (), None, entry.get("packing"), (evidence,), bool(entry.get("transposed"))
            ),
        )
    return list(rows.values())


def pattern_of_group(names: list[str], *, experts: bool = False) -> str:
    """The pattern of names of one role: the layer's number is `*`, and so is any later one that varies (experts).

    One that does not vary is no index of this role: `nn.Sequential` names its members by numbers. A mixture of one
    expert (`experts`: the tensors are those of experts one by one) counts it all the same.
    """
    found = [NUMBER.findall(name) for name in names]
    fixed = [place for place in range(1, len(found[0])) if len({numbers[place] for numbers in found}) == 1]
    if experts and len(fixed) == len(found[0]) - 1:
        fixed = fixed[1:]
    places = iter(range(len(found[0])))
    return NUMBER.sub(lambda match: match.group() if next(places) in fixed else "*", names[0])


def _prefix_shift(found: list[TensorRole], table: dict[str, TensorInfo]) -> tuple[Any, list[str]]:
    """Checkpoints saved from the bare decoder lack the wrapper's prefix, and wrapped ones have one more."""
    patterns = {pattern_of(name) for name in table}
    weights = [row.pattern for row in found if row.role.startswith(("attn.", "mlp.", "norm.pre", "embed.tokens"))]
    if not weights or any(pattern in patterns for pattern in weights):
        return (lambda pattern: pattern), []
    for pattern in weights:
        first, _, rest = pattern.partition(".")
        if rest in patterns:
            return partial(_without, f"{first}."), [f"tensor names lack the prefix {first!r} of the class"]
        longer = next((one for one in sorted(patterns) if one.endswith("." + pattern)), None)
        if longer is not None:
            lead = longer.removesuffix(pattern)
            return partial(_with, lead, patterns), [f"tensor names start with {lead!r}"]
    return (lambda pattern: pattern), []


def _without(prefix: str, pattern: str) -> str:
    return pattern.removeprefix(prefix)


def _with(prefix: str, patterns: set[str], pattern: str) -> str:
    return pattern if pattern in patterns else prefix + pattern


def _missing(row: TensorRole) -> Gap:
    return Gap(
        row.pattern,
        f"the class has this tensor ({row.role}), the checkpoint does not",
        write_what="the name that the checkpoint has for it, or how it is derived from others",
        check="import.hf_consumed",
    )


def _leftovers(
    left: dict[str, TensorInfo], rows: list[TensorRole], observed: dict[str, Any]
) -> tuple[list[TensorRole], list[Gap], list[str]]:
    extra: list[TensorRole] = []
    gaps: list[Gap] = []
    notes: list[str] = []
    groups: dict[str, list[TensorInfo]] = {}
    for name in sorted(left):
        groups.setdefault(pattern_of(name), []).append(left[name])
    embed = next((row for row in rows if row.role == "embed.tokens"), None)
    tied = bool(observed.get("facts", {}).get("tied_embeddings"))
    tied_names = {disk or name for name, disk in (observed.get("names") or {}).items()}
    said = {
        pattern_of((observed.get("names") or {}).get(entry["subject"]) or entry["subject"])
        for entry in observed.get("failures", ())
    }
    if not rows and any(entry["subject"] == "structure" for entry in observed.get("failures", ())):
        return [], [], [f"{len(left)} tensors have no role, because the structure of the model was not understood"]
    for pattern, infos in groups.items():
        shape = tuple(infos[0].shape)
        numbers = tuple(sorted(int(found.group()) for info in infos if (found := NUMBER.search(info.name)))) or None
        buffer = next((row for row in BUFFERS if re.search(row.pattern, pattern)), None)
        sibling = next((row for row in rows if row.pattern.removesuffix(".weight") + ".bias" == pattern), None)
        if buffer is not None:
            reason = buffer.reason
        elif tied and embed is not None and shape == embed.shape and "*" not in pattern:
            reason = "a stored copy of the token embedding; the code ties the two"
            notes.append(f"{pattern} is stored although head and embedding are tied")
        elif sibling is not None and len(shape) == 1:
            evidence = Evidence("tensor", f"{pattern} is in the checkpoint")
            extra.append(TensorRole(sibling.role, pattern, "bias", shape, numbers, sibling.packing, (evidence,)))
            notes.append(f"{pattern}: the checkpoint has a bias that the config does not announce")
            continue
        elif pattern in said:
            continue  # a failure names it already
        else:
            also = " (the class knows the name, but nothing uses it)" if pattern in tied_names else ""
            gaps.append(
                Gap(
                    pattern,
                    f"{len(infos)} tensor(s) {list(shape)} in the checkpoint that no part of the code uses{also}",
                )
            )
            continue
        extra.append(TensorRole("buffer", pattern, "other", shape, numbers, None, (Evidence("tensor", reason),)))
    return extra, gaps, notes
