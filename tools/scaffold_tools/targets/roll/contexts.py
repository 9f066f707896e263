"""What the templates are told: everything is decided before, so that they hold almost no logic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from scaffold_tools.targets.megatron_bridge.blocks import modeling_context
from scaffold_tools.targets.megatron_bridge.blocks.features import expand
from scaffold_tools.targets.roll.binding import OUTSIDE_LAYERS, hook_code, needs_rope, told
from scaffold_tools.targets.roll.operations import BIAS_KINDS

if TYPE_CHECKING:
    from scaffold_tools.targets.roll.design import Design

Name = tuple[str, str]
"""(module, name) of `from module import name`."""

_MARGIN = frozenset({"head_bias", "head_transform", "embed_norm", "activation_module", "positions"})
_OUTPUT = frozenset({"logits_multiplier", "logits_softcap", "head_bias", "head_transform"})


def template(made: Design) -> dict[str, Any]:
    """The context of `template.py.j2`."""
    names, binding, converters = made.names, made.binding, made.converters
    hooks = _hooks(made)
    own_template = f"{names.prefix}Template" if hooks["told"] else "Template"
    config, model = _config_class(made), _model_class(made)
    exported = sorted(name for name in (config, model) if name)
    return {
        "provenance": made.provenance,
        "appended": made.appended,
        "replaces": made.replaces,
        "docstring": f"{names.prefix} for ROLL: importing this package registers it."
        if not made.profile.edits
        else "",
        "imports": _rows(_template_imports(made, own_template, config, model)),
        "hooks": hooks,
        "template_class": own_template,
        "config_part": made.blueprint.config_part,
        "config_class": config,
        "config_base": _config_base(made),
        "model_class": model,
        "model_type": names.model_type,
        "presets": list(made.distribution.presets),
        "own_rules": [{"field": field, "names": list(listed)} for field, listed in made.distribution.own],
        "grouped_rules": [{"name": name, "grouped": grouped} for name, grouped in made.distribution.grouped],
        "layer_prefix": converters.layer_prefix,
        "moe_prefix": converters.moe_prefix,
        "ignored": list(converters.ignored),
        "config_rows": [{"key": _whole_key(made, key), "field": field} for key, field in binding.config_rows],
        "constants": [{"field": field, "code": code} for field, code in binding.constants],
        "operations": [
            {
                "name": row.name,
                "hf": row.hf[0] if len(row.hf) == 1 else list(row.hf),
                "mca": row.mca[0] if len(row.mca) == 1 else list(row.mca),
                "arguments": [{"name": name, "value": value} for name, value in row.arguments],
            }
            for row in converters.operations
        ],
        "exported": exported,
    }


def _hooks(made: Design) -> dict[str, Any]:
    """What the template's subclass does; `told` is empty where there is nothing to do."""
    binding, converters = made.binding, made.converters
    lora = _lora(made)
    parts = (
        (bool(binding.hooks), "fields that no single config key holds"),
        (bool(converters.homes), "names that differ between layers"),
        (converters.stacked, "experts that are one tensor"),
        (bool(converters.aliases), "names that begin like an expert's"),
        (made.infinite, "infinite numbers"),
        (bool(lora), "LoRA adapters of its own operations"),
    )
    words = [text for holds, text in parts if holds]
    listed = " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
    return {
        "settings": [
            {"field": row.attribute, "code": hook_code(row), "comment": row.comment} for row in binding.hooks
        ],
        "rope": needs_rope(binding.hooks),
        "homes": [[home.usual, home.other, home.flags, home.at] for home in converters.homes],
        "aliases": [list(row) for row in converters.aliases],
        "infinite": made.infinite,
        "lora": lora,
        "stacked": converters.stacked,
        "told": f"Converts {listed}." if words else "",
    }


def _lora(made: Design) -> dict[str, list[str]]:
    """Operations of the package that adapters meet: all of them, and those that do more than move rows."""
    if "get_lora_conver_op" not in made.profile.hooks:
        return {}  # an adapter without it exports no LoRA
    rows = (row for row in made.converters.local if row.kind not in BIAS_KINDS)
    own = [row for row in rows if not row.kind.startswith("stacked_")]  # experts are refused as such
    if not own:
        return {}
    return {"own": [row.name for row in own], "others": [row.name for row in own if not row.moves_rows]}


def _whole_key(made: Design, key: str) -> str:
    part = made.blueprint.config_part
    return f"{part}.{key}" if part and not made.appended else key  # older templates flatten a nested config


