"""No rotation in every third layer and a window in the others, decided by code; sandwich norms, norms on heads."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class TundraConfig(PretrainedConfig):
    model_type = "tundra"

    def __init__(
        self, strata=7, span_of_herd=320, eyes=8, shared_eyes=4, eye_span=48, stomach=900, tracks=700, season=2048,
        frost=1e-5, migration=25000.0, sight=80, echo=0.125, **kwargs,
    ):  # fmt: skip
        self.strata, self.span_of_herd, self.eyes, self.shared_eyes = strata, span_of_herd, eyes, shared_eyes
        self.eye_span, self.stomach, self.tracks, self.season = eye_span, stomach, tracks, season
        self.frost, self.migration, self.sight, self.echo = frost, migration, sight, echo
        super().__init__(**kwargs)


class Smooth(nn.Module):
    def __init__(self, width, frost):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))
        self.frost = frost

    def forward(self, x):
        return (x.float() / (x.float().square().mean(-1, keepdim=True) + self.frost).sqrt()).to(x.dtype) * (
            1 + self.scale
        )


def wander(x, base):
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[2])[:, None] * base ** (-torch.arange(half) / half)[None]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Stratum(nn.Module):
    def __init__(self, config, index):
        super().__init__()
        d, self.h, self.g, self.hd = config.span_of_herd, config.eyes, config.shared_eyes, config.eye_span
        everywhere = index % 3 == 2
        self.base, self.sight = (None, None) if everywhere else (config.migration, config.sight)
        self.echo = config.echo
        self.look = nn.Linear(d, self.h * self.hd, bias=False)
        self.seen = nn.Linear(d, 2 * self.g * self.hd, bias=False)
        self.tell = nn.Linear(self.h * self.hd, d, bias=False)
        self.smooth_look, self.smooth_seen = Smooth(self.hd, config.frost), Smooth(self.hd, config.frost)
        self.graze = nn.Linear(d, config.stomach, bias=False)
        self.chew = nn.Linear(d, config.stomach, bias=False)
        self.digest = nn.Linear(config.stomach, d, bias=False)
        self.snow = nn.ModuleList(Smooth(d, config.frost) for _ in range(4))

    def attend(self, x):
        b, s, _ = x.shape
        q = self.look(x).view(b, s, self.h, self.hd)
        k, v = self.seen(x).view(b, s, 2, self.g, self.hd).unbind(2)
        q, k = self.smooth_look(q).transpose(1, 2), self.smooth_seen(k).transpose(1, 2)
        v = v.transpose(1, 2)
        if self.base is not None:
            q, k = wander(q, self.base), wander(k, self.base)
        k, v = (one.repeat_interleave(self.h // self.g, 1) for one in (k, v))
        back = torch.arange(s)[:, None] - torch.arange(s)[None]
        hidden = (back < 0) | (back >= (self.sight or s))
        scores = (q @ k.transpose(-1, -2) * self.echo).masked_fill(hidden, float("-inf"))
        return self.tell((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, s, -1))

    def forward(self, x):
        x = x + self.snow[1](self.attend(self.snow[0](x)))
        y = self.snow[2](x)
        return x + self.snow[3](self.digest(F.gelu(self.graze(y), approximate="tanh") * self.chew(y)))


class TundraForCausalLM(PreTrainedModel):
    config_class = TundraConfig
    _tied_weights_keys = {"call.weight": "ground.weight"}  # noqa: RUF012

    def __init__(self, config):
        super().__init__(config)
        self.ground = nn.Embedding(config.tracks, config.span_of_herd)
        self.strata = nn.ModuleList(Stratum(config, index) for index in range(config.strata))
        self.sky = Smooth(config.span_of_herd, config.frost)
        self.call = nn.Linear(config.span_of_herd, config.tracks, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.ground

    def get_output_embeddings(self):
        return self.call

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        x = self.ground(input_ids) * self.config.span_of_herd**0.5
        for stratum in self.strata:
            x = stratum(x)
        return CausalLMOutputWithPast(logits=self.call(self.sky(x)))
