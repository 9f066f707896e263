"""Which provider attribute expresses which fact: a table that is read from top to bottom.

Every row names a fact, when it applies, and what follows: the base bridge derives it already, an assignment is
emitted, or a row of CONFIG_MAPPING is added. The first row that applies decides; a fact that no row and no block
speaks for is a gap, so nothing that was learnt about a model can be lost on the way into code.
"""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, Chosen, Const, Expression, Fact, Gap, PerLayer, Product
from scaffold_tools.blueprint.vocabulary import FACT_NAMES
from scaffold_tools.render.literals import python_literal as literal
from scaffold_tools.targets.megatron_bridge.counted import not_built
from scaffold_tools.targets.megatron_bridge.delta_rules import ROWS as DELTA_ROWS
from scaffold_tools.targets.megatron_bridge.emission import config_path, label_flags, plain_key, scalar, value_flags
from scaffold_tools.targets.megatron_bridge.mamba_rules import ROWS as MAMBA_ROWS
from scaffold_tools.targets.megatron_bridge.moe_rules import ROWS as MOE_ROWS
from scaffold_tools.targets.megatron_bridge.position_rules import ROWS as POSITION_ROWS
from scaffold_tools.targets.megatron_bridge.profile import Profile
from scaffold_tools.targets.megatron_bridge.rows import (
    Row,
    Setting,
    Settlement,
    View,
    always,
    assign,
    constant,
    decide,
    derives,
    is_value,
    sets_attribute,
    size,
)
from scaffold_tools.targets.megatron_bridge.selection_rules import ROWS as SELECTION_ROWS

__all__ = ["ROWS", "Setting", "Settlement", "activation_alias", "activation_key", "assign", "settle"]


# ---------------------------------------------------------------------------------------------------------------------
# Conditions and builders that need more than one fact
# ---------------------------------------------------------------------------------------------------------------------


def _powers(expression: Expression) -> dict[str, float] | None:
    """{key: power} of a product without a constant factor."""
    if not isinstance(expression, Product) or expression.constant != 1.0:
        return None
    return {term.key: term.power for term in expression.terms}


def _is_hidden_over_heads(view: View) -> bool:
    """megatron-core's own default for kv_channels; a `head_dim: null` arrives there as None."""
    own = _powers(view.expression) == {"hidden_size": 1.0, "num_attention_heads": -1.0}
    return own and not _is_fed(view, "kv_channels")


def _is_fed(view: View, attribute: str) -> bool:
    """Whether the base bridge sets an attribute from a key of this config, whatever the code does with that key."""
    keys = {key for key, target in view.profile.config_mapping if target == attribute}
    return any(use.key in keys and use.value is not None for use in view.blueprint.keys)


def _is_inverse_root_of_head_dim(view: View) -> bool:
    """megatron-core scales scores by kv_channels**-0.5 when softmax_scale is None."""
    head = view.blueprint.fact("head_dim")
    own = _powers(view.expression)
    if own is not None:
        shape = _powers(head.expression) if head is not None and head.expression is not None else None
        expected = {key: -0.5 * power for key, power in shape.items()} if shape else None
        return own in (expected, {"head_dim": -0.5}, {"hidden_size": -0.5, "num_attention_heads": 0.5})
    if view.fact.expression is not None or head is None:
        return False
    return abs(view.value * head.value**0.5 - 1.0) < 1e-6


def _biases_are_all_or_qkv_only(view: View) -> bool:
    """megatron-core has one switch for all linear biases and one that adds those of q, k and v."""
    qkv, o, mlp = (bool(view.other(name, False)) for name in ("bias.qkv", "bias.o", "bias.mlp"))
    return o == mlp and (qkv or not mlp)


_CURVES = {
    "F.gelu": "gelu",
    "F.relu": "relu",
    "F.silu": "silu",
    "F.sigmoid": "sigmoid",
    "torch.tanh": "tanh",
    "squared_relu": "relu2",
    "fast_gelu": "gelu_tanh",
    "quick_gelu": "quick_gelu",
}
FUNCTIONS = {
    "gelu": ("torch.nn.functional", "gelu"),
    "relu": ("torch.nn.functional", "relu"),
    "silu": ("torch.nn.functional", "silu"),
    "relu2": ("megatron.core.activations", "squared_relu"),
    "gelu_tanh": ("megatron.core.activations", "fast_gelu"),
    "quick_gelu": ("megatron.core.activations", "quick_gelu"),
}