def _template_imports(made: Design, own_template: str, config: str | None, model: str | None) -> Iterable[Name]:
    parent, converters = made.names.parent, made.converters
    local = {row.name for row in converters.local}
    here = "." if made.profile.edits else f"{made.names.package}."
    yield parent + "converter.dist_converter", "register_dist_config"
    if made.replaces:
        yield parent + "converter.dist_converter", "dist_configs"
    for preset in made.distribution.presets:
        yield parent + "converter.dist_converter", preset
    if made.distribution.own:
        yield parent + "converter.dist_converter", "DistParallelConfig"
    if not made.appended:
        yield from _names_of_template(made, own_template, local, here)
    if config:
        yield f"{here}configuration_{made.names.stem}", config
    else:
        yield parent + "auto.config_auto", "register_config"
        yield parent + "model_config", _config_base(made)
    if model:
        yield f"{here}modeling_{made.names.stem}", model
    else:
        yield parent + "auto.modeling_auto", "register_model"
        yield parent + "model_factory", "McaGPTModel"


def _names_of_template(made: Design, own_template: str, local: set[str], here: str) -> Iterable[Name]:
    """What the template itself uses, which needs no import at the end of template.py."""
    parent, converters = made.names.parent, made.converters
    yield parent + "converter.template", "register_template"
    if own_template != "Template":
        yield parent + "converter.template", "Template"
    if converters.homes:
        yield parent + "converter.convert_utils", "get_mca_layer_index"
    if converters.stacked:
        for name in ("convert_to_hf_prefix", "get_mca_moe_index", "get_mca_weight_prefix"):
            yield parent + "converter.convert_utils", name
    lora = _lora(made)
    if lora and lora["others"] != lora["own"]:
        for name in ("CopyConverOp", "RenameConverOp"):
            yield parent + "converter.template", name
    for row in converters.operations:
        own = row.name in local
        yield (f"{here}converters_{made.names.stem}" if own else parent + "converter.template"), row.name


def configuration(made: Design) -> dict[str, Any]:
    """The context of `configuration.py.j2`."""
    names, binding = made.names, made.binding
    found: set[Name] = {
        ("dataclasses", "dataclass"),
        (names.parent + "auto.config_auto", "register_config"),
        (names.parent + "model_config", _config_base(made)),
    }
    if binding.fields:
        found.add(("dataclasses", "field"))
    if any("Any" in row.annotation for row in binding.fields):
        found.add(("typing", "Any"))
    if binding.activation is not None:
        found |= set(binding.activation.imports)
        if binding.activation.symbol:
            found.add((_modules(made), binding.activation.symbol))
    return {
        "imports": _rows(found),
        "model_type": names.model_type,
        "config_class": _config_class(made),
        "config_base": _config_base(made),
        "title": names.prefix,
        "fields": list(binding.fields),
        "activation": binding.activation,
    }


def modeling(made: Design) -> dict[str, Any]:
    """The context of `modeling.py.j2`."""
    names, binding, blocks = made.names, made.binding, made.blocks
    features = expand(blocks.features)
    config = _config_class(made) or _config_base(made)
    adapts = bool(features & OUTSIDE_LAYERS) or binding.interpolates
    found: set[Name] = {
        (names.parent + "auto.modeling_auto", "register_model"),
        (names.parent + "model_factory", "McaGPTModel"),
    }
    here = "." if made.profile.edits else f"{names.package}."
    own = binding.own_config
    found.add((f"{here}configuration_{names.stem}" if own else names.parent + "model_config", config))
    if adapts:
        found.add((("..." if made.profile.edits else "mcore_adapter.") + "platforms", "current_platform"))
    if features & _MARGIN:
        found.add(("megatron.core.tensor_parallel.layers", "set_defaults_if_not_set_tensor_model_parallel_attributes"))
    found |= {(_modules(made), name) for name in _symbols(made, features)}
    found |= {binding.stock_spec} if binding.stock_spec and not blocks.layer_spec else set()
    return {
        "imports": _rows(found),
        "row_bias": made.row_bias,
        "model_type": names.model_type,
        "model_class": _model_class(made),
        "config_class": config,
        "title": names.prefix,
        "prefix": blocks.naming.prefix,
        "stem": blocks.naming.stem,
        "features": features,
        "adapts": adapts,
        "numbered": binding.numbered,
        "masked": "eager_attention" in features,
        "unpacked": binding.numbered or "query_temperature" in features,
        "interpolates": binding.interpolates,
        "layer_spec": blocks.layer_spec or (binding.stock_spec[1] if binding.stock_spec else None),
        "spec_takes_stage": blocks.layer_spec is None or blocks.layer_spec.endswith("_block_spec"),
    }


