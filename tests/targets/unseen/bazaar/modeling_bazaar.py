"""A module for each expert in every second layer, probabilities over all of them, q, k and v packed head by head."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class BazaarConfig(PretrainedConfig):
    model_type = "bazaar"

    def __init__(
        self, n_stalls=6, lane_width=384, criers=6, crier_width=64, sellers=12, sellers_asked=3, stock=200, store=900,
        big_stall_every=2, goods=700, opening=1024, dust=1e-5, compass=8000.0, **kwargs,
    ):  # fmt: skip
        self.n_stalls, self.lane_width, self.criers, self.crier_width = n_stalls, lane_width, criers, crier_width
        self.sellers, self.sellers_asked, self.stock, self.store = sellers, sellers_asked, stock, store
        self.big_stall_every, self.goods, self.opening = big_stall_every, goods, opening
        self.dust, self.compass = dust, compass
        super().__init__(**kwargs)


def point(x, base):
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[2])[:, None] * base ** (-torch.arange(half) / half)[None]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Cry(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.h, self.hd, self.base = config.criers, config.crier_width, config.compass
        self.kqv = nn.Linear(config.lane_width, 3 * self.h * self.hd, bias=False)
        self.answer = nn.Linear(self.h * self.hd, config.lane_width, bias=False)

    def forward(self, x):
        b, s, _ = x.shape
        k, q, v = self.kqv(x).view(b, s, self.h, 3 * self.hd).transpose(1, 2).chunk(3, -1)
        q, k = point(q, self.base), point(k, self.base)
        return self.answer(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, s, -1))


class Seller(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.w1, self.w2, self.w3 = (
            nn.Linear(width, inner, bias=False),
            nn.Linear(inner, width, bias=False),
            nn.Linear(width, inner, bias=False),
        )

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Market(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.asked = config.sellers_asked
        self.pick = nn.Linear(config.lane_width, config.sellers, bias=False)
        self.sellers = nn.ModuleList(Seller(config.lane_width, config.stock) for _ in range(config.sellers))

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        weights, chosen = self.pick(flat).softmax(-1, dtype=torch.float32).topk(self.asked, -1)
        out = torch.zeros_like(flat)
        for number, seller in enumerate(self.sellers):
            rows, place = (chosen == number).nonzero(as_tuple=True)
            out.index_add_(0, rows, seller(flat[rows]) * weights[rows, place, None].to(x.dtype))
        return out.view_as(x)


class Stall(nn.Module):
    def __init__(self, config, number):
        super().__init__()
        self.front, self.back = (nn.RMSNorm(config.lane_width, config.dust) for _ in range(2))
        self.cry = Cry(config)
        big = (number + 1) % config.big_stall_every == 0
        self.trade = Market(config) if big else Seller(config.lane_width, config.store)

    def forward(self, x):
        x = x + self.cry(self.front(x))
        return x + self.trade(self.back(x))


class BazaarForCausalLM(PreTrainedModel):
    config_class = BazaarConfig

    def __init__(self, config):
        super().__init__(config)
        self.gate_in = nn.Embedding(config.goods, config.lane_width)
        self.stalls = nn.ModuleList(Stall(config, number) for number in range(config.n_stalls))
        self.gate_out = nn.RMSNorm(config.lane_width, config.dust)
        self.shout = nn.Linear(config.lane_width, config.goods, bias=False)
        self.post_init()

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        x = self.gate_in(input_ids)
        for stall in self.stalls:
            x = stall(x)
        return CausalLMOutputWithPast(logits=self.shout(self.gate_out(x)))
