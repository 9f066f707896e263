"""Heads that are subtracted from each other, with a weight on the norm of the difference and constants of its own."""

import math

from torch import nn
from transformers import DiffLlamaConfig, DiffLlamaForCausalLM


class DuetConfig(DiffLlamaConfig):
    model_type = "duet"


class DuetForCausalLM(DiffLlamaForCausalLM):
    config_class = DuetConfig

    def __init__(self, config):
        super().__init__(config)
        for place, layer in enumerate(self.model.layers):
            heads = layer.self_attn
            heads.lambda_init = 0.7 - 0.45 * math.exp(-0.2 * place)
            heads.groupnorm = nn.RMSNorm(2 * heads.head_dim, eps=config.rms_norm_eps)
