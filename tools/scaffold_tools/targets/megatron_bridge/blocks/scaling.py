"""Scalars on the residual stream: embedding, residual and logits multipliers, and the cap on the logits."""

from __future__ import annotations

from scaffold_tools.blueprint.facts import Blueprint, Product
from scaffold_tools.targets.megatron_bridge.blocks.embedding import ABSOLUTE
from scaffold_tools.targets.megatron_bridge.blocks.facts import differs_from, expression, has, is_number
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part, ProviderField


def _embedding(blueprint: Blueprint, naming: Naming) -> Part:
    features = ["embedding_multiplier"]
    formula = expression(blueprint, "embedding.multiplier")
    if isinstance(formula, Product) and any(term.key.endswith("hidden_size") for term in formula.terms):
        # sqrt(hidden_size) is irrational: the Gemma family keeps it in the dtype of the weights, so in bf16 the factor
        # itself is rounded. Multipliers that are config values are applied as Python floats.
        features.append("embedding_multiplier_in_dtype")
    if blueprint.value("embedding.rounded"):
        features.append("embedding_multiplier_in_bfloat16")
    if blueprint.value("position.kind") in ABSOLUTE:
        features.append("embedding_multiplier_on_tokens")
    return Part(
        features=tuple(features),
        fields=(
            ProviderField(
                "embedding_multiplier",
                "float",
                "1.0",
                formula,
                blueprint.value("embedding.multiplier"),
                "Factor on the token embeddings.",
            ),
        ),
    )


def _residual(blueprint: Blueprint, naming: Naming) -> Part:
    return Part(
        features=("residual_multiplier",),
        fields=(
            ProviderField(
                "residual_multiplier",
                "float",
                "1.0",
                expression(blueprint, "residual.multiplier"),
                blueprint.value("residual.multiplier"),
                "Factor on the output of attention and MLP before the residual addition.",
            ),
        ),
    )


SUBLAYERS = (
    ("attention.input_multiplier", "attention_input_multiplier", "Factor on the input of attention, after its norm."),
    ("attention.output_multiplier", "attention_output_multiplier", "Factor on the output of attention."),
    ("mlp.output_multiplier", "mlp_output_multiplier", "Factor on the output of the MLP."),
)
"""(fact, provider field and feature, comment)."""


def _sublayer_row(fact: str, name: str, comment: str) -> BlockRow:
    def part(blueprint: Blueprint, naming: Naming) -> Part:
        field = ProviderField(name, "float", "1.0", expression(blueprint, fact), blueprint.value(fact), comment)
        unfused = name == "attention_input_multiplier" and has(blueprint, "norm.pre_attn")
        names = (("norm.pre_attn", "decoder.layers.*.input_layernorm"),) if unfused else ()
        return Part(features=(name,), fields=(field,), names=names)

    reason = (
        "it is scaled; megatron-core has no factor there, and a norm fused into a projection would undo one before it"
    )
    return BlockRow(
        fact.replace(".", " ").replace("_", " "), reason, (fact,), lambda one: differs_from(one, fact, 1.0), part
    )


def _logits_multiplier(blueprint: Blueprint, naming: Naming) -> Part:
    return Part(
        features=("logits_multiplier",),
        fields=(
            ProviderField(
                "logits_multiplier",
                "float",
                "1.0",
                expression(blueprint, "logits.multiplier"),
                blueprint.value("logits.multiplier"),
                "Factor on the logits.",
            ),
        ),
    )


def _logits_softcap(blueprint: Blueprint, naming: Naming) -> Part:
    return Part(
        features=("logits_softcap",),
        fields=(
            ProviderField(
                "final_logit_softcapping",
                "float",
                "30.0",
                expression(blueprint, "logits.softcap"),
                blueprint.value("logits.softcap"),
                "Cap on the logits: cap * tanh(logits / cap).",
            ),
        ),
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "embedding multiplier",
        "the embedding is scaled before the first layer; megatron-core only does that as part of muP",
        ("embedding.multiplier", "embedding.rounded"),
        lambda blueprint: differs_from(blueprint, "embedding.multiplier", 1.0),
        _embedding,
    ),
    BlockRow(
        "residual multiplier",
        "sublayer outputs are scaled before the residual addition; megatron-core adds them as they are",
        ("residual.multiplier",),
        lambda blueprint: differs_from(blueprint, "residual.multiplier", 1.0),
        _residual,
    ),
    *(_sublayer_row(*row) for row in SUBLAYERS),
    BlockRow(
        "logits multiplier",
        "the logits are scaled; megatron-core only does that as part of muP",
        ("logits.multiplier",),
        lambda blueprint: differs_from(blueprint, "logits.multiplier", 1.0),
        _logits_multiplier,
    ),
    BlockRow(
        "logits softcap",
        "the logits are capped by tanh; megatron-core has no such option",
        ("logits.softcap",),
        lambda blueprint: is_number(blueprint.value("logits.softcap")),
        _logits_softcap,
    ),
)
