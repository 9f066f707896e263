"""Fixes of a line or two for what upstream's integrations get wrong: where one restores parity, the cause is proven.

Each is applied to upstream's own class in a package of its own; nothing of upstream is changed on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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
        config = hf_pretrained.config
        {before}
        provider = super().provider_bridge(hf_pretrained)
        {provider}
        return provider

    def mapping_registry(self):
        mappings = list(super().mapping_registry().mappings)
        {mappings}
        return MegatronMappingRegistry(*mappings)


def frequencies(config):
    """Of the rotary embedding, as transformers computes them from the config."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    return ROPE_INIT_FUNCTIONS[config.rope_parameters["rope_type"]](config, "cpu")[0]


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
    """Empty: all."""
    words: str
    provider: str = "pass"
    mappings: str = "pass"
    before: str = "pass"
    """What the class under test is given instead, where it is its input that it cannot take."""
    variants: tuple[str, ...] = ()
    """Empty: all."""

    def applies(self, model_type: str, variant: str) -> bool:
        """Whether it is worth trying on that model."""
        return (not self.types or model_type in self.types) and (not self.variants or variant in self.variants)


LATENT = ("deepseek_v2", "deepseek_v3", "kimi_k2", "glm4_moe_lite", "glm_moe_dsa")
FIXES: tuple[Fix, ...] = (
    Fix(
        ("gemma2", "gemma3_text"),
        "the norms after attention and MLP get the model's epsilon",
        "after_build(provider, lambda name, part: name.endswith('post_layernorm')"
        " and setattr(part, 'eps', config.rms_norm_eps))",
    ),
    Fix(
        LATENT,
        "the norms on the latents keep the epsilon of their class, 1e-6",
        "after_build(provider, lambda name, part: name.endswith(('linear_q_up_proj', 'linear_kv_up_proj'))"
        " and setattr(part, 'eps', 1e-6))",
    ),
    Fix(
        ("glm4_moe",),
        "the shared expert is as wide as all shared experts together",
        "provider.moe_shared_expert_intermediate_size = config.moe_intermediate_size * config.n_shared_experts",
    ),
    Fix(
        (),
        "the rope type of the config is applied, with its own numbers",
        "after_build(provider, lambda name, part: hasattr(part, 'inv_freq')"
        " and setattr(part, 'inv_freq', frequencies(config)))",
        variants=("rope-llama3-unusual",),
    ),
    Fix(
        (),
        "embedding and head are one matrix where the config says so",
        "provider.share_embeddings_and_output_weights = True",
        variants=("tie_word_embeddings=true",),
    ),
    Fix(
        (),
        "the head is a matrix of its own where the config says so, and is mapped",
        "provider.share_embeddings_and_output_weights = False",
        "mappings.append(AutoMapping(megatron_param='output_layer.weight', hf_param='lm_head.weight'))",
        variants=("tie_word_embeddings=false",),
    ),
    Fix(
        ("exaone4",),
        "the head is mapped",
        mappings="mappings.append(AutoMapping(megatron_param='output_layer.weight', hf_param='lm_head.weight'))",
        variants=("base", "rope-llama3-unusual", "windows-periodic", "heads-gqa"),
    ),
    Fix(
        ("exaone4",),
        "layers without a window have no rope",
        "provider.no_rope_freq = [int(kind != 'sliding_attention') for kind in config.layer_types]",
    ),
    Fix(
        ("qwen2", "qwen3", "exaone4", "gpt_oss"),
        "the window is on the layers that layer_types names",
        "provider.window_size, provider.window_attn_skip_freq = (config.sliding_window - 1, 0),"
        " [int(kind == 'sliding_attention') for kind in config.layer_types]",
    ),
    Fix(
        ("gpt_oss",),
        "the numbers of YaRN are those of the config",
        "[setattr(provider, f'yarn_{ours}', config.rope_parameters[key]) for ours, key in (('rotary_scaling_factor',"
        " 'factor'), ('original_max_position_embeddings',) * 2, ('beta_fast',) * 2, ('beta_slow',) * 2)]",
    ),
    Fix(
        ("olmoe", "qwen3_next", "qwen3_moe", "qwen3_5_moe_text"),
        "the weights of the chosen experts are normalised where norm_topk_prob says so",
        "provider.moe_router_pre_softmax = not config.norm_topk_prob",
        variants=("norm_topk_prob=true", "norm_topk_prob=false"),
    ),
    Fix(
        ("ernie4_5_moe",),
        "the rotation pairs neighbours or halves as transformers does",
        "provider.rotary_interleaved = not provider.rotary_interleaved",
    ),
    Fix(
        ("nemotron_h",),
        "the embedding has the name that this transformers writes",
        mappings="[setattr(one, 'hf_param', one.hf_param.replace('backbone.embeddings.', 'backbone.embedding.'))"
        " for one in mappings if isinstance(one.hf_param, str)]",
    ),
    Fix(
        ("hy_v3",),
        "the number of dense layers comes from mlp_layer_types, as in transformers' config",
        before="config.first_k_dense_replace = config.mlp_layer_types.count('dense')",
    ),
    Fix(
        ("glm_moe_dsa",),
        "a key is read that transformers' config does not have; its indexer rotates by halves",
        before="config.indexer_rope_interleave = False",
    ),
    Fix(
        ("gemma4_text",),
        "the vocabulary is not padded beyond what the checkpoint has",
        "provider.make_vocab_size_divisible_by = 1",
    ),
)


NOTES: tuple[tuple[str, str], ...] = (
    (
        "nemotron_h",
        "transformers 5.12.1 saves the embedding as `backbone.embedding` and reads `backbone.embeddings` too, which"
        " the bridge maps: that the tensor is never read is not the bridge's doing. What differs after that is open.",
    ),
    (
        "gemma4_text",
        "The bridge pads the vocabulary to a multiple of 256, which the toy's is not and published ones are: the shape"
        " is the toy's doing. What differs after that is open.",
    ),
    (
        "hy_v3",
        "The bridge reads `first_k_dense_replace` of the publisher's own config class; transformers' class says the"
        " same in `mlp_layer_types`.",
    ),
    ("glm_moe_dsa", "The bridge reads `indexer_rope_interleave`, which transformers' config class does not have."),
    ("deepseek_v4", "The bridge takes YaRN for granted; transformers' default config has none, and it stops there."),
    (
        "falcon_h1",
        "megatron-core's Mamba mixer refuses the default config of transformers: its norm is before the gate.",
    ),
)
"""What a reader has to know about a type before blaming its bridge."""


def write_fixes(folder: Path, fixes: Sequence[Fix], bridge: str, architecture: str) -> str:
    """Write the fixed class as a module in `folder`; returns its name."""
    module, _, name = bridge.partition(":")
    fields = {
        "before": "\n        ".join(fix.before for fix in fixes),
        "provider": "\n        ".join(fix.provider for fix in fixes),
        "mappings": "\n        ".join(fix.mappings for fix in fixes),
    }
    text = SOURCE.format(architecture=architecture, module=module, bridge=name, **fields)
    made = f"fix_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    (folder / f"{made}.py").write_text(text, encoding="utf-8")
    return made
