"""Llama, but for one thing: what attention puts out is multiplied by 1 + sin(swell), one learnt number a channel."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_tide import TideConfig


class TideNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def rotate(x, base):
    length, half = x.shape[2], x.shape[-1] // 2
    angle = torch.arange(length)[:, None] * base ** (-torch.arange(half) / half)[None, :]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    low, high = x[..., :half], x[..., half:]
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


class TideAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.groups = config.num_attention_heads, config.num_key_value_heads
        self.dim, self.base = config.hidden_size // config.num_attention_heads, config.rope_theta
        self.q_proj = nn.Linear(config.hidden_size, self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, self.groups * self.dim, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, self.groups * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, config.hidden_size, bias=False)
        self.swell = nn.Parameter(torch.zeros(config.hidden_size))

    def forward(self, x):
        b, s, _ = x.shape
        q, k, v = (p(x).view(b, s, -1, self.dim).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, self.base), rotate(k, self.base)
        k, v = (t.repeat_interleave(self.heads // self.groups, dim=1) for t in (k, v))
        scores = q @ k.transpose(2, 3) * self.dim**-0.5
        scores = scores + torch.full((s, s), float("-inf")).triu(1).to(scores.dtype)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, s, -1)
        return self.o_proj(mixed) * (1 + self.swell.sin())


class TideMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class TideLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.input_layernorm = TideNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = TideNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn, self.mlp = TideAttention(config), TideMLP(config)

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class TideForCausalLM(PreTrainedModel):
    config_class = TideConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(TideLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = TideNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        x = self.embed_tokens(input_ids)
        for layer in self.layers:
            x = layer(x)
        return CausalLMOutputWithPast(logits=self.lm_head(self.norm(x)))
