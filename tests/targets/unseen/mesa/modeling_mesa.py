"""One key and value head, neighbours rotate in half a head; two norms in parallel; a squared relu, four times wide."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class MesaConfig(PretrainedConfig):
    model_type = "mesa"

    def __init__(
        self, n_terraces=6, n_wide=384, n_winds=6, n_dust=850, n_days=1024, whirl=40000.0, whirl_share=0.5, grit=1e-5,
        **kwargs,
    ):  # fmt: skip
        self.n_terraces, self.n_wide, self.n_winds, self.n_dust = n_terraces, n_wide, n_winds, n_dust
        self.n_days, self.whirl, self.whirl_share, self.grit = n_days, whirl, whirl_share, grit
        super().__init__(**kwargs)


def whirl(x, base, share):
    dims = int(x.shape[-1] * share)
    angle = torch.arange(x.shape[2])[:, None] * base ** (-torch.arange(0, dims, 2) / dims)[None]
    turn = torch.polar(torch.ones_like(angle), angle).to(torch.complex128 if x.dtype == torch.float64 else None)
    pairs = torch.view_as_complex(x[..., :dims].float().reshape(*x.shape[:-1], -1, 2).contiguous())
    turned = torch.view_as_real(pairs * turn.to(pairs.dtype)).flatten(-2).to(x.dtype)
    return torch.cat([turned, x[..., dims:]], -1)


class Terrace(nn.Module):
    def __init__(self, config):
        super().__init__()
        d, self.h = config.n_wide, config.n_winds
        self.hd, self.base, self.share = d // self.h, config.whirl, config.whirl_share
        self.rim, self.floor = nn.LayerNorm(d, config.grit), nn.LayerNorm(d, config.grit)
        self.winds = nn.Linear(d, d + 2 * self.hd)
        self.calm = nn.Linear(d, d)
        self.c_fc, self.c_proj = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x):
        b, s, d = x.shape
        q, k, v = self.winds(self.rim(x)).split([d, self.hd, self.hd], -1)
        q = whirl(q.view(b, s, self.h, self.hd).transpose(1, 2), self.base, self.share)
        k, v = whirl(k[:, None], self.base, self.share), v[:, None]
        k, v = (one.expand(b, self.h, s, self.hd) for one in (k, v))
        scores = torch.matmul(q, k.transpose(-1, -2)) * self.hd**-0.5
        scores = scores + torch.full((s, s), -1e9, dtype=x.dtype).triu(1)
        mixed = torch.matmul(F.softmax(scores, -1), v).transpose(1, 2).reshape(b, s, d)
        return x + self.calm(mixed) + self.c_proj(F.relu(self.c_fc(self.floor(x))).square())


class MesaLMHeadModel(PreTrainedModel):
    config_class = MesaConfig

    def __init__(self, config):
        super().__init__(config)
        self.dust = nn.Embedding(config.n_dust, config.n_wide)
        self.terraces = nn.ModuleDict({"t": nn.ModuleList(Terrace(config) for _ in range(config.n_terraces))})
        self.top = nn.LayerNorm(config.n_wide, config.grit)
        self.shout = nn.Linear(config.n_wide, config.n_dust)
        self.post_init()

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        x = self.dust(input_ids)
        for terrace in self.terraces["t"]:
            x = terrace(x)
        return CausalLMOutputWithPast(logits=self.shout(self.top(x)))