def activation_key(blueprint: Blueprint) -> tuple[str | None, str]:
    """(key, name) that the base bridge reads the activation from: hidden_act, else hidden_activation, else silu."""
    values = {use.key: use.value for use in blueprint.keys}
    for key in ("hidden_act", "hidden_activation"):
        if isinstance(values.get(key), str):
            return key, values[key]
    return None, "silu"


def activation_alias(blueprint: Blueprint, profile: Profile) -> tuple[str, str, str] | None:
    """(config's name, module, function) where the base bridge would refuse the name, and so never reach ours."""
    name, curve = activation_key(blueprint)[1], blueprint.value("mlp.activation")
    if name in dict(profile.activations):
        return None
    return (name, *FUNCTIONS[curve]) if curve in FUNCTIONS else None


def _base_curve(view: View) -> str | None:
    """The curve that the base bridge arrives at; None where it refuses the config's name for it."""
    function = dict(view.profile.activations).get(activation_key(view.blueprint)[1])
    if function is None and activation_alias(view.blueprint, view.profile) is not None:
        return str(view.value)
    return _CURVES.get(function) if function is not None else None


def _activation(view: View) -> tuple[Setting, ...]:
    module, name = FUNCTIONS[view.value]
    declared = activation_key(view.blueprint)[1]
    comment = f"the code runs {view.value}, whatever the config calls it" if declared != view.value else ""
    return (Setting("activation_func", name, comment, imports=((module, name),)),)


def _in_every_layer(view: View) -> bool:
    """Whether a fact that may differ between layers does not: megatron-core has one value for all of them."""
    return not isinstance(view.value, list)


def _windows(view: View) -> list[int | None]:
    value = view.value
    return list(value) if isinstance(value, list | tuple) else [value]


def _window_expression(view: View) -> Product | Const | None:
    """The one width of all windowed layers."""
    if isinstance(view.expression, PerLayer):
        cases = {case for _, case in view.expression.cases if case != Const(None)}
        return next(iter(cases)) if len(cases) == 1 else None
    if isinstance(view.expression, Chosen):
        sides = [case for case in (view.expression.yes, view.expression.no) if case != Const(None)]
        return sides[0] if len(sides) == 1 else None
    if isinstance(view.expression, Const):
        widths = {width for width in _windows(view) if width is not None}
        return Const(next(iter(widths))) if len(widths) == 1 else None
    return view.expression if isinstance(view.expression, Product) else None


def _one_window(view: View) -> bool:
    if _window_expression(view) is None:
        return False
    return isinstance(view.expression, PerLayer | Chosen) or None not in _windows(view)


_EXPORT_WINDOW = "mcore_to_hf_window_size(provider.window_size)"


def _window(view: View) -> tuple[Setting, ...]:
    width = _window_expression(view)
    assert width is not None
    code = f"({scalar(width)} - 1, 0)" if isinstance(width, Product) else literal((width.value - 1, 0))
    key = plain_key(width)
    if key is not None and not isinstance(view.expression, PerLayer | Chosen):
        code += f" if {config_path(key)} is not None else None"  # other sizes of a family may have no window
    settings = [
        Setting(
            "window_size",
            code,
            "Hugging Face counts the query itself, megatron-core only the keys to its left",
            exports=((key, _EXPORT_WINDOW),) if key and "." not in key else (),
        )
    ]
    if isinstance(view.expression, PerLayer) and None in _windows(view):
        windowed = [label for label, case in view.expression.cases if case != Const(None)]
        rest = [label for label, case in view.expression.cases if case == Const(None)]
        choice = f"{literal(windowed[0])} if windowed else {literal(rest[0])}"
        back = f"[{choice} for windowed in provider.window_attn_skip_freq]"
        exports = ((view.expression.key, back),) if len(windowed) == len(rest) == 1 else ()
        code = label_flags(view.expression, windowed)
        settings.append(Setting("window_attn_skip_freq", code, "1: the layer uses the window", exports=exports))
    if isinstance(view.expression, Chosen):
        code = value_flags(view.expression, width)
        settings.append(Setting("window_attn_skip_freq", code, "1: the layer uses the window"))
    return tuple(settings)


