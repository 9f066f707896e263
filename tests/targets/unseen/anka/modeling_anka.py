"""Sizes in nested dicts, [q; k; v] one after the other, up before gate, a head tied by storage and by no key."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class AnkaConfig(PretrainedConfig):
    model_type = "anka"

    def __init__(self, boyut=None, bakis=None, ufak=1e-6, en_uzun=1024, **kwargs):
        self.boyut = boyut or {"genislik": 384, "ara": 1000, "katman": 5, "sozluk": 800}
        self.bakis = bakis or {"bas": 8, "anahtar": 2, "taban": 30000.0}
        self.ufak = ufak
        self.en_uzun = en_uzun
        super().__init__(**kwargs)


class Duzgun(nn.Module):
    def __init__(self, genislik, ufak):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(genislik))
        self.ufak = ufak

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.ufak) * (1 + self.scale)


def dondur(x, taban):
    half = x.shape[-1] // 2
    aci = torch.arange(x.shape[2])[:, None] * taban ** (-torch.arange(half) / half)[None]
    cos, sin = aci.cos().to(x.dtype), aci.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Katman(nn.Module):
    def __init__(self, config):
        super().__init__()
        d, self.bas, self.anahtar = config.boyut["genislik"], config.bakis["bas"], config.bakis["anahtar"]
        self.hd, self.taban = d // self.bas, config.bakis["taban"]
        self.hepsi = nn.Linear(d, (self.bas + 2 * self.anahtar) * self.hd)
        self.geri = nn.Linear(d, d, bias=False)
        self.yukari = nn.Linear(d, config.boyut["ara"], bias=False)
        self.kapi = nn.Linear(d, config.boyut["ara"], bias=False)
        self.asagi = nn.Linear(config.boyut["ara"], d, bias=False)
        self.once, self.sonra = Duzgun(d, config.ufak), Duzgun(d, config.ufak)

    def forward(self, x):
        b, s, d = x.shape
        sizes = [self.bas * self.hd, self.anahtar * self.hd, self.anahtar * self.hd]
        q, k, v = (one.view(b, s, -1, self.hd).transpose(1, 2) for one in self.hepsi(self.once(x)).split(sizes, -1))
        q, k = dondur(q, self.taban), dondur(k, self.taban)
        k, v = (one.repeat_interleave(self.bas // self.anahtar, 1) for one in (k, v))
        puan = (q @ k.transpose(-1, -2)) / self.hd**0.5
        puan = puan.masked_fill(torch.ones(s, s, dtype=torch.bool).triu(1), torch.finfo(x.dtype).min)
        x = x + self.geri((puan.softmax(-1) @ v).transpose(1, 2).reshape(b, s, d))
        y = self.sonra(x)
        return x + self.asagi(self.yukari(y) * F.silu(self.kapi(y)))


class AnkaForCausalLM(PreTrainedModel):
    config_class = AnkaConfig
    _tied_weights_keys = {"agiz.weight": "kelime.weight"}  # noqa: RUF012

    def __init__(self, config):
        super().__init__(config)
        self.kelime = nn.Embedding(config.boyut["sozluk"], config.boyut["genislik"])
        self.govde = nn.ModuleList(Katman(config) for _ in range(config.boyut["katman"]))
        self.son = Duzgun(config.boyut["genislik"], config.ufak)
        self.agiz = nn.Linear(config.boyut["genislik"], config.boyut["sozluk"], bias=False)
        self.agiz.weight = self.kelime.weight
        self.post_init()

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        x = self.kelime(input_ids)
        for katman in self.govde:
            x = katman(x)
        return CausalLMOutputWithPast(logits=self.agiz(self.son(x)))
