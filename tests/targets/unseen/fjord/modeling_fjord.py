"""Square experts stacked [E, in, out] with gate and up rows interleaved, a sigmoid router with a bias, one shared."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class FjordConfig(PretrainedConfig):
    model_type = "fjord"

    def __init__(self, **kwargs):
        defaults = {
            "dybde": 5, "bredde": 256, "hoder": 8, "svarere": 2, "tett_bredde": 640, "fagfolk": 16, "valgte": 4,
            "fag_bredde": 256, "felles_bredde": 320, "tette_lag": 1, "ord": 900, "lengde": 1024, "liten": 1e-5,
            "vinkel": 15000.0, "styrke": 2.5,
        }  # fmt: skip
        for key, value in defaults.items():
            setattr(self, key, kwargs.pop(key, value))
        super().__init__(**kwargs)


class Jevn(nn.Module):
    def __init__(self, bredde, liten):
        super().__init__()
        self.vekt = nn.Parameter(torch.ones(bredde))
        self.liten = liten

    def forward(self, x):
        return self.vekt * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.liten)


def snu(x, base):
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[2])[:, None] * base ** (-torch.arange(half) / half)[None]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Blikk(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.h, self.g, self.hd = config.hoder, config.svarere, config.bredde // config.hoder
        self.base = config.vinkel
        self.spor = nn.Linear(config.bredde, self.h * self.hd, bias=False)
        self.svar = nn.Linear(config.bredde, self.g * self.hd, bias=False)
        self.verdi = nn.Linear(config.bredde, self.g * self.hd, bias=False)
        self.ut = nn.Linear(self.h * self.hd, config.bredde, bias=False)

    def forward(self, x):
        b, s, _ = x.shape
        q, k, v = (one(x).view(b, s, -1, self.hd).transpose(1, 2) for one in (self.spor, self.svar, self.verdi))
        q, k = snu(q, self.base), snu(k, self.base)
        k, v = (one.repeat_interleave(self.h // self.g, 1) for one in (k, v))
        return self.ut(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, s, -1))


class Tett(nn.Module):
    def __init__(self, inn, inne):
        super().__init__()
        self.port, self.opp = nn.Linear(inn, inne, bias=False), nn.Linear(inn, inne, bias=False)
        self.ned = nn.Linear(inne, inn, bias=False)

    def forward(self, x):
        return self.ned(F.silu(self.port(x)) * self.opp(x))


class Fagfolk(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.k, self.styrke = config.valgte, config.styrke
        self.velger = nn.Linear(config.bredde, config.fagfolk, bias=False)
        self.skjevhet = nn.Parameter(torch.zeros(config.fagfolk))
        self.inn = nn.Parameter(torch.empty(config.fagfolk, config.bredde, 2 * config.fag_bredde))
        self.ut = nn.Parameter(torch.empty(config.fagfolk, config.fag_bredde, config.bredde))
        self.felles = Tett(config.bredde, config.felles_bredde)

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        score = torch.sigmoid(self.velger(flat).float())
        valgt = torch.topk(score + self.skjevhet, self.k, -1).indices
        vekt = score.gather(-1, valgt)
        vekt = (vekt / vekt.sum(-1, keepdim=True) * self.styrke).to(x.dtype)
        out = torch.zeros_like(flat)
        for fag in range(self.inn.shape[0]):
            rad, plass = torch.where(valgt == fag)
            begge = flat[rad] @ self.inn[fag]
            inne = F.silu(begge[:, 0::2]) * begge[:, 1::2]
            out.index_add_(0, rad, (inne @ self.ut[fag]) * vekt[rad, plass, None])
        return out.view_as(x) + self.felles(x)


class Lag(nn.Module):
    def __init__(self, config, nummer):
        super().__init__()
        self.blikk, self.for_blikk, self.for_kropp = Blikk(config), *(Jevn(config.bredde, config.liten) for _ in "ab")
        tett = nummer < config.tette_lag
        self.kropp = Tett(config.bredde, config.tett_bredde) if tett else Fagfolk(config)

    def forward(self, x):
        x = x + self.blikk(self.for_blikk(x))
        return x + self.kropp(self.for_kropp(x))


class FjordForCausalLM(PreTrainedModel):
    config_class = FjordConfig

    def __init__(self, config):
        super().__init__(config)
        self.ordbok = nn.Embedding(config.ord, config.bredde)
        self.lag = nn.ModuleList(Lag(config, nummer) for nummer in range(config.dybde))
        self.siste = Jevn(config.bredde, config.liten)
        self.tale = nn.Linear(config.bredde, config.ord, bias=False)
        self.post_init()

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        x = self.ordbok(input_ids)
        for lag in self.lag:
            x = lag(x)
        return CausalLMOutputWithPast(logits=self.tale(self.siste(x)))
