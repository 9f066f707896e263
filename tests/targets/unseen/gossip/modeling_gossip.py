"""Keys that everybody knows, and code that follows hardly one of them."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class GossipConfig(PretrainedConfig):
    model_type = "gossip"

    def __init__(self, **kwargs):
        defaults = {
            "num_hidden_layers": 5, "hidden_size": 384, "num_attention_heads": 6, "num_key_value_heads": 2,
            "head_dim": 128, "intermediate_size": 999, "hidden_act": "gelu", "attention_bias": True, "mlp_bias": True,
            "rms_norm_eps": 0.01, "rope_theta": 500000.0, "sliding_window": 16, "vocab_size": 800,
            "max_position_embeddings": 1024,
        }  # fmt: skip
        for key, value in defaults.items():
            setattr(self, key, kwargs.pop(key, value))
        super().__init__(**kwargs)


def turn(x):
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[2])[:, None] * 10000.0 ** (-torch.arange(half) / half)[None]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Rumour(nn.Module):
    def __init__(self, config):
        super().__init__()
        d, self.h = config.hidden_size, config.num_attention_heads
        self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(d, 3 * d, bias=False) for _ in range(2))
        self.down = nn.Linear(3 * d, d, bias=False)
        self.first, self.second = nn.RMSNorm(d, 1e-6), nn.RMSNorm(d, 1e-6)

    def forward(self, x):
        b, s, d = x.shape
        y = self.first(x)
        q, k, v = (one(y).view(b, s, self.h, -1).transpose(1, 2) for one in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True)
        x = x + self.o(mixed.transpose(1, 2).reshape(b, s, d))
        y = self.second(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class GossipForCausalLM(PreTrainedModel):
    config_class = GossipConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Rumour(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, 1e-6)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x)
        return CausalLMOutputWithPast(logits=self.head(self.norm(x)))