# ---------------------------------------------------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------------------------------------------------

_BY_BIAS_MLP = "add_bias_linear is one switch for attention output and MLP"
_OFF = "off is megatron-core's default"

ROWS: tuple[Row, ...] = (
    *size("num_layers", "num_layers"),
    *size("hidden_size", "hidden_size"),
    *size("vocab_size", "vocab_size"),
    *size("num_attention_heads", "num_attention_heads"),
    Row(
        "num_query_groups",
        lambda view: (
            _powers(view.expression) == {"num_attention_heads": 1.0} and not _is_fed(view, "num_query_groups")
        ),
        derived="megatron-core gives every query head its own group when num_query_groups is None",
    ),
    *size("num_query_groups", "num_query_groups"),
    Row("head_dim", _is_hidden_over_heads, derived="megatron-core divides hidden_size by the heads"),
    *size("head_dim", "kv_channels"),
    *size("ffn_hidden_size", "ffn_hidden_size"),
    *size("max_position_embeddings", "seq_length"),
    # Norms
    Row("norm.kind", is_value("rmsnorm"), settings=constant("normalization", "RMSNorm")),
    Row("norm.kind", is_value("layernorm"), settings=constant("normalization", "LayerNorm")),
    Row("norm.zero_centered", is_value(False), derived=_OFF),
    Row(
        "norm.zero_centered",
        is_value(True),
        settings=constant("layernorm_zero_centered_gamma", True, "norms multiply by 1 + weight"),
    ),
    Row("norm.eps", derives("layernorm_epsilon"), derived="CONFIG_MAPPING gives layernorm_epsilon"),
    Row("norm.eps", always, settings=sets_attribute("layernorm_epsilon")),
    Row(
        "norm.bias",
        lambda view: view.value == (view.other("norm.kind") == "layernorm"),
        derived="LayerNorm has a bias and RMSNorm has none, as in megatron-core",
    ),
    Row("norm.affine", is_value(True), derived="norms of megatron-core have a weight"),
    # Residual stream, embedding and logits: stock GPTModel multiplies by nothing
    Row("residual.parallel", is_value(False), derived="layers of megatron-core are sequential"),
    Row("residual.multiplier", is_value(1.0, 1, None), derived=_OFF),
    Row("embedding.norm", is_value(False), derived="the embedding of megatron-core has no norm"),
    Row("embedding.multiplier", is_value(1.0, 1, None), derived=_OFF),
    Row("logits.multiplier", is_value(1.0, 1, None), derived=_OFF),
    Row("logits.softcap", is_value(None), derived=_OFF),
    # Attention
    Row("attention.scale", _is_inverse_root_of_head_dim, derived="megatron-core scales by kv_channels**-0.5"),
    Row("attention.scale", always, settings=sets_attribute("softmax_scale")),
    Row("attention.softcap", is_value(None), derived=_OFF),
    Row("attention.sinks", is_value(False), derived=_OFF),
    Row("attention.sinks", is_value(True), settings=constant("softmax_type", "learnable", "one sink a head")),
    Row("attention.clip_qkv", is_value(None), derived=_OFF),
    Row("attention.window", lambda view: set(_windows(view)) <= {None}, derived="full attention is the default"),
    Row("attention.window", _one_window, settings=_window),
    Row("qk_norm.kind", is_value("none"), derived=_OFF),
    Row("qk_norm.kind", is_value("per_head"), settings=constant("qk_layernorm", True)),
    Row(
        "qk_norm.norm",
        lambda view: view.other("qk_norm.kind") == "none" or view.value == view.other("norm.kind"),
        derived="q and k norms are of the kind of the layer norms",
    ),
    Row(
        "qk_norm.bias",
        lambda view: view.other("qk_norm.kind") == "none" or view.value == (view.other("qk_norm.norm") == "layernorm"),
        derived="LayerNorm has a bias and RMSNorm has none, as in megatron-core",
    ),
    Row("qk_norm.affine", is_value(True), derived="norms of megatron-core have a weight"),
    Row(
        "qk_norm.after_rope", lambda view: not view.value or view.other("qk_norm.kind") == "none", derived="norm first"
    ),
    Row(
        "qk_norm.zero_centered",
        lambda view: (
            view.other("qk_norm.kind") == "none" or bool(view.value) == bool(view.other("norm.zero_centered", False))
        ),
        derived="q and k norms follow layernorm_zero_centered_gamma",
    ),
    Row(
        "qk_norm.eps",
        lambda view: (
            view.other("qk_norm.kind") == "none"
            or (norm := view.blueprint.fact("norm.eps")) is None
            or (norm.expression == view.fact.expression and norm.value == view.value)
        ),
        derived="q and k norms follow layernorm_epsilon",
    ),
    *POSITION_ROWS,
    # MLP
    Row("mlp.activation", lambda view: _base_curve(view) == view.value, derived="the base bridge reads its name"),
    Row("mlp.activation", lambda view: view.value in FUNCTIONS, settings=_activation),
    Row("mlp.clamp", lambda view: view.other("moe.clamp") == view.value, derived="moe.clamp speaks for it"),
    Row("mlp.clamp", _in_every_layer, settings=sets_attribute("activation_func_clamp_value")),
    Row("mlp.up_offset", lambda view: view.other("moe.up_offset") == view.value, derived="moe.up_offset does"),
    Row("mlp.up_offset", _in_every_layer, settings=sets_attribute("glu_linear_offset")),
    Row("mlp.gated", is_value(True), settings=constant("gated_linear_unit", True)),
    Row("mlp.gated", is_value(False), settings=constant("gated_linear_unit", False)),
    # Biases
    Row(
        "bias.mlp",
        lambda view: _biases_are_all_or_qkv_only(view) and derives("add_bias_linear")(view),
        derived="CONFIG_MAPPING gives add_bias_linear",
    ),
    Row("bias.mlp", _biases_are_all_or_qkv_only, settings=sets_attribute("add_bias_linear")),
    Row("bias.o", _biases_are_all_or_qkv_only, derived=_BY_BIAS_MLP),
    Row("bias.qkv", derives("add_qkv_bias"), derived="CONFIG_MAPPING gives add_qkv_bias"),
    Row("bias.qkv", always, settings=sets_attribute("add_qkv_bias")),
    Row("bias.head", is_value(False), derived="the output layer has no bias"),
    # Head
    *size("tied_embeddings", "share_embeddings_and_output_weights"),
    *MOE_ROWS,
    *DELTA_ROWS,
    *MAMBA_ROWS,
    *SELECTION_ROWS,
)
"""Unknown facts of later vocabularies have no row here, and so are gaps by construction."""


