"""What the templates are told: everything is decided here, so that they hold almost no logic."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint, PerLayer
from scaffold_tools.render.literals import python_literal
from scaffold_tools.targets.megatron_bridge.blocks import BlockPlan, ProviderField, ProviderSetting
from scaffold_tools.targets.megatron_bridge.emission import scalar
from scaffold_tools.targets.megatron_bridge.exports import config_exports
from scaffold_tools.targets.megatron_bridge.mapping_words import local_names
from scaffold_tools.targets.megatron_bridge.mappings import Mappings
from scaffold_tools.targets.megatron_bridge.naming import Names
from scaffold_tools.targets.megatron_bridge.profile import Profile
from scaffold_tools.targets.megatron_bridge.rules import Setting, activation_alias, activation_key, assign

_CONVERSION = "megatron.bridge.models.conversion"
_GROUPS = (
    ("normalization", "layernorm_"),
    ("position_", "rotary_", "rope_", "no_rope", "seq_len_", "yarn_"),
    ("qk_", "softmax_", "window_", "add_qkv", "kv_channels", "num_query"),
    ("activation_func", "gated_", "add_bias", "ffn_"),
)
"""How assignments are grouped, by prefix of the attribute; what is in no group comes last."""

_MANY = 8
"""More assignments than this are easier to read in groups."""

TRAINING = (Setting("hidden_dropout", "0.0"), Setting("autocast_dtype", "torch.bfloat16", imports=(("torch", ""),)))
"""No effect on logits; the same two lines as in the bridges of Megatron Bridge."""


@dataclass(frozen=True)
class Code:
    """Where the modules of one integration are imported from."""

    folder: str
    """`scaffold_qwen3` or `megatron.bridge.models.qwen`."""
    package: str | None
    """The package to import before use; None inside Megatron-Bridge, which imports its own bridges."""


def block_settings(blocks: BlockPlan, blueprint: Blueprint, profile: Profile) -> tuple[Setting, ...]:
    """Assignments that the blocks of the family need: their own fields, and stock attributes."""
    rows: list[Setting] = []
    asked: list[ProviderField | ProviderSetting] = [*blocks.provider_fields, *blocks.provider_settings]
    for row in asked:
        if isinstance(row, ProviderSetting) and row.symbol is not None:
            rows.append(Setting(row.name, row.symbol, row.comment))
        elif row.code is not None:
            rows.append(Setting(row.name, row.code, row.comment))
        elif isinstance(row.expression, PerLayer):
            rows.append(Setting(row.name, per_layer(row.expression), row.comment))
        elif row.expression is not None:
            rows.append(assign(row.name, row.expression, blueprint, profile, row.comment))
        elif row.value is not None:
            rows.append(Setting(row.name, python_literal(row.value), row.comment))
    return tuple(rows)


def provider_defaults(blueprint: Blueprint, settings: Sequence[Setting], blocks: BlockPlan) -> list[dict[str, str]]:
    """Switches and words that no key of the config decides: right for a provider that is made by hand, too.

    Numbers are left out: those that are constants here may be this size's.
    """
    own = {field.name for field in blocks.provider_fields} | {"transformer_layer_spec"}
    rows = []
    # The base bridge sets it, so no setting does; GPTModelProvider learns positions.
    rotary = blueprint.value("position.kind") == "rope"
    stated = [Setting("position_embedding_type", '"rope"')] if rotary else []
    for row in _unique([*stated, *settings]):
        if row.attribute in own or row.config_key is not None or row.exports:
            continue
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(row.code)
            if isinstance(value, bool | str):
                rows.append({"name": row.attribute, "annotation": type(value).__name__, "code": row.code})
    return rows


def per_layer(expression: PerLayer) -> str:
    """`[{"a": x, "b": y}[kind] for kind in hf_config.layer_types]`."""
    cases = ", ".join(f"{python_literal(label)}: {scalar(case)}" for label, case in expression.cases)
    numbers = all(name.isdigit() or name in ("True", "False") for name, _ in expression.cases)
    label = "str(kind)" if numbers else "kind"  # labels of a blueprint are text
    return f"[{{{cases}}}[{label}] for kind in hf_config.{expression.key}]"


def bridge_context(
    blueprint: Blueprint,
    profile: Profile,
    *,
    names: Names,
    code: Code,
    settings: Sequence[Setting],
    mappings: Mappings,
    blocks: BlockPlan,
    stub: bool = False,
) -> dict[str, Any]:
    """The context of `bridge.py.j2`; with `stub`, for a bridge that hands its config on to the family's gaps."""
    # The provider path of config-builder bridges puts "rope" over any other position embedding.
    rotary = blueprint.value("position.kind", "rope") == "rope"
    builder = profile.construction == "config-builder" and blocks.provider_class is None and rotary
    rows = [row for row in settings if row.config_key is None]
    if builder:
        rows.append(Setting("position_embedding_type", '"rope"'))
    declared = {use.key for use in blueprint.keys}
    if "attention_dropout" not in declared:
        rows.append(Setting("attention_dropout", "0.0"))
    rows.extend(TRAINING)
    exports = config_exports(blueprint, profile, settings)
    alias = activation_alias(blueprint, profile) or _block_alias(blueprint, profile, blocks, names, code)
    context: dict[str, Any] = {
        "package": code.package,
        "architecture": blueprint.architecture,
        "by_class": blueprint.in_transformers,
        "listed": code.package is not None and not blueprint.architecture.endswith(profile.suffixes),
        "provider_class": blocks.provider_class,
        "model_type": blueprint.model_type,
        "config_part": blueprint.config_part,
        "bridge_class": names.bridge_class,
        "title": names.prefix,
        "returns": blocks.provider_class or "GPTModelProvider",
        "builder": builder,
        "no_model_config": profile.construction == "config-builder" and not builder,
        "config_rows": [
            {"key": row.config_key, "attribute": row.attribute, "comment": row.comment}
            for row in settings
            if row.config_key
        ],
        "settings": [_row(row) for row in _unique(rows)],
        "setting_groups": [[_row(row) for row in group] for group in _grouped(_unique(rows))],
        "uses_config": stub or any("hf_config" in row.code for row in rows),
        "stub": False,
        "exports": [{"key": key, "code": value} for key, value in exports],
        "module_types": [{"name": name, "kind": kind} for name, kind in blocks.module_types],
        "rename_groups": [
            {"title": title, "rows": [row for row in mappings.renames if row.group == title]}
            for title in dict.fromkeys(row.group for row in mappings.renames)
        ],
        "fused": list(mappings.fused),
        "activation_alias": None if alias is None else {"name": alias[0], "function": alias[2]},
        "activation_back": _activation_back(blueprint, settings, alias, blocks, written=stub),
    }
    context["imports"] = _imports(context, rows, names=names, code=code, blocks=blocks, mappings=mappings, alias=alias)
    return context