def _symbols(made: Design, features: frozenset[str]) -> list[str]:
    """Names of the modules that the model class uses."""
    prefix, stem = made.blocks.naming.prefix, made.blocks.naming.stem
    table = (
        ("embedding_multiplier" in features, f"{prefix}EmbeddingMixin"),
        ("activation_module" in features, f"{prefix}Activation"),
        ("embed_norm" in features, f"{stem}_embedding_norm"),
        ("positions" in features, f"{prefix}PositionEmbedding"),
        (bool(features & _OUTPUT), f"{prefix}OutputLayerMixin"),
        ("rope" in features, f"{prefix}RotaryEmbedding"),
        ("head_bias" in features, f"{prefix}HeadBias"),
        ("head_transform" in features, f"{prefix}HeadTransform"),
        (bool(features & (_OUTPUT | {"embedding_multiplier"})), "extend_instance"),
        (made.blocks.layer_spec is not None, str(made.blocks.layer_spec)),
    )
    return [name for holds, name in table if holds]


BRIDGE = "megatron.bridge."
EXTEND, STOCK_LAYER = "extend_instance", "transformer_engine_layer_spec"


def modules(made: Design) -> dict[str, Any]:
    """The context of `modules.py.j2`: the fragments of Megatron-Bridge's modeling modules, without Megatron-Bridge."""
    words = modeling_context(made.blocks)
    taken = {row["name"] for row in words["imports"] if row["module"].startswith(BRIDGE)}
    imports = [row for row in words["imports"] if not row["module"].startswith(BRIDGE)]
    features = expand(made.blocks.features)
    extends = EXTEND in taken or bool(features & (_OUTPUT | {"embedding_multiplier"}))
    stock = STOCK_LAYER in taken
    if stock:
        module = "megatron.core.models.gpt.gpt_layer_specs"
        imports.append({"module": module, "name": "get_gpt_layer_with_transformer_engine_spec"})
    return {**words, "imports": imports, "title": made.names.prefix, "extends": extends, "stock_layer": stock}


def appended(made: Design) -> dict[str, Any]:
    """The context of `appended.py.j2`: the template and its operations, where template.py has those of all models."""
    return {**template(made), "local": converters(made)["local"]}


def converters(made: Design) -> dict[str, Any]:
    """The context of `converters.py.j2`."""
    kinds = {row.kind for row in made.converters.local}
    module = made.names.parent + "converter.template"
    found = {(module, "QKVConverOp" if kind == "paired_qkv" else "ConverOp") for kind in kinds}
    if kinds & {"fused_gate_up", "transposed_stack", "stacked_gate_up", "stacked_pair", "stacked_bias"}:
        found.add((made.names.parent + "converter.convert_utils", "StackedTensors"))
    local = [
        {
            "name": row.name,
            "kind": row.kind,
            "order": list(row.order),
            "blocks": row.blocks,
            "interleaved": row.interleaved,
            "transposed": row.transposed,
            "sizes": list(row.sizes),
            "groups": list(row.groups),
            "uses_config": any("config." in size for size in row.sizes),
        }
        for row in made.converters.local
    ]
    return {"title": made.names.prefix, "imports": _rows(found), "local": local}


def package(made: Design) -> dict[str, Any]:
    """The context of the files of a package of its own."""
    names = made.names
    return {
        "package": names.package,
        "distribution": names.package.replace("_", "-"),
        "description": f"{names.prefix} for ROLL",
        "title": names.prefix,
        "model_type": names.model_type,
        "model_id": made.model_id,
        "summary": told(made.blueprint, made.blocks),
        "provenance": made.provenance,
    }


def _config_base(made: Design) -> str:
    return "MLAMcaModelConfig" if made.latent else "McaModelConfig"


def _config_class(made: Design) -> str | None:
    return f"{made.names.prefix}Config" if made.binding.own_config else None


def _model_class(made: Design) -> str | None:
    return f"{made.names.prefix}Model" if made.binding.own_model else None


def _modules(made: Design) -> str:
    here = "." if made.profile.edits else f"{made.names.package}."
    return f"{here}modules_{made.blocks.naming.stem}"


def _rows(found: Iterable[Name]) -> list[dict[str, Any]]:
    """Rows of `imports.j2`: how many dots stand before a module is not part of its name."""
    rows = []
    for module, name in sorted(set(found)):
        bare = module.lstrip(".")
        rows.append({"level": len(module) - len(bare), "module": bare, "name": name})
    return rows
