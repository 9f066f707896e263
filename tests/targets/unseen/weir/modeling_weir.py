"""Matrices stored [in, out], up before gate in one matrix, norms on heads and after sublayers, a list of windows."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_weir import WeirConfig


class Sieve(nn.Module):
    def __init__(self, width, silt):
        super().__init__()
        self.mesh = nn.Parameter(torch.ones(width))
        self.silt = silt

    def forward(self, x):
        return self.mesh * (x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.silt))


class Sluice(nn.Module):
    def __init__(self, inner, outer):
        super().__init__()
        self.bed = nn.Parameter(torch.empty(inner, outer))

    def forward(self, x):
        return x @ self.bed


def eddy(x, base):
    length, half = x.shape[2], x.shape[-1] // 2
    angle = torch.arange(length)[:, None] * base ** (-torch.arange(half) / half)[None, :]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    low, high = x.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


class Channel(nn.Module):
    def __init__(self, config, kind):
        super().__init__()
        self.heads, self.groups, self.dim = config.gates, config.kv_gates, config.gate_width
        self.base, self.near = config.eddy_base, config.near_by if kind == "near" else None
        self.a = Sluice(config.depth_of_stream, self.heads * self.dim)
        self.b = Sluice(config.depth_of_stream, self.groups * self.dim)
        self.c = Sluice(config.depth_of_stream, self.groups * self.dim)
        self.z = Sluice(self.heads * self.dim, config.depth_of_stream)
        self.sieve_a, self.sieve_b = Sieve(self.dim, config.silt), Sieve(self.dim, config.silt)

    def forward(self, x):
        batch, length, _ = x.shape
        q = self.sieve_a(self.a(x).view(batch, length, self.heads, self.dim)).transpose(1, 2)
        k = self.sieve_b(self.b(x).view(batch, length, self.groups, self.dim)).transpose(1, 2)
        v = self.c(x).view(batch, length, self.groups, self.dim).transpose(1, 2)
        q, k = eddy(q, self.base), eddy(k, self.base)
        k, v = (one.repeat_interleave(self.heads // self.groups, dim=1) for one in (k, v))
        back = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        seen = (back >= 0) & (back < (self.near or length))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.z(mixed.transpose(1, 2).reshape(batch, length, -1))


class Turbine(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.both = Sluice(config.depth_of_stream, 2 * config.spill)
        self.out = Sluice(config.spill, config.depth_of_stream)

    def forward(self, x):
        up, gate = self.both(x).chunk(2, dim=-1)
        return self.out(up * F.silu(gate))


class Pool(nn.Module):
    def __init__(self, config, kind):
        super().__init__()
        self.channel, self.turbine = Channel(config, kind), Turbine(config)
        names = ("before_channel", "after_channel", "before_turbine", "after_turbine")
        self.sieves = nn.ModuleDict({name: Sieve(config.depth_of_stream, config.silt) for name in names})

    def forward(self, x):
        x = x + self.sieves["after_channel"](self.channel(self.sieves["before_channel"](x)))
        return x + self.sieves["after_turbine"](self.turbine(self.sieves["before_turbine"](x)))


class WeirForCausalLM(PreTrainedModel):
    config_class = WeirConfig

    def __init__(self, config):
        super().__init__(config)
        self.spring = nn.Embedding(config.droplets, config.depth_of_stream)
        self.pools = nn.ModuleList(Pool(config, kind) for kind in config.flow[: config.n_pools])
        self.last_sieve = Sieve(config.depth_of_stream, config.silt)
        self.mouth = nn.Linear(config.depth_of_stream, config.droplets, bias=False)
        self.clarity = config.clarity
        self.post_init()

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        x = self.spring(input_ids)
        for pool in self.pools:
            x = pool(x)
        return CausalLMOutputWithPast(logits=self.mouth(self.last_sieve(x)) * self.clarity)
