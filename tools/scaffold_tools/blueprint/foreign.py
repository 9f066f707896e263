"""Ways to mix positions that nobody has a module for: one gap a model, whatever else was not understood.

A row names the tensors that only such a mixer has. It is asked only about a model whose structure was not understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.blueprint.roles import pattern_of
from scaffold_tools.source.inventory import TensorInfo

_LINE = re.compile(r"\b(modeling_\w+\.py:\d+)")


class ForeignRow(NamedTuple):
    """One kind of mixer."""

    kind: str
    tensors: str
    """A pattern that is searched in tensor names."""
    holds: Callable[[TensorInfo, Mapping[str, TensorInfo]], bool]
    """(tensor, all tensors by name)"""
    reason: str
    gain: str
    """What megatron-core itself would have to gain."""


def _any(_: TensorInfo, __: Mapping[str, TensorInfo]) -> bool:
    return True


def _wide_decay(info: TensorInfo, _: Mapping[str, TensorInfo]) -> bool:
    return len(info.shape) >= 2


def _gated_convolution(info: TensorInfo, table: Mapping[str, TensorInfo]) -> bool:
    """A depthwise convolution beside a projection to three times its channels, and nothing else."""
    if len(info.shape) != 3 or info.shape[1] != 1:
        return False
    folder = info.name.rsplit(".", 2)[0] + "."
    wide = [one for name, one in table.items() if name.startswith(folder) and len(one.shape) == 2]
    return any(one.shape[0] == 3 * info.shape[0] for one in wide)


def _many_streams(info: TensorInfo, table: Mapping[str, TensorInfo]) -> bool:
    """A few rows over several residual streams side by side: a multiple of the width of every norm of the layer."""
    norms = {one.shape[0] for name, one in table.items() if name.endswith("norm.weight") and len(one.shape) == 1}
    return len(info.shape) == 2 and any(info.shape[1] in (2 * width, 4 * width, 8 * width) for width in norms)


def _stacked(info: TensorInfo, _: Mapping[str, TensorInfo]) -> bool:
    """Several matrices in one tensor; a convolution has a dimension of one."""
    return len(info.shape) == 3 and min(info.shape) > 1


def _with_experts(_: TensorInfo, table: Mapping[str, TensorInfo]) -> bool:
    return any(".experts." in name for name in table)


def _beside_attention(info: TensorInfo, table: Mapping[str, TensorInfo]) -> bool:
    """One decay a head, in a layer that also projects to queries."""
    found = re.match(r".*?\.\d+\.", info.name)
    if len(info.shape) != 1 or found is None:
        return False
    return any(name.startswith(found[0]) and re.search(r"\.(q_proj|qkv\w*)\.weight$", name) for name in table)


ROWS: tuple[ForeignRow, ...] = (
    ForeignRow(
        "hashed attention",
        r"\.query_key\.weight$",
        lambda info, table: info.name.replace("query_key", "value") in table,
        "attention of Reformer: queries and keys are one projection, tokens are sorted into buckets by random"
        " rotations (locality-sensitive hashing) and see their bucket alone; layers are reversible, in two streams",
        "a core attention over hashed buckets, with its sorting, and a reversible layer of two residual streams",
    ),
    ForeignRow(
        "alternating streams",
        r"\.altup\.prediction_coefs\.weight$",
        _any,
        "a residual stream of several copies that each layer predicts and corrects (AltUp), a low-rank branch beside"
        " attention (LAuReL), and embeddings of every layer's own",
        "a transformer layer over several residual streams, sent between pipeline stages together, with inputs of each"
        " layer's own",
    ),
    ForeignRow(
        "byte patches",
        r"\.patch_embedding_projection\.weight$",
        _any,
        "patches of bytes: an encoder of bytes, a decoder of patches and one of bytes, joined by cross attention;"
        " where a patch ends is decided by the entropy that another model predicts",
        "three stacks of different lengths in one model, cross attention between them, and patch borders found from"
        " data",
    ),
    ForeignRow(
        "Mamba 1",
        r"A_log$",
        _wide_decay,
        "a state space layer of Mamba 1 (a decay for every channel and state, steps through a low rank) that computes"
        " something else than the mixer that a family can bring along; megatron-core's are Mamba 2's",
        "a mixer for this variant of the selective scan, with tensor parallelism",
    ),
    ForeignRow(
        "shared transformer",
        r"\.shared_transf\w*\.",
        _any,
        "one attention and MLP whose weights several layers share, on the hidden state beside the token embedding",
        "a layer that is called at several depths with one set of weights, and the embedding as a second input of"
        " layers on every pipeline stage",
    ),
    ForeignRow(
        "parallel mixers",
        r"\.A_log$",
        _beside_attention,
        "attention and a state space layer in one layer, but not Mamba 2 on its norm, added to attention's"
        " output; layers of megatron-core have one mixer",
        "a layer of several mixers; until then a mixer of the family that holds both",
    ),
    ForeignRow(
        "hyper-connections",
        r"\.\d+\.\w*hc\w*\.fn$",
        _many_streams,
        "hyper-connections: several residual streams, which learnt weights mix before and after every sublayer; in the"
        " attention keys that are values too, compressed over blocks of tokens, and output projections by groups",
        "several residual streams between layers, attention over compressed keys and values, a grouped output"
        " projection, and experts chosen by token id (its main branch has begun to, its releases have none of it)",
    ),
    ForeignRow(
        "several attentions a layer",
        r"\.\d+\.\w*attn\w*\.[1-9]\d*\.\w+\.weight$",
        _with_experts,
        "several attentions and MLPs in one layer, and experts whose output joins the stream after all of them (a"
        " shortcut), some of them identities; layers of megatron-core have one attention, and an MLP or experts",
        "a layer of several attentions and MLPs whose experts are added later than they are computed, and experts"
        " without weights in router and dispatcher",
    ),
    ForeignRow(
        "routed attention",
        r"\.\d+\.\w*att\w*\.(\w+\.)*\w+\.weight$",
        _stacked,
        "a mixture of attention heads: a router chooses for every token the experts that project its queries and its"
        " attention's output; keys and values are one projection for all",
        "an attention whose query and output projections are experts, with their router and dispatcher",
    ),
    ForeignRow(
        "RWKV",
        r"\.time_(decay|first|maa_\w+|mix_\w+)$",
        _any,
        "an RWKV time mix: a weighted sum over all earlier tokens whose weights decay by channel, and a token shift",
        "a mixer for the WKV recurrence and its token shift, with a kernel and tensor parallelism",
    ),
    ForeignRow(
        "mLSTM",
        r"\.(igate|fgate)\w*\.(weight|bias)$",
        _any,
        "an mLSTM of xLSTM: a matrix memory with exponential input and forget gates and a running maximum",
        "a mixer for the mLSTM (mlstm_kernels), with tensor parallelism",
    ),
    ForeignRow(
        "RG-LRU",
        r"\.(recurrent_gate_weight|recurrent_param)$",
        _any,
        "a real-gated linear recurrent unit of Griffin that computes something else than the mixer that a family can"
        " bring along",
        "a mixer for this variant of the RG-LRU, with its block-diagonal gates and tensor parallelism",
    ),
    ForeignRow(
        "short convolution",
        r"\.conv\w*\.weight$",
        _gated_convolution,
        "a gated short convolution in the place of attention that computes something else than B * x, a depthwise"
        " convolution of a few taps, times C",
        "a mixer for this variant of gated short convolutions, its channels sharded over tensor-parallel ranks",
    ),
    ForeignRow(
        "lightning attention",
        r"\.(slope_rate|query_decay|key_decay|diagonal_decay)$",
        _any,
        "lightning attention: linear attention whose decay is one constant a head, that computes something else than"
        " the mixer that a family can bring along",
        "a mixer for this variant of linear attention with constant decays, its heads sharded over tensor ranks",
    ),
    ForeignRow(
        "gated linear attention",
        r"\.self_attn\.output_gate\.weight$",
        lambda info, table: info.name.replace("output_gate", "qkv_proj") in table,
        "lightning attention: linear attention whose decay is one constant a head, that computes something else than"
        " the mixer that a family can bring along",
        "a mixer for this variant of linear attention with constant decays, its heads sharded over tensor ranks",
    ),
)


def find_foreign(tensors: Sequence[TensorInfo] | None, observations: Mapping[str, Any] | None) -> tuple[Gap, ...]:
    """One gap for the first row that applies; none where the structure was understood.

    Args:
        tensors: the checkpoint's table.
        observations: the answer of the `probe` job.
    """
    if not tensors or not _lost(observations):
        return ()
    table = {info.name: info for info in tensors}
    for row in ROWS:
        found = next((one for one in tensors if re.search(row.tensors, one.name) and row.holds(one, table)), None)
        if found is None:
            continue
        pattern = pattern_of(found.name)
        return (
            Gap(
                pattern,
                f"{row.reason} (tensor {pattern}, shape {list(found.shape)})",
                hf_source=_source(pattern, observations or {}),
                write_what=f"megatron-core has to gain {row.gain}",
                check="scaffold verify: logits.max_abs",
            ),
        )
    return ()


def _lost(observations: Mapping[str, Any] | None) -> bool:
    """Whether the probe broke, found no structure, or left tensors of a layer without a role."""
    if observations is None:
        return False
    if "variants" not in observations:
        return True
    failures = observations["variants"]["a"]["failures"]
    return any(one["subject"] == "structure" or "no rule gives it a role" in one["reason"] for one in failures)


def _source(pattern: str, observations: Mapping[str, Any]) -> str | None:
    """Where the code first uses the tensor; where the probe broke, the line in modeling code that it broke at."""
    if "variants" not in observations:
        line = _LINE.search(str(observations.get("error", "")))
        return line[1] if line else None
    variant = observations["variants"]["a"]
    names = variant.get("names") or {}
    for name, where in (variant.get("uses") or {}).items():
        if pattern in (pattern_of(name), pattern_of(names.get(name) or name)):
            return str(where)
    return next((one["where"] for one in variant["failures"] if one["where"]), None)


KEPT_FACTS = ("num_layers", "hidden_size", "vocab_size", "tied_embeddings", "max_position_embeddings", "norm.")
KEPT_ROLES = ("embed.tokens", "head", "norm.final")


def without_layers(blueprint: Blueprint, gaps: tuple[Gap, ...]) -> Blueprint:
    """The blueprint with one gap in the place of all that follows from it; what is sure outside the layers stays."""
    notes = tuple(f"{gap.subject}: {gap.reason}" for gap in blueprint.gaps if gap.subject in ("probe", "structure"))
    return replace(
        blueprint,
        facts=tuple(fact for fact in blueprint.facts if fact.name.startswith(KEPT_FACTS)),
        roles=tuple(row for row in blueprint.roles if row.role in KEPT_ROLES),
        layer_kinds=(),
        gaps=gaps,
        notes=(*blueprint.notes, *notes),
    )
