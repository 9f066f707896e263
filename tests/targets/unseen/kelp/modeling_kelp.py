"""A width of 8/3 of the stream rounded up to a multiple, rows of gate and up in turn, positions stretched by code."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class KelpConfig(PretrainedConfig):
    model_type = "kelp"

    def __init__(
        self, n_fronds=6, frond=384, holdfasts=8, holdfasts_kv=8, mult=64, brine=800, depth_limit=512, eps=1e-5,
        current=10000.0, drift=None, **kwargs,
    ):  # fmt: skip
        self.n_fronds, self.frond, self.holdfasts, self.holdfasts_kv = n_fronds, frond, holdfasts, holdfasts_kv
        self.mult, self.brine, self.depth_limit, self.eps, self.current = mult, brine, depth_limit, eps, current
        self.drift = drift or {"kind": "slow", "strength": 4.0}
        super().__init__(**kwargs)


def sway(x, base, stretch):
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[2])[:, None] / stretch * base ** (-torch.arange(half) / half)[None]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Frond(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.h, self.g, self.base = config.holdfasts, config.holdfasts_kv, config.current
        self.stretch = config.drift["strength"]
        self.hd = config.frond // config.holdfasts
        inner = config.mult * ((int(2 * 4 * config.frond / 3) + config.mult - 1) // config.mult)
        self.wq = nn.Linear(config.frond, config.frond, bias=False)
        self.wk = nn.Linear(config.frond, self.g * self.hd, bias=False)
        self.wv = nn.Linear(config.frond, self.g * self.hd, bias=False)
        self.wo = nn.Linear(config.frond, config.frond, bias=False)
        self.attention_norm, self.ffn_norm = (nn.RMSNorm(config.frond, config.eps) for _ in range(2))
        self.w12 = nn.Linear(config.frond, 2 * inner, bias=False)
        self.w3 = nn.Linear(inner, config.frond, bias=False)

    def forward(self, x):
        b, s, _ = x.shape
        y = self.attention_norm(x)
        q, k, v = (one(y).view(b, s, -1, self.hd).transpose(1, 2) for one in (self.wq, self.wk, self.wv))
        q, k = sway(q, self.base, self.stretch), sway(k, self.base, self.stretch)
        k, v = (one.repeat_interleave(self.h // self.g, 1) for one in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.wo(mixed.transpose(1, 2).reshape(b, s, -1))
        both = self.w12(self.ffn_norm(x)).unflatten(-1, (-1, 2))
        return x + self.w3(F.silu(both[..., 0]) * both[..., 1])


class KelpLMHeadModel(PreTrainedModel):
    config_class = KelpConfig

    def __init__(self, config):
        super().__init__(config)
        self.tok_embeddings = nn.Embedding(config.brine, config.frond)
        self.layers = nn.ModuleList(Frond(config) for _ in range(config.n_fronds))
        self.norm = nn.RMSNorm(config.frond, config.eps)
        self.output = nn.Linear(config.frond, config.brine, bias=False)
        self.post_init()

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        x = self.tok_embeddings(input_ids)
        for layer in self.layers:
            x = layer(x)
        return CausalLMOutputWithPast(logits=self.output(self.norm(x)))
