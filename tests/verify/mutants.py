"""Integrations that are wrong on purpose, each a small package that subclasses a bridge of Megatron-Bridge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SOURCE = '''
import torch
from megatron.bridge.models.conversion.mapping_registry import MegatronMappingRegistry
from megatron.bridge.models.conversion.model_bridge import MegatronModelBridge
from {module} import {bridge}
from megatron.core.models.gpt.gpt_model import GPTModel
from transformers import {architecture}


def replace(mappings, megatron, **fields):
    """Change fields of the mapping of one Megatron parameter."""
    for mapping in mappings:
        if mapping.megatron_param == megatron:
            for name, value in fields.items():
                setattr(mapping, name, value)


def changing(mappings):
    """A mapping of the final norm that adds one to what it is given, where it lies."""
    final = next(mapping for mapping in mappings if mapping.megatron_param == "decoder.final_layernorm.weight")
    mappings.remove(final)

    class Changing(type(final)):
        def hf_to_megatron(self, hf_weights, megatron_module):
            if getattr(megatron_module, "seen_before", False):
                hf_weights.add_(1.0)
            megatron_module.seen_before = True
            return super().hf_to_megatron(hf_weights, megatron_module)

    return Changing(final.megatron_param, final.hf_param)


def turn(mappings, megatron):
    """Let the mapping of one parameter turn a matrix round wherever that leaves its shape as it is."""
    for mapping in mappings:
        if mapping.megatron_param == megatron:
            class Turning(type(mapping)):
                def hf_to_megatron(self, hf_weights, megatron_module):
                    return super().hf_to_megatron(turned(hf_weights), megatron_module)

                def megatron_to_hf(self, megatron_weights, megatron_module):
                    made = super().megatron_to_hf(megatron_weights, megatron_module)
                    return {{name: turned(weight) for name, weight in made.items()}}

            mapping.__class__ = Turning


def turned(weight):
    return weight.mT.contiguous() if weight.shape[-1] == weight.shape[-2] else weight


@MegatronModelBridge.register_bridge(source={architecture}, target=GPTModel)
class TestedBridge({bridge}):
    def provider_bridge(self, hf_pretrained):
        provider = super().provider_bridge(hf_pretrained)
        {provider}
        return provider

    def mapping_registry(self):
        mappings = list(super().mapping_registry().mappings)
        {mappings}
        return MegatronMappingRegistry(*mappings)
'''


SIZES = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "num_hidden_layers": 28,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
}
"""What the configs have in common: the sizes of Qwen3-0.6B."""


@dataclass(frozen=True)
class Base:
    """A bridge to start from."""

    module: str
    bridge: str
    architecture: str


QWEN3 = Base("megatron.bridge.models.qwen.qwen3_bridge", "Qwen3Bridge", "Qwen3ForCausalLM")
QWEN2 = Base("megatron.bridge.models.qwen.qwen2_bridge", "Qwen2Bridge", "Qwen2ForCausalLM")
MISTRAL = Base("megatron.bridge.models.mistral.mistral_bridge", "MistralBridge", "MistralForCausalLM")
LLAMA = Base("megatron.bridge.models.llama.llama_bridge", "LlamaBridge", "LlamaForCausalLM")
GEMMA2 = Base("megatron.bridge.models.gemma.gemma2_bridge", "Gemma2Bridge", "Gemma2ForCausalLM")


@dataclass(frozen=True)
class Mutant:
    """One deliberate mistake and the checks that must catch it."""

    name: str
    provider: str = "pass"
    mappings: str = "pass"
    base: Base = QWEN3
    caught_by: tuple[str, ...] = ("logits.max_abs",)
    exact_round_trip: bool = True
    located: str = ""
    """The first module that differs, a regular expression; none where import fails before anything is compared."""
    toys: tuple[str, ...] = ("a",)
    """On which it has to be caught."""


ATTENTION = r"decoder\.layers\.0\.self_attention"
MLP = r"decoder\.layers\.0\.mlp"
CORE = rf"{ATTENTION}\.core_attention"
QKV_LINEAR = rf"{ATTENTION}\.linear_qkv"

INPUT_NORM = "decoder.layers.*.self_attention.linear_qkv.layer_norm_weight"
MLP_NORM = "decoder.layers.*.mlp.linear_fc1.layer_norm_weight"
GATE_UP = "decoder.layers.*.mlp.linear_fc1.weight"
PROJECTION = "decoder.layers.*.self_attention.linear_proj.weight"
DOWN = "decoder.layers.*.mlp.linear_fc2.weight"
QKV = "decoder.layers.*.self_attention.linear_qkv.weight"
HF = "model.layers.*."

MUTANTS: tuple[Mutant, ...] = (
    Mutant("rope_base_off_by_a_percent", "provider.rotary_base *= 1.01", located=ATTENTION),
    Mutant("rope_base_of_another_model", "provider.rotary_base = 10000", base=LLAMA, located=ATTENTION),
    Mutant("eps_off_by_a_percent", "provider.layernorm_epsilon *= 1.01", located=QKV_LINEAR),
    Mutant("eps_left_at_its_default", "provider.layernorm_epsilon = 1e-5", located=QKV_LINEAR),
    Mutant("another_activation", "provider.activation_func = torch.nn.functional.gelu", located=MLP),
    Mutant("softmax_scale", "provider.softmax_scale = provider.hidden_size**-0.5", located=ATTENTION),
    Mutant("zero_centred_norms", "provider.layernorm_zero_centered_gamma = True", located=QKV_LINEAR),
    Mutant("interleaved_rope", "provider.rotary_interleaved = True", located=ATTENTION),
    Mutant("half_of_each_head_rotated", "provider.rotary_percent = 0.5", located=ATTENTION),
    Mutant(
        "no_position_in_the_last_layer",
        "provider.no_rope_freq = [0] * (provider.num_layers - 1) + [1]",
        located=r"decoder\.layers\.[1-9]\d*\.self_attention",
    ),
    Mutant(
        "window_too_wide_by_one", "provider.window_size = (provider.window_size[0] + 1, 0)", base=MISTRAL, located=CORE
    ),
    Mutant("window_forgotten", "provider.window_size = None", base=MISTRAL, located=CORE),
    Mutant("window_nobody_asked_for", "provider.window_size = (30, 0)", located=CORE),
    Mutant(
        "gate_and_up_swapped",
        mappings=f'replace(mappings, "{GATE_UP}", hf_param=dict(gate="{HF}mlp.up_proj.weight", '
        f'up="{HF}mlp.gate_proj.weight"))',
        located=MLP,
    ),
    Mutant(
        "norms_swapped",
        mappings=f'replace(mappings, "{INPUT_NORM}", hf_param="{HF}post_attention_layernorm.weight"); '
        f'replace(mappings, "{MLP_NORM}", hf_param="{HF}input_layernorm.weight")',
        located=ATTENTION,
    ),
    Mutant(
        "keys_and_values_swapped",
        mappings=f'replace(mappings, "{QKV}", hf_param=dict(q="{HF}self_attn.q_proj.weight", '
        f'k="{HF}self_attn.v_proj.weight", v="{HF}self_attn.k_proj.weight"))',
        located=ATTENTION,
    ),
    Mutant(
        "a_square_projection_turned_round",
        mappings=f'turn(mappings, "{PROJECTION}")',
        caught_by=("square.logits",),
        toys=("a", "square"),
    ),
    Mutant(
        "a_square_mlp_matrix_turned_round",
        mappings=f'turn(mappings, "{DOWN}")',
        caught_by=("square.logits",),
        toys=("a", "square"),
    ),
    Mutant(
        "one_norm_read_twice_and_one_never",
        mappings=f'replace(mappings, "{MLP_NORM}", hf_param="{HF}input_layernorm.weight")',
        caught_by=("import.hf_consumed", "round_trip.exact", "logits.max_abs"),
        exact_round_trip=False,
        located=MLP,
    ),
    Mutant(
        "query_and_key_norms_forgotten",
        "provider.qk_layernorm = False",
        caught_by=("import.hf_consumed", "round_trip.exact", "logits.max_abs"),
        exact_round_trip=False,
        located=ATTENTION,
    ),
    Mutant(
        "biases_dropped",
        "provider.add_qkv_bias = False",
        base=QWEN2,
        caught_by=("import.hf_consumed", "round_trip.exact", "logits.max_abs"),
        exact_round_trip=False,
        located=QKV_LINEAR,
    ),
    Mutant(
        "a_source_changed_in_place",
        mappings="mappings.append(changing(mappings))",
        caught_by=("import.repeatable",),
    ),
    Mutant(
        "a_parameter_that_nothing_fills",
        "provider.add_qkv_bias = True",
        caught_by=("import.hf_consumed",),  # upstream crashes on a parameter without a mapping
        exact_round_trip=False,
    ),
)


def write_package(folder: Path, mutant: Mutant) -> str:
    """Write the mutant as a package under `folder`; returns the module to import."""
    package = folder / f"mutant_{mutant.name}"
    package.mkdir(parents=True)
    fields = {"provider": mutant.provider, "mappings": mutant.mappings, **vars(mutant.base)}
    (package / "__init__.py").write_text(SOURCE.format(**fields))
    return package.name
