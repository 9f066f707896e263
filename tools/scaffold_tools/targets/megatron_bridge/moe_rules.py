"""Provider attributes of mixtures of experts: rows of the table in `rules.py`."""

from __future__ import annotations

from collections.abc import Callable

from scaffold_tools.blueprint.facts import Chosen, Const, LayerRule, PerLayer, Product
from scaffold_tools.targets.megatron_bridge.emission import label_flags, plain_key, rule_flags, scalar
from scaffold_tools.targets.megatron_bridge.rows import (
    Row,
    Setting,
    View,
    always,
    constant,
    derives,
    is_value,
    sets_attribute,
    size,
)

_OFF = "off is megatron-core's default"
_SPECS = "megatron.core.models.gpt.gpt_layer_specs"


def layer_flags(view: View) -> str | None:
    """Code that gives 1 for each layer with experts; None where the config does not tell."""
    expression = view.expression
    if isinstance(expression, LayerRule):
        return rule_flags(expression)
    if isinstance(expression, Chosen):
        return rule_flags(expression.rule, expression.yes == Const(True))
    if isinstance(expression, PerLayer):
        labels = [label for label, case in expression.cases if case == Const(True)]
        if all(isinstance(label, str) for label in labels):
            return label_flags(expression, labels)
    return None


def _weighs_balance(view: View) -> bool:
    """Whether the config gives an auxiliary loss a weight, which the base bridge takes."""
    keys = {key for key, attribute in view.profile.config_mapping if attribute == "moe_aux_loss_coeff"}
    return any(use.key in keys and bool(use.value) for use in view.blueprint.keys)


BALANCING: tuple[tuple[Callable[[View], bool], str], ...] = (
    (_weighs_balance, "aux_loss"),
    (lambda view: bool(view.other("moe.correction_bias")), "none"),
    (always, "aux_loss"),
)
"""(when, moe_router_load_balancing_type). A correction bias balances by itself, unless the config asks for a loss too:
without one the weight would be set on the provider and used nowhere."""


def _grouped(view: View) -> tuple[Setting, ...]:
    balancing = next(kind for holds, kind in BALANCING if holds(view))
    return (
        Setting("moe_grouped_gemm", "True"),
        Setting("moe_token_dispatcher_type", '"alltoall"'),
        Setting("moe_permute_fusion", "True"),
        Setting("moe_router_load_balancing_type", f'"{balancing}"'),
    )


def _mixed(view: View) -> tuple[Setting, ...]:
    expression = view.expression
    exports: tuple[tuple[str, str], ...] = ()
    if isinstance(expression, LayerRule) and expression.rule == "from":
        exports = ((expression.keys[0], "provider.moe_layer_freq.count(0)"),)
    rows = [
        *_grouped(view),
        Setting("moe_layer_freq", layer_flags(view) or "", "1: the layer has experts", exports=exports),
        block_spec(),
    ]
    return tuple(rows)


def block_spec() -> Setting:
    """The stock spec of a stack in which only some layers have experts."""
    return Setting(
        "transformer_layer_spec",
        "partial(get_gpt_decoder_block_spec, use_transformer_engine=True)",
        imports=(("functools", "partial"), (_SPECS, "get_gpt_decoder_block_spec")),
    )


def is_mixed(view: View) -> bool:
    """Whether some layers have experts and some do not."""
    return False in list(view.value or [])


def _pre_softmax(view: View) -> tuple[Setting, ...]:
    """megatron-core renormalises softmax scores by taking the softmax after the choice."""
    expression = view.expression
    if isinstance(expression, Product):
        code = f"not {scalar(expression)}"
        key = plain_key(expression)
        exports = ((key, "not provider.moe_router_pre_softmax"),) if key else ()
        return (Setting("moe_router_pre_softmax", code, exports=exports),)
    return () if view.value else (Setting("moe_router_pre_softmax", "True"),)


def _is_softmax(view: View) -> bool:
    return bool(view.other("moe.score") == "softmax")


def stock_groups(view: View) -> bool:
    """megatron-core values a group by the sum of its best top_k // groups_kept scores."""
    best = int(view.other("moe.top_k", 0)) // max(int(view.other("moe.groups_kept", 1)), 1)
    return {"top2": 2, "max": 1}.get(str(view.other("moe.group_score"))) == best


def _expert_bias(view: View) -> tuple[Setting, ...]:
    return (
        Setting("moe_router_enable_expert_bias", "True"),
        Setting("moe_router_bias_update_rate", "0.0", "the correction bias is a weight of the checkpoint"),
    )


def _copied(view: View, attribute: str) -> bool:
    """Whether CONFIG_MAPPING copies a key of this config that the model's code does not use so."""
    present = {use.key for use in view.blueprint.keys}
    return any(target == attribute and key in present for key, target in view.profile.config_mapping)


