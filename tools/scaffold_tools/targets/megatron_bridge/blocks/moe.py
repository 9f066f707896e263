"""Mixtures of experts: routers that megatron-core refuses or computes differently, norms around experts."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.blocks.facts import differs_from, expression, has, is_number
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part, ProviderField, ProviderSetting

_LAYER = "decoder.layers.*."
_GROUP_BEST = {"top2": 2, "max": 1}
"""Scores of a group that are added up to its worth."""


def routes(blueprint: Blueprint) -> bool:
    """Whether the model has experts whose routing was measured."""
    return blueprint.value("moe.score") is not None


def needs_router(blueprint: Blueprint) -> bool:
    """Whether megatron-core's `topk_routing_with_score_function` gives other weights or another choice."""
    if not routes(blueprint) or blueprint.value("moe.score") == "sparsemixer":
        return False
    top_k = int(blueprint.value("moe.top_k") or 0)
    softmax = blueprint.value("moe.score") == "softmax"
    renormalises = bool(blueprint.value("moe.renormalise"))
    groups = int(blueprint.value("moe.groups") or 1)
    best = top_k // max(int(blueprint.value("moe.groups_kept") or 1), 1)
    return any(
        (
            softmax and bool(blueprint.value("moe.correction_bias")),
            softmax and renormalises and (top_k == 1 or groups > 1),
            not softmax and renormalises == (top_k == 1),
            groups > 1 and _GROUP_BEST.get(str(blueprint.value("moe.group_score"))) != best,
        )
    )


def _router(blueprint: Blueprint, naming: Naming) -> Part:
    softmax = blueprint.value("moe.score") == "softmax"
    bias = bool(blueprint.value("moe.correction_bias"))
    features = ["own_router", f"router_{blueprint.value('moe.score')}"]
    settings: list[ProviderSetting] = []
    if bias:
        features.append("router_bias")
    if bias and softmax:
        features.append("router_own_bias")  # megatron-core refuses moe_router_enable_expert_bias with softmax
    elif bias:
        settings.append(ProviderSetting("moe_router_enable_expert_bias", True))
        settings.append(ProviderSetting("moe_router_bias_update_rate", 0.0))
    if int(blueprint.value("moe.groups") or 1) > 1:
        features += ["router_groups", f"router_groups_{blueprint.value('moe.group_score')}"]
        for fact, name in (("moe.groups", "moe_router_num_groups"), ("moe.groups_kept", "moe_router_group_topk")):
            settings.append(ProviderSetting(name, blueprint.value(fact), expression(blueprint, fact)))
    if softmax:  # or megatron-core's own check of top-1 routers would stop the model
        settings.append(ProviderSetting("moe_router_pre_softmax", True))
    settings.append(ProviderSetting("moe_router_load_balancing_type", "none"))
    return Part(
        features=tuple(features),
        fields=(
            ProviderField(
                "norm_topk_prob",
                "bool",
                "False",
                expression(blueprint, "moe.renormalise"),
                blueprint.value("moe.renormalise"),
                "Whether the scores of the chosen experts are divided by their sum.",
            ),
        ),
        settings=tuple(settings),
        module_types=((f"{naming.prefix}Router", "replicated"),),
    )


def _softcap(blueprint: Blueprint, naming: Naming) -> Part:
    own = needs_router(blueprint)
    return Part(
        features=("router_softcap", *(() if own else ("capped_router",))),
        fields=(
            ProviderField(
                "router_logit_softcapping",
                "float",
                "30.0",
                expression(blueprint, "moe.logit_softcap"),
                blueprint.value("moe.logit_softcap"),
                "Cap on the router logits: cap * tanh(logits / cap).",
            ),
        ),
        module_types=((f"{naming.prefix}Router", "replicated"),),
    )


def _sparse_mixer(blueprint: Blueprint, naming: Naming) -> Part:
    return Part(
        features=("sparse_mixer",),
        fields=(
            ProviderField(
                "router_margin",
                "float",
                "0.02",
                expression(blueprint, "moe.margin"),
                blueprint.value("moe.margin"),
                "Experts whose logit is this share below the best are weighed with it.",
            ),
        ),
        settings=(ProviderSetting("moe_router_load_balancing_type", "none"),),
        module_types=((f"{naming.prefix}Router", "replicated"),),
    )


def _post_norm(blueprint: Blueprint, naming: Naming) -> Part:
    return Part(
        features=("expert_post_norm",),
        names=(("norm.post_mlp", f"{_LAYER}mlp.post_layernorm"),),
    )


def _output_factor(blueprint: Blueprint, naming: Naming) -> Part:
    return Part(
        features=("expert_output_factor",),
        fields=(
            ProviderField(
                "expert_output_factor",
                "float",
                "1.0",
                expression(blueprint, "moe.output_factor"),
                blueprint.value("moe.output_factor"),
                "Factor on what routed and shared experts give together.",
            ),
        ),
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "router",
        "megatron-core has no router with this score function, correction bias, renormalisation and choice of groups",
        ("moe.renormalise", "moe.correction_bias", "moe.groups", "moe.groups_kept", "moe.group_score"),
        needs_router,
        _router,
    ),
    BlockRow(
        "sparse mixer",
        "experts are chosen one after the other, each weighed against those close to it alone",
        ("moe.score", "moe.margin", "moe.renormalise"),
        lambda blueprint: blueprint.value("moe.score") == "sparsemixer",
        _sparse_mixer,
    ),
    BlockRow(
        "router softcap",
        "router logits are capped by tanh; megatron-core has no such option",
        ("moe.logit_softcap",),
        lambda blueprint: (
            is_number(blueprint.value("moe.logit_softcap")) and blueprint.value("moe.score") != "sparsemixer"
        ),
        _softcap,
    ),
    BlockRow(
        "norm after experts",
        "a norm acts on what the experts give together, before the residual addition",
        (),
        lambda blueprint: routes(blueprint) and has(blueprint, "norm.post_mlp"),
        _post_norm,
    ),
    BlockRow(
        "factor on experts",
        "what routed and shared experts give together is scaled (averaged); megatron-core adds it as it is",
        ("moe.output_factor",),
        lambda blueprint: routes(blueprint) and differs_from(blueprint, "moe.output_factor", 1.0),
        _output_factor,
    ),
)