def settle(blueprint: Blueprint, profile: Profile, covered: frozenset[str] = frozenset()) -> Settlement:
    """Decide every fact of the blueprint that no block covers.

    `covered` are the facts that blocks express; their rows are not asked.
    """
    settings: list[Setting] = []
    derived: dict[str, str] = {}
    gaps: list[Gap] = []
    for fact in blueprint.facts:
        found = decide(ROWS, View(fact, blueprint, profile), covered)
        if found is None:
            gaps.append(_gap(fact))
        elif isinstance(found, str):
            derived[fact.name] = found
        else:
            missing = [setting.attribute for setting in found if setting.attribute not in profile.provider_fields]
            if missing:
                gaps.append(_gap(fact, f"this Megatron-Bridge has no provider attribute {', '.join(missing)}"))
            elif found:
                settings.extend(found)
            else:
                derived[fact.name] = "the base bridge finds it"
    settings.extend(not_built(blueprint, profile))
    return Settlement(tuple(settings), derived, tuple(gaps))


def _gap(fact: Fact, reason: str = "") -> Gap:
    known = fact.name in FACT_NAMES
    return Gap(
        subject=fact.name,
        reason=reason or f"no attribute of GPTModelProvider expresses {fact.name} = {str(fact.value)[:80]}",
        write_what="a row in the rules or a block in the family folder" if known else "a row of the vocabulary first",
        check="scaffold verify --locate",
    )
