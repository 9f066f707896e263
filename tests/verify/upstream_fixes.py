"""Fixes of a line or two for what upstream's integrations get wrong: where one restores parity, the cause is proven.

Each is applied to upstream's own class in a package of its own; nothing of upstream is changed on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SOURCE = '''
import torch
from megatron.bridge.models.conversion.mapping_registry import MegatronMappingRegistry
from megatron.bridge.models.conversion.model_bridge import MegatronModelBridge
from megatron.bridge.models.conversion.param_mapping import AutoMapping, GatedMLPMapping, QKVMapping
from {module} import {bridge}
from megatron.core.models.gpt.gpt_model import GPTModel
from transformers import {architecture}


@MegatronModelBridge.register_bridge(source={architecture}, target=GPTModel)
class FixedBridge({bridge}):
    def provider_bridge(self, hf_pretrained):
        provider = super().provider_bridge(hf_pretrained)
        config = hf_pretrained.config
        {provider}
        return provider

    def mapping_registry(self):
        mappings = list(super().mapping_registry().mappings)
        {mappings}
        return MegatronMappingRegistry(*mappings)


def after_build(provider, change):
    """Let `change(name, module)` see every module once the model is built."""
    build = provider.provide

    def provide(*args, **kwargs):
        model = build(*args, **kwargs)
        for name, module in model.named_modules():
            change(name, module)
        return model

    provider.provide = provide
'''


@dataclass(frozen=True)
class Fix:
    """What is said to be wrong, as the line that makes it right."""

    types: tuple[str, ...]
    words: str
    provider: str = "pass"
    mappings: str = "pass"
    variants: tuple[str, ...] = ()
    """Empty: all."""


FIXES: tuple[Fix, ...] = (
    Fix(
        ("gemma2", "gemma3_text"),
        "the norms after attention and MLP get the model's epsilon",
        "after_build(provider, lambda name, part: name.endswith('post_layernorm')"
        " and setattr(part, 'eps', config.rms_norm_eps))",
    ),
    Fix(
        ("deepseek_v2", "deepseek_v3", "kimi_k2", "glm4_moe_lite"),
        "the norms on the latents keep the epsilon of their class, 1e-6",
        "after_build(provider, lambda name, part: name.endswith(('linear_q_up_proj', 'linear_kv_up_proj'))"
        " and setattr(part, 'eps', 1e-6))",
    ),
    Fix(
        ("glm4_moe",),
        "the shared expert is as wide as all shared experts together",
        "provider.moe_shared_expert_intermediate_size = config.moe_intermediate_size * config.n_shared_experts",
    ),
)


def write_fix(folder: Path, fix: Fix, bridge: str, architecture: str, variant: str) -> str:
    """Write the fixed class as a package under `folder`; returns the module to import."""
    module, _, name = bridge.partition(":")
    made = folder / f"fix_{abs(hash((fix.words, variant))):x}"
    made.mkdir(parents=True, exist_ok=True)
    fields = {"provider": fix.provider, "mappings": fix.mappings, "module": module, "bridge": name}
    (made / "__init__.py").write_text(SOURCE.format(architecture=architecture, **fields))
    return made.name
