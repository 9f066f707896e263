"""Converter operations of Heron for layouts that mcore_adapter has none for."""

from dataclasses import dataclass

import torch

from mcore_adapter.models.converter.convert_utils import StackedTensors
from mcore_adapter.models.converter.template import ConverOp


@dataclass
class FusedQKVConverOp(ConverOp):
    """One Hugging Face tensor with queries, keys and values, and linear_qkv.

    The rows are those of q, k, v, one after the other.
    """

    def _hf_to_mca(self, weights):
        fused = weights[0]
        heads, groups = self.mca_config.num_attention_heads, self.mca_config.num_query_groups
        blocks = 1
        counts = {"q": heads // blocks, "k": groups // blocks, "v": groups // blocks}
        order = ["q", "k", "v"]
        rows = fused.reshape(blocks, (heads + 2 * groups) // blocks, self.mca_config.kv_channels, *fused.shape[1:])
        pieces = dict(zip(order, rows.split([counts[name] for name in order], dim=1)))
        parts = [pieces[name].reshape(groups, -1, *fused.shape[1:]) for name in ("q", "k", "v")]
        return torch.cat(parts, dim=1).flatten(0, 1).contiguous()

    def _mca_to_hf(self, weights):
        fused = weights[0]
        heads, groups = self.mca_config.num_attention_heads, self.mca_config.num_query_groups
        blocks = 1
        rows = fused.reshape(groups, heads // groups + 2, self.mca_config.kv_channels, *fused.shape[1:])
        pieces = dict(zip(("q", "k", "v"), rows.split([heads // groups, 1, 1], dim=1)))
        parts = [pieces[name].reshape(blocks, -1, *fused.shape[1:]) for name in ["q", "k", "v"]]
        rows = torch.cat(parts, dim=1).flatten(0, 1)
        return [rows.contiguous()]


@dataclass
class FusedGateUpConverOp(ConverOp):
    """One Hugging Face tensor with gate and up, and the two halves of linear_fc1.

    The first half are the rows of gate.
    """

    def _hf_to_mca(self, weights):
        fused = weights[0]
        halves = fused.chunk(2, dim=0)
        return StackedTensors(tensors=[half.contiguous() for half in halves], dim=0)

    def _mca_to_hf(self, weights):
        halves = weights[0].tensors
        fused = torch.cat(list(halves), dim=0)
        return [fused.contiguous()]