def _off(*attributes: str, why: str) -> Callable[[View], tuple[Setting, ...]]:
    """Switch off what CONFIG_MAPPING may have switched on."""

    def build(view: View) -> tuple[Setting, ...]:
        return tuple(Setting(name, "None", why) for name in attributes if _copied(view, name))

    return build


def _softmax(view: View) -> tuple[Setting, ...]:
    name = "moe_router_score_function"
    return (Setting(name, '"softmax"', "whatever the config calls it"),) if _copied(view, name) else ()


def _groups(view: View) -> tuple[Setting, ...]:
    rows: list[Setting] = []
    for fact, attribute in (("moe.groups", "moe_router_num_groups"), ("moe.groups_kept", "moe_router_group_topk")):
        own = view.blueprint.fact(fact)
        if own is None or derives(attribute)(View(own, view.blueprint, view.profile)):
            continue
        rows.extend(sets_attribute(attribute)(View(own, view.blueprint, view.profile)))
    return tuple(rows)


ROWS: tuple[Row, ...] = (
    Row("moe.output_factor", is_value(1.0, 1), derived="megatron-core adds what experts give as it is"),
    *size("moe.num_experts", "num_moe_experts"),
    *size("moe.top_k", "moe_router_topk"),
    *size("moe.ffn_hidden_size", "moe_ffn_hidden_size"),
    Row("moe.layers", lambda view: not is_mixed(view), settings=_grouped),
    Row("moe.layers", lambda view: layer_flags(view) is not None, settings=_mixed),
    Row("moe.score", is_value("softmax"), settings=_softmax),
    Row("moe.score", is_value("sigmoid"), settings=constant("moe_router_score_function", "sigmoid")),
    Row("moe.score", is_value("sqrtsoftplus"), settings=constant("moe_router_score_function", "sqrtsoftplus")),
    Row("moe.renormalise", _is_softmax, settings=_pre_softmax),
    Row("moe.renormalise", is_value(True), derived="megatron-core renormalises sigmoid scores"),
    Row(
        "moe.renormalise",
        lambda view: view.other("moe.top_k") == 1,
        derived="megatron-core does not renormalise the score of a single expert",
    ),
    Row(
        "moe.scale",
        lambda view: view.value == 1 and isinstance(view.expression, Const),
        settings=_off("moe_router_topk_scaling_factor", why="the weights of experts are not scaled"),
    ),
    Row("moe.scale", derives("moe_router_topk_scaling_factor"), derived="CONFIG_MAPPING gives it"),
    Row("moe.scale", always, settings=sets_attribute("moe_router_topk_scaling_factor")),
    Row(
        "moe.groups",
        lambda view: view.value == 1 and isinstance(view.expression, Const),
        settings=_off("moe_router_num_groups", "moe_router_group_topk", why="no groups"),
    ),
    Row("moe.groups", lambda view: view.value == 1 or stock_groups(view), settings=_groups),
    Row("moe.groups_kept", always, derived="goes with moe.groups"),
    Row("moe.group_score", always, derived="goes with moe.groups"),
    Row("moe.correction_bias", is_value(False), derived=_OFF),
    Row("moe.correction_bias", lambda view: not _is_softmax(view), settings=_expert_bias),
    Row("moe.router_fp32", is_value(True), settings=constant("moe_router_dtype", "fp32")),
    Row("moe.router_fp32", is_value(False), derived="the router has the model's dtype by default"),
    Row(
        "moe.router_bias",
        lambda view: bool(view.value) == bool(view.other("bias.mlp", False)),
        derived="add_bias_linear gives the router a bias too",
    ),
    Row("moe.shared_width", is_value(0), derived="no shared expert"),
    Row("moe.shared_width", always, settings=sets_attribute("moe_shared_expert_intermediate_size")),
    Row("moe.shared_gate", is_value(False), derived=_OFF),
    Row("moe.shared_gate", is_value(True), settings=constant("moe_shared_expert_gate", True)),
    Row(
        "moe.expert_bias",
        lambda view: (
            bool(view.value) == bool(view.other("bias.mlp", False))
            and not (view.value and view.other("moe.shared_width"))
        ),
        derived="add_bias_linear gives experts biases too",
    ),
    Row("moe.clamp", is_value(None), derived=_OFF),
    Row("moe.clamp", always, settings=sets_attribute("activation_func_clamp_value")),
    Row("moe.up_offset", is_value(0.0, 0), derived=_OFF),
    Row("moe.up_offset", always, settings=sets_attribute("glu_linear_offset")),
    Row("moe.weights_on_input", is_value(False), derived=_OFF),
    Row(
        "moe.weights_on_input",
        lambda view: view.other("moe.top_k") == 1,
        settings=constant("moe_apply_probs_on_input", True),
    ),
)
