"""A fix of a line or two, written as a class of its own beside upstream's; nothing of upstream is changed on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

SOURCE = '''
import torch
from megatron.bridge.models.conversion.mapping_registry import MegatronMappingRegistry
from megatron.bridge.models.conversion.model_bridge import MegatronModelBridge
from megatron.bridge.models.conversion.param_mapping import AutoMapping, GatedMLPMapping, QKVMapping
from {module} import {bridge}
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.transformer.enums import AttnMaskType
from transformers import {architecture}

causal = AttnMaskType.causal
LATENT_BIASES = dict(linear_q_down_proj="q_a_proj", linear_kv_down_proj="kv_a_proj_with_mqa", linear_proj="o_proj")


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


def frequencies(config, kind=None):
    """Of the rotary embedding (of layers of one kind), as transformers computes them from the config."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = config.rope_parameters[kind] if kind else config.rope_parameters
    return ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, "cpu", **({{"layer_type": kind}} if kind else {{}}))[0]


def with_bias(part):
    """Give a linear layer a bias, which is added before a norm that the layer ends with."""
    if isinstance(getattr(part, "bias", None), torch.nn.Parameter):
        return
    part.__dict__.pop("bias", None)
    part.register_parameter("bias", torch.nn.Parameter(torch.zeros(part.weight.shape[0])))
    if hasattr(part, "post_layernorm"):
        part.post_layernorm.register_forward_pre_hook(lambda norm, given: (given[0] + part.bias,))
    else:
        part.register_forward_hook(lambda layer, given, out: (out[0] + part.bias, None))


def biases(mappings):
    """Of attention: each goes where its weight goes."""
    weights = [one for one in mappings if one.megatron_param.endswith(("linear_qkv.weight", "linear_proj.weight"))]
    for one in weights:
        there = one.hf_param if isinstance(one.hf_param, dict) else dict(hf_param=one.hf_param)
        names = {{key: name.replace(".weight", ".bias") for key, name in there.items()}}
        yield type(one)(megatron_param=one.megatron_param.replace(".weight", ".bias"), **names)


def without_bias(part):
    """Take the bias of a linear layer away."""
    del part.bias
    part.bias = torch.zeros(part.weight.shape[0])


def unnormalised(router):
    """Weigh the chosen experts by their scores: Megatron-Core makes those of a sigmoid sum to one whatever is set."""
    route = router.routing

    def routing(logits, *args, **kwargs):
        weights, chosen = route(logits, *args, **kwargs)
        scores = torch.sigmoid(logits.float()).view(chosen.shape) * (router.config.moe_router_topk_scaling_factor or 1)
        return torch.where(chosen, scores, 0.0).to(weights), chosen

    router.routing = routing


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
    group: str
    """The kind of mistake that it is."""
    provider: str = "pass"
    mappings: str = "pass"
    before: str = "pass"
    """What the class under test is given instead, where it is its input that it cannot take."""
    variants: tuple[str, ...] = ()
    """Empty: all."""
    but: tuple[str, ...] = ()
    """Types and variants that another row is for."""
    unless: str = ""
    """A key: a published config that has it is not the one that this is about, whatever its toy shows."""

    def applies(self, model_type: str, variant: str) -> bool:
        """Whether it is worth trying on that model."""
        if model_type in self.but or variant in self.but:
            return False
        return (not self.types or model_type in self.types) and (not self.variants or variant in self.variants)


def fewest(known: Sequence[Fix], restores: Callable[[tuple[Fix, ...]], bool]) -> tuple[Fix, ...]:
    """Those of `known` that give parity together and of which none can be left out; empty where there are none.

    Two defects often hide behind one another, so all are applied at once and taken away one by one. Where all
    together do not do it one may stand in another's way: then each alone is tried, and each two.
    """
    chosen = tuple(known)
    if len(chosen) > 1 and restores(chosen):
        for one in known:
            rest = tuple(other for other in chosen if other is not one)
            chosen = rest if rest and restores(rest) else chosen
        return chosen
    fewer = (pick for count in (1, 2) for pick in combinations(known, count) if count == 1 or len(known) > 2)
    return next((pick for pick in fewer if restores(pick)), ())


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
