"""What the two templates are given. The plan decides; the templates write."""

from __future__ import annotations

from typing import Any

from scaffold_tools.targets.megatron_bridge.blocks.features import MIXERS, expand
from scaffold_tools.targets.megatron_bridge.blocks.fragments import names_used, templates
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockPlan, Import
from scaffold_tools.targets.megatron_bridge.blocks.spec_lines import exception_lines, spec_lines

GPT_PROVIDER = "megatron.bridge.models.gpt_provider.GPTModelProvider"
_OUTPUT = frozenset({"logits_multiplier", "logits_softcap", "head_bias", "head_transform"})
_OUTSIDE_LAYERS = _OUTPUT | {
    *("activation_module", "activation_beta", "activation_multiplier", "embed_norm", "positions"),
    *("embedding_multiplier", "rope", "head_bias", "eager_attention"),
}
"""Features that change the built model outside the layer spec (or guard it)."""


def modeling_context(plan: BlockPlan) -> dict[str, Any]:
    """Variables of `modeling.py.j2` that follow from the plan; title, year and the like come from the caller."""
    features = expand(plan.features)
    imports, modules, engine = names_used(features)
    lines = spec_lines(features, plan.naming)
    return {
        **_common(plan, features),
        "imports": _rows(imports),
        "modules": [_plain_import(name) for name in sorted(set(modules))],
        "engine_names": engine,
        "fragments": [f"blocks/{name}.py.j2" for name in templates(features)],
        "spec_lines": lines,
        "mixers": [{"name": name, "some": f"{name}_some" in features} for name in MIXERS if name in features],
        "spec_changes_mlp": any(target == "mlp" for target, _ in lines),
        "spec_changes_experts": any(target.startswith("experts.") for target, _ in lines),
        "spec_uses_attention": any(target.startswith("attention.") for target, _ in lines),
        "head_transform_formula": plan.values.get("head_transform_formula", ""),
        "exceptions": exception_lines(features, plan.naming, plan.values),
        "gate_formula": plan.values.get("gate_formula", ""),
        "activation_formula": plan.values.get("activation_formula", ""),
        "activation_meaning": plan.values.get("activation_meaning", ""),
        "activation_calls": plan.values.get("activation_calls", "").split(),
    }


def provider_context(plan: BlockPlan, *, modeling_module: str) -> dict[str, Any]:
    """Variables of `provider.py.j2`; `modeling_module` is the dotted name of the modeling module."""
    features = expand(plan.features)
    base_module, _, base = plan.values.get("provider_base", GPT_PROVIDER).rpartition(".")
    imports = [
        Import("dataclasses", "dataclass"),
        Import("megatron.bridge.models.gpt_provider", "GPTModelProvider"),
        Import(base_module, base),
        *(Import(modeling_module, name) for name in _symbols(plan, features)),
    ]
    if plan.layer_spec:
        imports += [Import("collections.abc", "Callable"), Import("megatron.core.transformer", "ModuleSpec")]
    if any("Any" in field.annotation for field in plan.provider_fields):
        imports.append(Import("typing", "Any"))
    if features & {"activation_beta", "activation_multiplier"}:
        imports.append(Import("functools", "partial"))
    if features & _OUTSIDE_LAYERS:
        imports.append(Import("megatron.core.models.gpt", "GPTModel"))
    if features & (_OUTPUT | {"embedding_multiplier"}):
        imports.append(Import("megatron.bridge.models.gemma.modules", "extend_instance"))
    if "eager_attention" in features:
        imports.append(Import("megatron.core.transformer.enums", "AttnBackend"))
    return {
        **_common(plan, features),
        "imports": _rows(imports),
        "base": base,
        "provides": bool(features & _OUTSIDE_LAYERS),
        "fields": plan.provider_fields,
    }


def _common(plan: BlockPlan, features: frozenset[str]) -> dict[str, Any]:
    return {
        "features": features,
        "prefix": plan.naming.prefix,
        "stem": plan.naming.stem,
        "layer_spec": plan.layer_spec,
    }


def _rows(imports: list[Import]) -> list[dict[str, str]]:
    unique = {(item.module, item.name) for item in imports}
    return [{"module": module, "name": name} for module, name in sorted(unique)]


def _plain_import(name: str) -> dict[str, str]:
    module, _, alias = name.partition(" as ")
    return {"module": module, "alias": alias}


def _symbols(plan: BlockPlan, features: frozenset[str]) -> list[str]:
    """Names of the modeling module that the provider uses."""
    naming = plan.naming
    table = (
        ("embedding_multiplier" in features, f"{naming.prefix}EmbeddingMixin"),
        ("activation_module" in features, f"{naming.prefix}Activation"),
        (bool(features & {"activation_beta", "activation_multiplier"}), f"{naming.stem}_activation"),
        ("embed_norm" in features, f"{naming.stem}_embedding_norm"),
        ("positions" in features, f"{naming.prefix}PositionEmbedding"),
        (bool(features & _OUTPUT), f"{naming.prefix}OutputLayerMixin"),
        ("rope" in features, f"{naming.prefix}RotaryEmbedding"),
        ("head_bias" in features, f"{naming.prefix}HeadBias"),
        ("head_transform" in features, f"{naming.prefix}HeadTransform"),
        (plan.layer_spec is not None, str(plan.layer_spec)),
    )
    return [name for holds, name in table if holds]
