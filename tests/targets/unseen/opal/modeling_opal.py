"""Two bases of rotation, three windowed layers and one that sees all in turn by code; scores and logits are bent."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class OpalConfig(PretrainedConfig):
    model_type = "opal"

    def __init__(self, **kwargs):
        defaults = {
            "facets": 8, "lustre": 384, "rays": 8, "ray_groups": 2, "ray_width": 40, "body": 1000, "hues": 900,
            "far_end": 1024, "haze": 1e-6, "spectrum_near": 9000.0, "spectrum_far": 400000.0, "near_span": 100,
            "beam": 30.0, "glow": 50.0,
        }  # fmt: skip
        for key, value in defaults.items():
            setattr(self, key, kwargs.pop(key, value))
        super().__init__(**kwargs)


class Polish(nn.Module):
    def __init__(self, width, haze):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))
        self.haze = haze

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.haze) * (self.scale + 1.0)


def refract(x, base):
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[2])[:, None] * base ** (-torch.arange(half) / half)[None]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Facet(nn.Module):
    def __init__(self, config, number):
        super().__init__()
        d, self.h, self.g, self.hd = config.lustre, config.rays, config.ray_groups, config.ray_width
        self.number, self.config = number, config
        self.groups_of_rays = nn.Linear(d, self.g * (self.h // self.g + 2) * self.hd, bias=True)
        self.join = nn.Linear(self.h * self.hd, d, bias=True)
        self.before, self.after = Polish(d, config.haze), Polish(d, config.haze)
        self.up, self.gate = nn.Linear(d, config.body, bias=False), nn.Linear(d, config.body, bias=False)
        self.down = nn.Linear(config.body, d, bias=False)

    def forward(self, x):
        b, s, _ = x.shape
        far = self.number % 4 == 3
        base = self.config.spectrum_far if far else self.config.spectrum_near
        rays = self.groups_of_rays(self.before(x)).view(b, s, self.g, -1, self.hd)
        k, v, q = rays[:, :, :, 0], rays[:, :, :, 1], rays[:, :, :, 2:].reshape(b, s, self.h, self.hd)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        q, k = refract(q, base), refract(k, base)
        k, v = (one.repeat_interleave(self.h // self.g, 1) for one in (k, v))
        scores = q @ k.transpose(-1, -2) / self.hd**0.5
        scores = self.config.glow * torch.tanh(scores / self.config.glow)
        back = torch.arange(s)[:, None] - torch.arange(s)[None]
        hidden = (back < 0) if far else (back < 0) | (back >= self.config.near_span)
        mixed = scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v
        x = x + self.join(mixed.transpose(1, 2).reshape(b, s, -1))
        y = self.after(x)
        return x + self.down(self.up(y) * F.gelu(self.gate(y)))


class OpalForCausalLM(PreTrainedModel):
    config_class = OpalConfig

    def __init__(self, config):
        super().__init__(config)
        self.hue = nn.Embedding(config.hues, config.lustre)
        self.facets = nn.ModuleList(Facet(config, number) for number in range(config.facets))
        self.shine = Polish(config.lustre, config.haze)
        self.face = nn.Linear(config.lustre, config.hues, bias=False)
        self.post_init()

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        x = self.hue(input_ids)
        for facet in self.facets:
            x = facet(x)
        logits = self.face(self.shine(x))
        return CausalLMOutputWithPast(logits=torch.tanh(logits / self.config.beam) * self.config.beam)
