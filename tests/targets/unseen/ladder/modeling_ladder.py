"""Fused rows by head with the values first, an `nn.Sequential` for an MLP, a scaled residual, halves that rotate."""

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_ladder import LadderConfig


class Level(nn.Module):
    def __init__(self, breadth, fuzz):
        super().__init__()
        self.tilt = nn.Parameter(torch.ones(breadth))
        self.lift = nn.Parameter(torch.zeros(breadth))
        self.fuzz = fuzz

    def forward(self, x):
        centred = x - x.mean(-1, keepdim=True)
        return centred * torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + self.fuzz) * self.tilt + self.lift


def turn(x, base):
    length, half = x.shape[2], x.shape[-1] // 2
    angle = torch.arange(length)[:, None] * base ** (-torch.arange(half) / half)[None, :]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    low, high = x[..., :half], x[..., half:]
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


class Look(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.spokes, self.base = config.spokes, config.spin_base
        self.vqk = nn.Linear(config.breadth, 3 * config.breadth)
        self.back = nn.Linear(config.breadth, config.breadth)

    def forward(self, x):
        b, s, width = x.shape
        v, q, k = self.vqk(x).view(b, s, self.spokes, 3, -1).permute(3, 0, 2, 1, 4)
        scores = turn(q, self.base) @ turn(k, self.base).transpose(2, 3) * q.shape[-1] ** -0.5
        scores = scores + torch.full((s, s), float("-inf")).triu(1).to(scores.dtype)
        return self.back((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, s, width))


class Rung(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.level_look, self.level_push = (Level(config.breadth, config.fuzz) for _ in range(2))
        self.look = Look(config)
        self.push = nn.Sequential(
            nn.Linear(config.breadth, config.swell), nn.GELU(), nn.Linear(config.swell, config.breadth)
        )
        self.damp = config.damp

    def forward(self, x):
        x = x + self.damp * self.look(self.level_look(x))
        return x + self.damp * self.push(self.level_push(x))


class LadderForCausalLM(PreTrainedModel):
    config_class = LadderConfig

    def __init__(self, config):
        super().__init__(config)
        self.entry = nn.Embedding(config.lexicon, config.breadth)
        self.climb = nn.ModuleList(Rung(config) for _ in range(config.rungs))
        self.top = Level(config.breadth, config.fuzz)
        self.voice = nn.Linear(config.breadth, config.lexicon, bias=False)
        self.post_init()

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        x = self.entry(input_ids)
        for rung in self.climb:
            x = rung(x)
        return CausalLMOutputWithPast(logits=self.voice(self.top(x)))
