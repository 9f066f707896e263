"""How decisions reach mcore_adapter: which are rows of a template, which need a hook, which a class of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.blocks import BlockPlan, ProviderField
from scaffold_tools.targets.megatron_bridge.rows import Setting
from scaffold_tools.targets.roll.rules import INTERPOLATION, SPEC

ROPE = "hf_config.rope_parameters"
"""What transformers before 5 does not have; the hook makes it there."""

OUTSIDE_LAYERS = frozenset(
    {"rope", "embedding_multiplier", "embed_norm", "positions", "activation_module"}
    | {"head_bias", "head_transform", "logits_multiplier", "logits_softcap"}
)
"""Features that change the built model outside the layer spec."""


@dataclass(frozen=True)
class Activation:
    """The function of the MLP, which no field of a saved config can hold."""

    code: str
    imports: tuple[tuple[str, str], ...] = ()
    symbol: str | None = None
    """A name of the model's own modules."""
    told: str = ""


@dataclass(frozen=True)
class Binding:
    """Every setting at its place."""

    config_rows: tuple[tuple[str, str], ...]
    """(Hugging Face key, field): converted both ways."""
    constants: tuple[tuple[str, str], ...]
    """(field, code)."""
    hooks: tuple[Setting, ...]
    """Computed from the Hugging Face config."""
    fields: tuple[ProviderField, ...]
    """What the model's config class adds."""
    activation: Activation | None
    interpolates: bool
    """Whether positions are divided by a factor."""
    own_config: bool
    own_model: bool
    numbered: bool = False
    """Whether positions are looked up by their number, which ROLL does not give."""
    stock_spec: tuple[str, str] | None = None
    """(module, function) of megatron-core that builds the layers, where it is not the one of McaGPTModel."""


USUAL_KEYS = frozenset({"rope_theta", "rope_parameters"})
"""Keys of one version of transformers or another: the adapter passes over what a config does not have."""


def bind(
    settings: Sequence[Setting], blocks: BlockPlan, known: frozenset[str], row_bias: bool, keys: frozenset[str]
) -> Binding:
    """Sort settings by what they need.

    Args:
        settings: one a field, under the adapter's names.
        blocks: the custom modules of the model.
        known: fields of the config class that it inherits from.
        row_bias: whether row-parallel modules have biases, which the model has to rename.
        keys: of config.json. What a config class computes cannot be written back, so it is no row.
    """
    rows: dict[str, str] = {}
    constants: list[tuple[str, str]] = []
    hooks: list[Setting] = []
    activation = _activation(settings, blocks)
    scaled = "rope" in blocks.features or "latent_rope" in blocks.features
    for row in settings:
        if row.attribute in ("activation_func", SPEC):
            continue
        key = row.config_key
        plain = key is not None and key not in rows and key in keys | USUAL_KEYS
        if key is not None and plain and not (scaled and row.attribute == "rope_parameters"):
            rows[key] = row.attribute
        elif "hf_config" in row.code:
            hooks.append(row)
        else:
            constants.append((row.attribute, row.code))
    interpolates = any(row.attribute == INTERPOLATION for row in settings)
    fields = own_fields(blocks, known, interpolates)
    own_config = bool(fields) or activation is not None
    numbered = "positions" in blocks.features or ("position_embedding_type", '"learned_absolute"') in constants
    outside = numbered or bool(blocks.features & (OUTSIDE_LAYERS | {"query_temperature", "eager_attention"}))
    spec = next(
        (row.imports[0] for row in settings if row.attribute == SPEC and not row.code.startswith("partial(")), None
    )
    return Binding(
        config_rows=tuple(rows.items()),
        constants=tuple(constants),
        hooks=tuple(hooks),
        fields=fields,
        activation=activation,
        interpolates=interpolates,
        own_config=own_config,
        own_model=own_config or outside or interpolates or row_bias or bool(spec or blocks.layer_spec),
        numbered=numbered,
        stock_spec=spec,
    )


def own_fields(blocks: BlockPlan, known: frozenset[str], interpolates: bool) -> tuple[ProviderField, ...]:
    """Fields that the config class has to add to what it inherits."""
    rows = [row for row in blocks.provider_fields if row.name not in known]
    if interpolates:
        comment = "Positions are divided by it."
        rows.append(ProviderField(INTERPOLATION, "float | None", "None", comment=comment))
    return tuple(rows)


def _activation(settings: Sequence[Setting], blocks: BlockPlan) -> Activation | None:
    stem = blocks.naming.stem
    for feature, keyword in (("activation_beta", "beta"), ("activation_multiplier", "multiplier")):
        if feature in blocks.features:
            code = f"partial({stem}_activation, {keyword}=self.{feature})"
            return Activation(code, (("functools", "partial"),), f"{stem}_activation")
    row = next((row for row in settings if row.attribute == "activation_func"), None)
    if row is None:
        return None
    symbol = None if row.imports else row.code
    gated = any(one.attribute == "swiglu" for one in settings)
    told = "`swiglu` stands for a gate here, whose function is another." if gated else ""
    return Activation(row.code, row.imports, symbol, told)


def hook_code(row: Setting) -> str:
    """The code of a hook, over the rope dict that the hook makes where there is none."""
    return row.code.replace(ROPE, "rope_parameters")


def needs_rope(hooks: Sequence[Setting]) -> bool:
    """Whether a hook looks into the rope dict."""
    return any(ROPE in row.code for row in hooks)


def told(blueprint: Blueprint, blocks: BlockPlan) -> str:
    """One line: what of the model stock Megatron Core lacks."""
    names = [block.name for block in blocks.blocks]
    return f"Beyond stock Megatron Core: {', '.join(names)}." if names else ""
