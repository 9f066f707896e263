"""Stacked experts [E, out, in] in three tensors, two shared ones in one, groups packed v, k, q; factors everywhere."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class CometConfig(PretrainedConfig):
    model_type = "comet"

    def __init__(self, **kwargs):
        defaults = {
            "orbits": 6, "mass": 384, "tails": 8, "tails_kv": 2, "tail_length": 64, "coma": 3, "moons": 8,
            "moon_mass": 128, "pairs": 2, "shared_moons": 2, "ice": 600, "year": 2048, "dusty": 1e-5,
            "spin_rate": 60000.0, "perihelion": 1, "gain_in": 2.0, "gain_out": 0.5, "gain_side": 0.8, "normed": False,
        }  # fmt: skip
        for key, value in defaults.items():
            setattr(self, key, kwargs.pop(key, value))
        super().__init__(**kwargs)


def spin(x, base):
    dims = x.shape[-1]
    angle = torch.arange(x.shape[1])[:, None] * base ** (-torch.arange(0, dims, 2) / dims)[None]
    cos, sin = (one.repeat_interleave(2, -1)[None, :, None].to(x.dtype) for one in (angle.cos(), angle.sin()))
    turned = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
    return x * cos + turned * sin


class Tail(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.h, self.g, self.hd, self.base = config.tails, config.tails_kv, config.tail_length, config.spin_rate
        self.vkq = nn.Linear(config.mass, (self.h + 2 * self.g) * self.hd, bias=False)
        self.dust = nn.Linear(self.h * self.hd, config.mass, bias=False)

    def forward(self, x):
        b, s, _ = x.shape
        rows = self.vkq(x).view(b, s, self.g, 2 + self.h // self.g, self.hd)
        v, k, q = rows[..., 0, :], rows[..., 1, :], rows[..., 2:, :].flatten(2, 3)
        q, k = spin(q, self.base), spin(k, self.base)
        q, k, v = (one.transpose(1, 2) for one in (q, k, v))
        k, v = (one.repeat_interleave(self.h // self.g, 1) for one in (k, v))
        return self.dust(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, s, -1))


class Moons(nn.Module):
    def __init__(self, config):
        super().__init__()
        e, f, d = config.moons, config.moon_mass, config.mass
        self.pairs, self.normed = config.pairs, config.normed
        self.pull = nn.Parameter(torch.empty(e, d))
        self.near, self.far = nn.Parameter(torch.empty(e, f, d)), nn.Parameter(torch.empty(e, f, d))
        self.back = nn.Parameter(torch.empty(e, d, f))
        self.planet_in = nn.Linear(d, 2 * config.shared_moons * f, bias=False)
        self.planet_out = nn.Linear(config.shared_moons * f, d, bias=False)

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        odds = F.linear(flat, self.pull).softmax(-1, dtype=torch.float32)
        weight, chosen = odds.topk(self.pairs, -1)
        weight = (weight / weight.sum(-1, keepdim=True) if self.normed else weight).to(x.dtype)
        out = torch.zeros_like(flat)
        for moon in range(self.pull.shape[0]):
            rows, place = torch.where(chosen == moon)
            one = flat[rows]
            inner = F.silu(one @ self.near[moon].t()) * (one @ self.far[moon].t())
            out.index_add_(0, rows, inner @ self.back[moon].t() * weight[rows, place, None])
        left, right = self.planet_in(flat).chunk(2, -1)
        return (out + self.planet_out(left * F.silu(right))).view_as(x)


class Orbit(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.hot, self.cold = nn.RMSNorm(config.mass, config.dusty), nn.RMSNorm(config.mass, config.dusty)
        self.tail, self.moons, self.side = Tail(config), Moons(config), config.gain_side

    def forward(self, x):
        x = x + self.tail(self.hot(x)) * self.side
        return x + self.moons(self.cold(x)) * self.side


class CometForCausalLM(PreTrainedModel):
    config_class = CometConfig

    def __init__(self, config):
        super().__init__(config)
        self.stars = nn.Embedding(config.ice, config.mass)
        self.orbits = nn.ModuleList(Orbit(config) for _ in range(config.orbits))
        self.dawn = nn.RMSNorm(config.mass, config.dusty)
        self.sight = nn.Linear(config.mass, config.ice, bias=False)
        self.post_init()

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        x = self.stars(input_ids) * self.config.gain_in
        for orbit in self.orbits:
            x = orbit(x)
        return CausalLMOutputWithPast(logits=self.sight(self.dawn(x)) * self.config.gain_out)
