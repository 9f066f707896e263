"""A parallel decoder: one LayerNorm for attention and MLP, partial rotation, sdpa, capped logits, tied head."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .harbor_config import HarborConfig


def turn(x, base, dims):
    rate = base ** (-torch.arange(0, dims, 2, dtype=torch.float64) / dims)
    angle = torch.arange(x.shape[-2], dtype=torch.float64)[:, None] * rate
    cos, sin = torch.cat([angle, angle], -1).cos().to(x.dtype), torch.cat([angle, angle], -1).sin().to(x.dtype)
    moved, kept = x[..., :dims], x[..., dims:]
    half = torch.cat([-moved[..., dims // 2 :], moved[..., : dims // 2]], -1)
    return torch.cat([moved * cos + half * sin, kept], -1)


class Berth(nn.Module):
    def __init__(self, config, index):
        super().__init__()
        self.n, self.hd, self.base = config.n_att, config.hd, config.theta_
        self.dims = int(config.hd * config.turn_share)
        self.reach = config.reach if config.every_other[index] == "near" else None
        self.pier = nn.LayerNorm(config.d, eps=config.tiny)
        self.ask, self.tell, self.say = (nn.Linear(config.d, self.n * self.hd, bias=config.shift) for _ in range(3))
        self.back = nn.Linear(self.n * self.hd, config.d, bias=config.shift)
        self.out, self.home = nn.Linear(config.d, config.inner), nn.Linear(config.inner, config.d)

    def forward(self, x):
        b, s, _ = x.shape
        y = self.pier(x)
        q, k, v = (one(y).view(b, s, self.n, self.hd).transpose(1, 2) for one in (self.ask, self.tell, self.say))
        q, k = turn(q, self.base, self.dims), turn(k, self.base, self.dims)
        gap = torch.arange(s)[:, None] - torch.arange(s)[None]
        seen = (gap >= 0) if self.reach is None else (gap >= 0) & (gap < self.reach)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).reshape(b, s, -1)
        return x + self.back(mixed) + self.home(F.gelu(self.out(y), approximate="tanh"))


class HarborLM(PreTrainedModel):
    config_class = HarborConfig
    _tied_weights_keys = {"front.weight": "sea.weight"}  # noqa: RUF012

    def __init__(self, config):
        super().__init__(config)
        self.sea = nn.Embedding(config.tokens_, config.d)
        self.berths = nn.ModuleList(Berth(config, index) for index in range(config.depth_))
        self.lighthouse = nn.LayerNorm(config.d, eps=config.tiny)
        self.front = nn.Linear(config.d, config.tokens_, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.sea

    def get_output_embeddings(self):
        return self.front

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        x = self.sea(input_ids)
        for berth in self.berths:
            x = berth(x)
        logits = self.front(self.lighthouse(x))
        cap = self.config.cap
        return CausalLMOutputWithPast(logits=cap * torch.tanh(logits / cap))
