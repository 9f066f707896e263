"""Compares the stand-ins with torch.nn and with formulas written another way; returns the largest differences."""

from __future__ import annotations

from typing import Any

import torch
import transformer_engine.pytorch as te
from torch import nn

Figures = dict[str, float]


def run(request: dict[str, Any]) -> Figures:
    torch.manual_seed(0)
    return {**_linear(), **_norms(), **_attention(), **_grouped(), **_scans(), **_gradients(), **_names()}


def _difference(left: torch.Tensor, right: torch.Tensor) -> float:
    assert left.shape == right.shape, (left.shape, right.shape)
    return float((left - right).abs().max())


def _randomise(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()


def _linear() -> Figures:
    x = torch.randn(5, 2, 12)
    theirs, ours = nn.Linear(12, 20), te.Linear(12, 20)
    ours.load_state_dict(theirs.state_dict(), strict=False)
    skipped = te.Linear(12, 20, return_bias=True)
    skipped.load_state_dict(theirs.state_dict(), strict=False)
    out, bias = skipped(x)
    return {"linear": _difference(ours(x), theirs(x)), "linear with bias left out": _difference(out + bias, theirs(x))}


def _norms() -> Figures:
    x, figures = torch.randn(5, 2, 12), {}
    for kind, theirs in (("RMSNorm", nn.RMSNorm(12, eps=0.02)), ("LayerNorm", nn.LayerNorm(12, eps=0.02))):
        _randomise(theirs)
        plain, centred = getattr(te, kind)(12, eps=0.02), getattr(te, kind)(12, eps=0.02, zero_centered_gamma=True)
        fused = te.LayerNormLinear(12, 20, eps=0.02, normalization=kind)
        _randomise(fused)
        with torch.no_grad():
            plain.weight.copy_(theirs.weight)
            centred.weight.copy_(theirs.weight - 1)
            fused.layer_norm_weight.copy_(theirs.weight)
            if kind == "LayerNorm":
                for bias in (plain.bias, centred.bias, fused.layer_norm_bias):
                    bias.copy_(theirs.bias)
        figures[kind] = _difference(plain(x), theirs(x))
        figures[f"{kind} zero-centred"] = _difference(centred(x), theirs(x))
        expected = torch.nn.functional.linear(theirs(x), fused.weight, fused.bias)
        figures[f"{kind} with linear"] = _difference(fused(x), expected)
    return figures


def _attention() -> Figures:
    """Grouped queries, a window and an own scale against torch's own attention with an explicit mask."""
    length, heads, groups, dim, value_dim, left = 11, 4, 2, 8, 6, 3
    q, k = torch.randn(length, 2, heads, dim), torch.randn(length, 2, groups, dim)
    v = torch.randn(length, 2, groups, value_dim)
    attention = te.DotProductAttention(heads, (dim, value_dim), groups, window_size=(left, 0), softmax_scale=0.3)
    seen = torch.ones(length, length).tril().triu(-left).bool()
    heads_first = [tensor.permute(1, 2, 0, 3) for tensor in (q, k, v)]
    expected = nn.functional.scaled_dot_product_attention(*heads_first, attn_mask=seen, scale=0.3, enable_gqa=True)
    expected = expected.permute(2, 0, 1, 3).reshape(length, 2, -1)
    wider = te.DotProductAttention(heads, (dim, value_dim), groups, window_size=(left + 1, 0), softmax_scale=0.3)
    figures = {"attention": _difference(attention(q, k, v), expected)}
    figures["control: window off by one"] = _difference(wider(q, k, v), expected)
    sinks = te.DotProductAttention(heads, (dim, value_dim), groups, softmax_scale=0.3, softmax_type="learnable")
    _randomise(sinks)
    # A sink is a key of its own whose value is zero and whose score is the offset.
    scores = torch.einsum("bhqd,bhkd->bhqk", heads_first[0], heads_first[1].repeat_interleave(2, 1)) * 0.3
    scores = scores.masked_fill(~torch.ones(length, length).tril().bool(), float("-inf")).exp()
    shares = scores / (scores.sum(-1, keepdim=True) + sinks.softmax_offset.exp().view(1, heads, 1, 1))
    expected = torch.einsum("bhqk,bhkd->bqhd", shares, heads_first[2].repeat_interleave(2, 1)).reshape(2, length, -1)
    figures["attention with sinks"] = _difference(sinks(q, k, v), expected.transpose(0, 1))
    ends = torch.tensor([0, 4, length])
    packed = attention(q[:, 0], k[:, 0], v[:, 0], qkv_format="thd", cu_seqlens_q=ends, cu_seqlens_kv=ends)
    parts = [attention(q[a:b, :1], k[a:b, :1], v[a:b, :1])[:, 0] for a, b in ((0, 4), (4, length))]
    return figures | {"packed attention": _difference(packed, torch.cat(parts))}


def _grouped() -> Figures:
    grouped = te.GroupedLinear(3, 12, 20)
    _randomise(grouped)
    x, splits = torch.randn(9, 12), [2, 0, 7]
    parts = [
        nn.functional.linear(rows, getattr(grouped, f"weight{i}"), getattr(grouped, f"bias{i}"))
        for i, rows in enumerate(torch.split(x, splits))
    ]
    return {"grouped linear": _difference(grouped(x, splits), torch.cat(parts))}


def _scans() -> Figures:
    """The recurrences against what they are in closed form: a sum over all earlier steps."""
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule
    from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

    steps, heads = 6, 2
    x, dt = torch.randn(1, steps, heads, 3), torch.rand(1, steps, heads)
    A, B, C = -torch.rand(heads), torch.randn(1, steps, 1, 4), torch.randn(1, steps, 1, 4)
    scanned = mamba_chunk_scan_combined(x, dt, A, B, C, chunk_size=steps)
    decay = torch.cumsum(dt * A, 1)
    kernel = torch.zeros(1, steps, steps, heads)
    for i in range(steps):
        for j in range(i + 1):
            kernel[:, i, j] = torch.exp(decay[:, i] - decay[:, j]) * (C[:, i, 0] * B[:, j, 0]).sum(-1, keepdim=True)
    closed = torch.einsum("bijh,bjhp->bihp", kernel, x * dt[..., None])
    q, k, v = (torch.randn(1, steps, heads, 5) for _ in range(3))
    decays, writes = -torch.rand(1, steps, heads), torch.zeros(1, steps, heads)
    writes[:, 0] = 1.0  # one write: its reading decays and nothing else happens
    out, _ = chunk_gated_delta_rule(q, k, v, decays, writes, scale=1.0)
    after = decays[:, 1:].cumsum(1).exp()[..., None] * v[:, :1]
    read = (q[:, 1:] * k[:, :1]).sum(-1, keepdim=True) * after
    return {"state space scan": _difference(scanned, closed), "gated delta rule": _difference(out[:, 1:], read)}


def _gradients() -> Figures:
    x = torch.randn(5, 2, 12, requires_grad=True)
    fused, norm = te.LayerNormLinear(12, 20, normalization="RMSNorm", bias=False), nn.RMSNorm(12, eps=1e-5)
    (ours,) = torch.autograd.grad(fused(x).square().sum(), x)
    (theirs,) = torch.autograd.grad(nn.functional.linear(norm(x), fused.weight).square().sum(), x)
    return {"gradient of norm with linear": _difference(ours, theirs)}


def _names() -> Figures:
    """Parameter names are the library's; 0.0 when they are, 1.0 when not."""
    expected = {
        "Linear": {"weight", "bias"},
        "LayerNormLinear": {"layer_norm_weight", "layer_norm_bias", "weight", "bias"},
    }
    return {
        f"names of {kind}": float({name for name, _ in getattr(te, kind)(4, 6).named_parameters()} != names)
        for kind, names in expected.items()
    }
