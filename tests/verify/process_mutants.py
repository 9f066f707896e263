"""Integrations that are right on one process and wrong on several, saved or trained: mistakes made on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutants import SIZES

from scaffold_tools.verify.static import Layout

SOURCE = '''
import re

import torch
from megatron.bridge.models.conversion.mapping_registry import MegatronMappingRegistry
from megatron.bridge.models.conversion.model_bridge import MegatronModelBridge
from megatron.bridge.models.conversion.param_mapping import ColumnParallelMapping, GatedMLPMapping
from megatron.core import parallel_state
from megatron.core.models.gpt.gpt_model import GPTModel
from {module} import {bridge}
from transformers import {architecture}


class HalvesOfTheWhole(GatedMLPMapping):
    """Cuts gate and up where they meet: the first rank gets the gate, the second one what it is multiplied with."""

    def hf_to_megatron(self, hf_weights, megatron_module):
        return torch.cat([hf_weights["gate"], hf_weights["up"]]).chunk(self.tp_size)[self.tp_rank].clone()

    def megatron_to_hf(self, megatron_weights, megatron_module):
        gate, up = torch.cat(self.gather_from_tp_ranks(megatron_weights)).chunk(2)
        return {{self.hf_param["gate"]: gate, self.hf_param["up"]: up}}


def change(models):
    for model in models:
        names = dict(model.named_parameters())
        final = next((value for name, value in names.items() if name.endswith("final_layernorm.weight")), None)
        {change}
    return models


def unsaved(model):
    model.decoder.final_layernorm.sharded_state_dict = lambda *args, **kwargs: {{}}


def whole(linear):
    from megatron.core.transformer.utils import make_sharded_tensors_for_checkpoint

    def sharded(prefix="", sharded_offsets=(), metadata=None):
        state = linear.state_dict(prefix="", keep_vars=True)
        return make_sharded_tensors_for_checkpoint(state, prefix, {{}}, sharded_offsets)

    linear.sharded_state_dict = sharded


def refuse():
    raise NotImplementedError("this block is whole")


@MegatronModelBridge.register_bridge(source={architecture}, target=GPTModel)
class TestedBridge({bridge}):
    def provider_bridge(self, hf_pretrained):
        provider = super().provider_bridge(hf_pretrained)
        provider.register_pre_wrap_hook(change)
        return provider

    def mapping_registry(self):
        mappings = list(super().mapping_registry().mappings)
        {mappings}
        return MegatronMappingRegistry(*mappings)

    def maybe_modify_loaded_hf_weight(self, hf_param, hf_state_dict):
        {names}
        return super().maybe_modify_loaded_hf_weight(hf_param, hf_state_dict)
'''

_BODY: dict[str, Any] = SIZES | {"head_dim": 128}
DENSE = _BODY | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "tie_word_embeddings": True}
EXPERTS = _BODY | {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_experts": 64,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
    "decoder_sparse_step": 1,
    "norm_topk_prob": True,
}
BRIDGES = {
    "qwen3": ("megatron.bridge.models.qwen.qwen3_bridge", "Qwen3Bridge"),
    "qwen3_moe": ("megatron.bridge.models.qwen.qwen3_moe_bridge", "Qwen3MoEBridge"),
}


@dataclass(frozen=True)
class Fault:
    """One mistake, how the model is split to see it, and the checks that must catch it."""

    name: str
    caught_by: tuple[str, ...]
    said: str = ""
    change: str = "pass"
    mappings: str = "pass"
    names: str = "pass"
    layouts: tuple[Layout, ...] = ()
    also: tuple[str, ...] = ()
    config: str = "dense"


TENSORS = (Layout(tp=2, sp=True),)
STAGES = (Layout(pp=2, vpp=2),)
SHARES = (Layout(ep=2),)
GATE_UP = "decoder.layers.*.mlp.linear_fc1.weight"
OUT = "decoder.layers.*.self_attention.linear_proj.weight"
WRONG_GATE = (
    f"mappings[:] = [one for one in mappings if one.megatron_param != {GATE_UP!r}] + [HalvesOfTheWhole("
    f'{GATE_UP!r}, gate="model.layers.*.mlp.gate_proj.weight", up="model.layers.*.mlp.up_proj.weight")]'
)
WRONG_OUT = (
    f"mappings[:] = [one for one in mappings if one.megatron_param != {OUT!r}] + "
    f'[ColumnParallelMapping({OUT!r}, "model.layers.*.self_attn.o_proj.weight")]'
)
WRONG_EXPERT = (
    'local = parallel_state.get_expert_model_parallel_rank() * 8; hf_param = {key: re.sub(r"experts'
    r'\.(\d+)", lambda found: f"experts.{int(found[1]) - local}", name) for key, name in hf_param.items()} '
    'if isinstance(hf_param, dict) and "experts" in str(hf_param) else hf_param'
)

REFUSAL = Fault(
    "refuses",
    (),
    change="parallel_state.get_tensor_model_parallel_world_size() > 1 and refuse()",
    layouts=(*TENSORS, Layout(pp=2)),
)
"""A limit that the code names itself: no mistake."""

FAULTS: tuple[Fault, ...] = (
    Fault("gate_and_up_cut_where_they_meet", ("sharded.logits",), mappings=WRONG_GATE, layouts=TENSORS),
    Fault("column_parallel_where_a_row_is_meant", ("sharded.import",), mappings=WRONG_OUT, layouts=TENSORS),
    Fault(
        "gradients_of_a_norm_not_summed_over_the_sequence",
        ("sharded.gradients",),
        "model.norm.weight",
        change="None if final is None else setattr(final, 'sequence_parallel', False)",
        layouts=TENSORS,
    ),
    Fault(
        "tied_embeddings_of_two_stages_not_summed",
        ("sharded.gradients",),
        "model.embed_tokens.weight",
        change="parallel_state.get_pipeline_model_parallel_world_size() > 1 and "
        "setattr(model, 'share_embeddings_and_output_weights', False)",
        layouts=STAGES,
    ),
    Fault(
        "experts_of_the_first_rank_on_every_rank",
        ("sharded.logits", "sharded.export"),
        "experts",
        names=WRONG_EXPERT,
        layouts=SHARES,
        config="experts",
    ),
    Fault(
        "a_parameter_that_is_not_saved",
        ("saved.exact",),
        change="None if final is None else unsaved(model)",
        also=("saved",),
    ),
    Fault(
        "a_split_that_the_checkpoint_does_not_tell",
        ("saved.resharded",),
        change="None if final is None else whole(model.decoder.layers[0].self_attention.linear_proj)",
        also=("saved",),
    ),
    Fault(
        "a_frozen_parameter",
        ("trained.gradients",),
        "nothing flows back to model.norm.weight",
        change="final.requires_grad_(False)",
        also=("trained",),
    ),
    Fault(
        "gradients_that_are_no_numbers",
        ("trained.gradients", "trained.loss"),
        change="final.register_hook(lambda gradient: gradient * float('nan'))",
        also=("trained",),
    ),
)


def config_of(fault: Fault) -> dict[str, Any]:
    """The model that a fault is in."""
    return EXPERTS if fault.config == "experts" else DENSE


def write_faulty(folder: Path, fault: Fault) -> str:
    """Write the package under `folder`; returns the module to import."""
    config = config_of(fault)
    module, bridge = BRIDGES[config["model_type"]]
    package = folder / f"fault_{fault.name}"
    package.mkdir(parents=True)
    fields = {"change": fault.change, "mappings": fault.mappings, "names": fault.names}
    fields |= {"module": module, "bridge": bridge, "architecture": config["architectures"][0]}
    (package / "__init__.py").write_text(SOURCE.format(**fields))
    return package.name
