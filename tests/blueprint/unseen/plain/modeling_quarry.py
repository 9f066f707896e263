"""A decoder with strange names: fused kv-first projection, interleaved rotation, gains, a window, einsum attention."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_quarry import QuarryConfig


class Scale(nn.Module):
    def __init__(self, width, fuzz):
        super().__init__()
        self.g = nn.Parameter(torch.zeros(width))
        self.fuzz = fuzz

    def forward(self, x):
        return x / torch.sqrt(x.square().mean(-1, keepdim=True) + self.fuzz) * (self.g + 1)


def spin(x, base):
    length, dim = x.shape[1], x.shape[-1]
    rate = base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * rate[None, :]
    cos, sin = angle.cos()[None, :, None, :].to(x.dtype), angle.sin()[None, :, None, :].to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Mix(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.h, self.g = config.q_heads, config.kv_heads
        self.d = config.width // config.q_heads
        self.base, self.near = config.wave_base, config.near_only
        self.wqkv = nn.Linear(config.width, (self.h + 2 * self.g) * self.d, bias=True)
        self.wo = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x):
        b, s, _ = x.shape
        parts = self.wqkv(x).view(b, s, self.g, self.h // self.g + 2, self.d)
        q, k, v = parts[:, :, :, :-2].reshape(b, s, self.h, self.d), parts[:, :, :, -2], parts[:, :, :, -1]
        q, k = spin(q, self.base) / math.sqrt(self.d), spin(k, self.base)
        k, v = (t.repeat_interleave(self.h // self.g, dim=2) for t in (k, v))
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k)
        back = torch.arange(s)[:, None] - torch.arange(s)[None, :]
        scores = scores.masked_fill(~((back >= 0) & (back < self.near)), float("-inf"))
        mixed = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v)
        return self.wo(mixed.reshape(b, s, -1))


class Ff(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.w1 = nn.Linear(config.width, config.ff_mult_width, bias=False)
        self.w3 = nn.Linear(config.width, config.ff_mult_width, bias=False)
        self.w2 = nn.Linear(config.ff_mult_width, config.width, bias=False)

    def forward(self, x):
        return self.w2(self.w3(x) * F.silu(self.w1(x)))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.n1, self.n2 = Scale(config.width, config.norm_fuzz), Scale(config.width, config.norm_fuzz)
        self.mix, self.ff = Mix(config), Ff(config)
        self.gain = config.branch_gain

    def forward(self, x):
        x = x + self.gain * self.mix(self.n1(x))
        return x + self.gain * self.ff(self.n2(x))


class Backbone(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.words = nn.Embedding(config.n_words, config.width)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_blocks))
        self.last = Scale(config.width, config.norm_fuzz)
        self.emb_gain = config.emb_gain

    def forward(self, ids):
        x = self.words(ids) * self.emb_gain
        for block in self.h:
            x = block(x)
        return self.last(x)


class QuarryForCausalLM(PreTrainedModel):
    config_class = QuarryConfig

    def __init__(self, config):
        super().__init__(config)
        self.backbone = Backbone(config)
        self.speak = nn.Linear(config.width, config.n_words, bias=False)
        self.post_init()

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        return CausalLMOutputWithPast(logits=self.speak(self.backbone(input_ids)))
