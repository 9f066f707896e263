"""Scaled dot-product attention, computed plainly.

Grouped queries, value dims other than key dims (MLA), causal, padding and arbitrary masks, sliding windows, the three
softmax types ("vanilla", "off-by-one", "learnable": a sink logit a head), a bias after scaling, packed sequences.
With context parallelism every rank gathers all keys and values: what the library gives, in none of its ways.
"""

import math

import torch

from .context_parallel import own_places, whole_sequence


class DotProductAttention(torch.nn.Module):
    def __init__(
        self,
        num_attention_heads,
        kv_channels,
        num_gqa_groups=None,
        attention_dropout=0.0,
        qkv_format="sbhd",
        attn_mask_type="causal",
        window_size=None,
        sequence_parallel=False,
        tp_size=1,
        get_rng_state_tracker=None,
        tp_group=None,
        layer_number=None,
        attention_type="self",
        cp_group=None,
        cp_global_ranks=None,
        cp_stream=None,
        cp_comm_type="p2p",
        softmax_scale=None,
        softmax_type="vanilla",
        return_max_logit=False,
        **kwargs,
    ):
        super().__init__()
        if softmax_type not in ("vanilla", "off-by-one", "learnable"):
            raise ValueError(f"no such softmax_type: {softmax_type}")
        self.set_context_parallel_group(cp_group)
        self.tp_size = tp_size if tp_group is None else torch.distributed.get_world_size(tp_group)
        self.num_attention_heads = num_attention_heads
        self.num_gqa_groups = num_gqa_groups or num_attention_heads
        key_dim = kv_channels if isinstance(kv_channels, int) else kv_channels[0]
        self.softmax_scale = softmax_scale if softmax_scale is not None else 1.0 / math.sqrt(key_dim)
        self.attn_mask_type = attn_mask_type
        self.window_size = window_size
        self.qkv_format = qkv_format
        self.attention_dropout = attention_dropout
        self.softmax_type = softmax_type
        self.layer_number = layer_number
        self.return_max_logit = return_max_logit
        self.cp_comm_type = cp_comm_type
        self.softmax_offset = None
        if softmax_type == "learnable":
            self.softmax_offset = torch.nn.Parameter(torch.zeros(num_attention_heads // self.tp_size))

    def set_context_parallel_group(self, cp_group, *args):
        if isinstance(cp_group, list):
            raise NotImplementedError("the stand-in has no hierarchy of context parallel groups")
        many = cp_group is not None and torch.distributed.get_world_size(cp_group) > 1
        self.cp_group = cp_group if many else None

    def forward(
        self,
        query_layer,
        key_layer,
        value_layer,
        attention_mask=None,
        qkv_format=None,
        cu_seqlens_q=None,
        cu_seqlens_kv=None,
        attn_mask_type=None,
        window_size=None,
        core_attention_bias_type="no_bias",
        core_attention_bias=None,
        **kwargs,
    ):
        """Output [sequence, batch, heads * value dim] for `sbhd`, batch first for `bshd`, [tokens, ...] for `thd`."""
        layout = qkv_format or self.qkv_format
        if core_attention_bias_type not in ("no_bias", "post_scale_bias"):
            raise NotImplementedError(f"core_attention_bias_type {core_attention_bias_type}")
        rest = {
            "mask_type": attn_mask_type or self.attn_mask_type,
            "window": window_size if window_size is not None else self.window_size,
            "bias": core_attention_bias,
        }
        tensors = (query_layer, key_layer, value_layer)
        if self.cp_group is not None and (layout == "thd" or "causal" not in rest["mask_type"]):
            raise NotImplementedError("the stand-in's context parallelism is for whole causal sequences")
        if layout == "thd":
            out, largest = self._packed(*tensors, cu_seqlens_q.tolist(), cu_seqlens_kv.tolist(), rest)
        elif layout == "sbhd":
            out, largest = self._attend(*(tensor.transpose(0, 1) for tensor in tensors), attention_mask, **rest)
            out = out.transpose(0, 1).contiguous()
        else:
            out, largest = self._attend(*tensors, attention_mask, **rest)
        return (out, largest) if self.return_max_logit else out

    def _packed(self, query, key, value, query_ends, key_ends, rest):
        """Each packed sequence on its own; the first axis is tokens."""
        outs, largest = [], None
        for q0, q1, k0, k1 in zip(query_ends[:-1], query_ends[1:], key_ends[:-1], key_ends[1:], strict=True):
            out, most = self._attend(query[None, q0:q1], key[None, k0:k1], value[None, k0:k1], None, **rest)
            outs.append(out[0])
            largest = most if largest is None else torch.maximum(largest, most)
        return torch.cat(outs, 0), largest

    def _attend(self, query, key, value, mask, *, mask_type, window, bias):
        """Shapes [batch, sequence, heads, dim]; returns [batch, sequence, heads * value dim] and the largest score."""
        batch, rows, heads, _ = query.shape
        places = torch.arange(rows)
        if self.cp_group is not None:
            places = own_places(rows, self.cp_group)
            key, value = whole_sequence(key, self.cp_group), whole_sequence(value, self.cp_group)
        repeat = heads // key.shape[2]
        key, value = key.repeat_interleave(repeat, 2), value.repeat_interleave(repeat, 2)
        wide = torch.promote_types(query.dtype, torch.float32)
        scores = torch.einsum("bqhd,bkhd->bhqk", query, key).to(wide) * self.softmax_scale
        if bias is not None:
            scores = scores + bias.to(wide)
        scores = scores.masked_fill(hidden_positions(places, key.shape[1], mask_type, window), float("-inf"))
        if mask is not None and ("padding" in mask_type or mask_type == "arbitrary"):
            scores = scores.masked_fill(mask.bool(), float("-inf"))
        if self.softmax_type == "vanilla":
            shares = torch.softmax(scores, -1)
        else:
            sink = scores.new_zeros(heads) if self.softmax_offset is None else self.softmax_offset.to(wide)
            column = sink.view(1, heads, 1, 1).expand(batch, heads, rows, 1)
            shares = torch.softmax(torch.cat([scores, column], -1), -1)[..., :-1]
        if self.training and self.attention_dropout:
            shares = torch.dropout(shares, self.attention_dropout, True)
        out = torch.einsum("bhqk,bkhd->bqhd", shares.to(value.dtype), value)
        return out.reshape(batch, rows, -1), scores.amax((0, 2, 3))


def hidden_positions(places, columns, mask_type, window):
    """Boolean [queries, columns], true where a query must not look.

    `places` are positions of the queries. `window` is (left, right), both inclusive, -1 for no bound; a causal mask
    hides what comes after in any case.
    """
    query = places[:, None]
    key = torch.arange(columns)[None]
    if mask_type.endswith("bottom_right"):
        query = query + (columns - len(places))
    hidden = torch.zeros(len(places), columns, dtype=torch.bool)
    if "causal" in mask_type:
        hidden |= key > query
    if window is not None:
        left, right = window
        if left is not None and left >= 0:
            hidden |= key < query - left
        if right is not None and right >= 0:
            hidden |= key > query + right
    return hidden


class MultiheadAttention(torch.nn.Module):
    def __init__(self, *args, **kwargs):
        raise NotImplementedError("te.pytorch.MultiheadAttention: the stand-in has the core attention alone")
