"""Places from a table with two rows in front, [v; k; q] stored [in, out] with biases, a head tied by default."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class LagoonConfig(PretrainedConfig):
    model_type = "lagoon"

    def __init__(
        self, tides=6, shoal=384, fish=12, shells=700, longest_tide=256, silt=1e-5, swells=True, **kwargs
    ):  # fmt: skip
        self.tides, self.shoal, self.fish, self.shells = tides, shoal, fish, shells
        self.longest_tide, self.silt, self.swells = longest_tide, silt, swells
        super().__init__(**kwargs)


class Net(nn.Module):
    def __init__(self, inner, outer):
        super().__init__()
        self.knots, self.floats = nn.Parameter(torch.empty(inner, outer)), nn.Parameter(torch.zeros(outer))

    def forward(self, x):
        return torch.addmm(self.floats, x.reshape(-1, x.shape[-1]), self.knots).view(*x.shape[:-1], -1)


class Tide(nn.Module):
    def __init__(self, config):
        super().__init__()
        d, self.fish = config.shoal, config.fish
        self.calm = nn.ModuleList(nn.LayerNorm(d, config.silt) for _ in range(2))
        self.vkq, self.out = Net(d, 3 * d), Net(d, d)
        self.rise, self.fall = Net(d, 4 * d), Net(4 * d, d)

    def forward(self, x):
        b, s, d = x.shape
        parts = self.vkq(self.calm[0](x)).split(d, -1)
        v, k, q = (one.view(b, s, self.fish, -1).transpose(1, 2) for one in parts)
        scores = q @ k.transpose(-1, -2) / (q.shape[-1] ** 0.5)
        scores = torch.where(torch.ones(s, s, dtype=torch.bool).tril(), scores, torch.finfo(x.dtype).min)
        x = x + self.out((F.softmax(scores, -1) @ v).transpose(1, 2).reshape(b, s, d))
        return x + self.fall(F.gelu(self.rise(self.calm[1](x))))


class LagoonForCausalLM(PreTrainedModel):
    config_class = LagoonConfig
    _tied_weights_keys = {"mouth.weight": "shells.weight"}  # noqa: RUF012

    def __init__(self, config):
        super().__init__(config)
        self.shells = nn.Embedding(config.shells, config.shoal)
        self.places = nn.Embedding(config.longest_tide + 2, config.shoal)
        self.tides = nn.ModuleList(Tide(config) for _ in range(config.tides))
        self.rest = nn.LayerNorm(config.shoal, config.silt)
        self.mouth = nn.Linear(config.shoal, config.shells, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.shells

    def get_output_embeddings(self):
        return self.mouth

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        where = torch.arange(input_ids.shape[1]) + 2
        x = self.shells(input_ids) + self.places(where)[None]
        for tide in self.tides:
            x = tide(x)
        return CausalLMOutputWithPast(logits=self.mouth(self.rest(x)))