def _block_alias(
    blueprint: Blueprint, profile: Profile, blocks: BlockPlan, names: Names, code: Code
) -> tuple[str, str, str] | None:
    """An activation of the modeling module, where the base bridge would refuse the config's name for it."""
    symbol = next((row.symbol for row in blocks.provider_settings if row.name == "activation_func"), None)
    name = activation_key(blueprint)[1]
    if symbol is None or name in dict(profile.activations):
        return None
    return name, f"{code.folder}.modeling_{names.stem}", symbol


def _activation_back(
    blueprint: Blueprint,
    settings: Sequence[Setting],
    alias: tuple[str, str, str] | None,
    blocks: BlockPlan,
    *,
    written: bool,
) -> str | None:
    """The config's name of an activation that Megatron-Bridge, which goes by the function, has no name for."""
    own = any(row.name == "activation_func" for row in blocks.provider_settings) or "activation" in blocks.features
    chosen = any(row.attribute == "activation_func" and row.imports for row in settings)
    # Where a gap is filled by hand, the function is one that Megatron-Bridge does not know either.
    unknown = written and any(gap.subject == "mlp.activation" for gap in blueprint.gaps)
    return activation_key(blueprint)[1] if own or chosen or unknown or alias is not None else None


def _unique(rows: Iterable[Setting]) -> list[Setting]:
    return list({row.attribute: row for row in rows}.values())


def _row(setting: Setting) -> dict[str, str]:
    return {"attribute": setting.attribute, "code": setting.code, "comment": setting.comment}


def _grouped(rows: Sequence[Setting]) -> list[list[Setting]]:
    groups: list[list[Setting]] = [[] for _ in range(len(_GROUPS) + 1)]
    for row in rows:
        place = next((i for i, prefixes in enumerate(_GROUPS) if row.attribute.startswith(prefixes)), len(_GROUPS))
        groups[place].append(row)
    filled = [group for group in groups if group]
    return filled if len(rows) > _MANY else [[row for group in filled for row in group]]


def _imports(
    context: dict[str, Any],
    rows: Sequence[Setting],
    *,
    names: Names,
    code: Code,
    blocks: BlockPlan,
    mappings: Mappings,
    alias: tuple[str, str, str] | None,
) -> list[dict[str, str]]:
    """Exactly the names that the module uses; the formatter sorts and joins them."""
    found: set[tuple[str, str]] = {
        ("megatron.core.models.gpt.gpt_model", "GPTModel"),
        (f"{_CONVERSION}.mapping_registry", "MegatronMappingRegistry"),
        (f"{_CONVERSION}.model_bridge", "MegatronModelBridge"),
        (f"{_CONVERSION}.param_mapping", "AutoMapping"),
    }
    if context["by_class"]:
        found.add(("transformers", context["architecture"]))
    found |= {("types", "SimpleNamespace")} if context["config_part"] and not context["builder"] else set()
    if context["builder"]:
        found |= {("typing", "Any"), ("transformers", "PretrainedConfig")}
    else:
        found.add(("megatron.bridge.models.hf_pretrained.causal_lm", "PreTrainedCausalLM"))
    if blocks.provider_class is not None:
        found.add((f"{code.folder}.{names.stem}_provider", blocks.provider_class))
    elif not context["builder"] or context["exports"] or context["config_part"]:
        found.add(("megatron.bridge.models.gpt_provider", "GPTModelProvider"))
    for row in mappings.fused:
        local = row.name in local_names(mappings)
        found.add((f"{code.folder}.{names.stem}_mappings" if local else f"{_CONVERSION}.param_mapping", row.name))
    for setting in rows:
        found |= set(setting.imports)
    if alias is not None:
        found.add(alias[1:])
    if context["listed"]:
        found.add((_CONVERSION, "auto_bridge"))
    for asked in blocks.provider_settings:
        if asked.symbol is not None:
            found.add((f"{code.folder}.modeling_{names.stem}", asked.symbol))
    if any("mcore_to_hf_window_size" in (row["code"] or "") for row in context["exports"]):
        found.add((f"{_CONVERSION}.utils", "mcore_to_hf_window_size"))
    return [{"module": module, "name": name} for module, name in sorted(found)]
