"""Keys and values from one narrow latent, a rotated key that all heads share, queries from a latent of their own."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class SakuraConfig(PretrainedConfig):
    model_type = "sakura"

    def __init__(self, **kwargs):
        defaults = {
            "dan": 5, "haba": 512, "me": 8, "toi_no_fukasa": 192, "kagi_no_fukasa": 128, "basho_nashi": 48,
            "basho_ari": 32, "atai": 64, "naka": 1100, "kotoba": 900, "nagasa": 2048, "kasuka": 1e-6,
            "mawari": 20000.0,
        }  # fmt: skip
        for key, value in defaults.items():
            setattr(self, key, kwargs.pop(key, value))
        super().__init__(**kwargs)


class Narashi(nn.Module):
    def __init__(self, haba, kasuka):
        super().__init__()
        self.omomi = nn.Parameter(torch.ones(haba))
        self.kasuka = kasuka

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.omomi, self.kasuka)


def mawasu(x, base):
    dims = x.shape[-1]
    angle = torch.arange(x.shape[2])[:, None] * base ** (-torch.arange(0, dims, 2) / dims)[None]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)


class Chuui(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.h, self.nashi, self.ari, self.atai, self.base = c.me, c.basho_nashi, c.basho_ari, c.atai, c.mawari
        self.fukasa = c.kagi_no_fukasa
        self.toi_shita = nn.Linear(c.haba, c.toi_no_fukasa, bias=False)
        self.toi_narashi = Narashi(c.toi_no_fukasa, c.kasuka)
        self.toi_ue = nn.Linear(c.toi_no_fukasa, c.me * (c.basho_nashi + c.basho_ari), bias=False)
        self.kagi_shita = nn.Linear(c.haba, c.kagi_no_fukasa + c.basho_ari, bias=False)
        self.kagi_narashi = Narashi(c.kagi_no_fukasa, c.kasuka)
        self.kagi_ue = nn.Linear(c.kagi_no_fukasa, c.me * (c.basho_nashi + c.atai), bias=False)
        self.matome = nn.Linear(c.me * c.atai, c.haba, bias=False)

    def forward(self, x):
        b, s, _ = x.shape
        q = self.toi_ue(self.toi_narashi(self.toi_shita(x))).view(b, s, self.h, -1).transpose(1, 2)
        q_nashi, q_ari = q.split([self.nashi, self.ari], -1)
        latent, k_ari = self.kagi_shita(x).split([self.fukasa, self.ari], -1)
        kv = self.kagi_ue(self.kagi_narashi(latent)).view(b, s, self.h, -1).transpose(1, 2)
        k_nashi, v = kv.split([self.nashi, self.atai], -1)
        k_ari = mawasu(k_ari[:, None], self.base).expand(b, self.h, s, self.ari)
        q = torch.cat([q_nashi, mawasu(q_ari, self.base)], -1)
        k = torch.cat([k_nashi, k_ari], -1)
        scores = q @ k.transpose(-1, -2) * (self.nashi + self.ari) ** -0.5
        scores = scores.masked_fill(torch.ones(s, s, dtype=torch.bool).triu(1), float("-inf"))
        return self.matome((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, s, -1))


class Dan(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.mae, self.ato, self.chuui = Narashi(c.haba, c.kasuka), Narashi(c.haba, c.kasuka), Chuui(c)
        self.mon_to_ue = nn.Linear(c.haba, 2 * c.naka, bias=False)
        self.shita = nn.Linear(c.naka, c.haba, bias=False)

    def forward(self, x):
        x = x + self.chuui(self.mae(x))
        mon, ue = self.mon_to_ue(self.ato(x)).chunk(2, -1)
        return x + self.shita(F.silu(mon) * ue)


class SakuraForCausalLM(PreTrainedModel):
    config_class = SakuraConfig

    def __init__(self, config):
        super().__init__(config)
        self.kotoba = nn.Embedding(config.kotoba, config.haba)
        self.ki = nn.ModuleList(Dan(config) for _ in range(config.dan))
        self.owari = Narashi(config.haba, config.kasuka)
        self.koe = nn.Linear(config.haba, config.kotoba, bias=False)
        self.post_init()

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        x = self.kotoba(input_ids)
        for dan in self.ki:
            x = dan(x)
        return CausalLMOutputWithPast(logits=self.koe(self.owari(x)))
