"""Gated delta nets in the place of attention, through megatron-core's own module: attributes and mappings."""

from __future__ import annotations

from collections.abc import Sequence

from scaffold_tools.blueprint.facts import Blueprint, Gap, PerLayer, TensorRole
from scaffold_tools.render.literals import python_literal as literal
from scaffold_tools.targets.megatron_bridge.emission import label_flags
from scaffold_tools.targets.megatron_bridge.mapping_rows import DELTA_ROWS, LAYER, Fused, Rename
from scaffold_tools.targets.megatron_bridge.mixer_rules import only_beside_attention
from scaffold_tools.targets.megatron_bridge.rows import Row, Setting, View, always, is_value, size

_SPECS = "megatron.core.models.gpt.experimental_attention_variant_module_specs"
_SPEC = "get_transformer_block_with_experimental_attention_variant_spec"
_ATTENTION = LAYER + "self_attention."
_GROUP = "Linear attention"
_PARITY = "scaffold verify: logits.max_abs"


def has_delta(blueprint: Blueprint) -> bool:
    """Whether some layer is a gated delta net."""
    return any(row.role.startswith("delta.") for row in blueprint.roles)


def _layers(view: View) -> tuple[Setting, ...]:
    expression = view.fact.expression
    if isinstance(expression, PerLayer):
        chosen = [label for label, case in expression.cases if getattr(case, "value", None) is True]
        code = label_flags(expression, chosen)
    else:
        code = literal([int(flag) for flag in view.value])
    return (
        Setting("transformer_layer_spec", _SPEC, imports=((_SPECS, _SPEC),)),
        Setting("experimental_attention_variant", '"gated_delta_net"'),
        Setting("linear_attention_freq", code, "1: the layer is a gated delta net"),
        Setting("hetereogenous_dist_checkpoint", "True", "layers have different parameters"),
    )


def _follows(fact: str, other: str) -> tuple[Row, ...]:
    """A fact of the norm in the net that has to be that of the layer norms."""

    def same(view: View) -> bool:
        norm = view.blueprint.fact(other)
        return norm is None or (norm.value == view.value and norm.expression == view.fact.expression)

    return (Row(fact, same, derived=f"the norm in the net follows {other}"),)


ROWS: tuple[Row, ...] = (
    Row("attention.output_gate", is_value(False), derived="off is megatron-core's default"),
    Row(
        "attention.output_gate",
        is_value(True),
        settings=lambda _: (
            Setting("attention_output_gate", "True", "each head of q_proj has rows of a query and of a gate"),
        ),
    ),
    Row("delta.layers", always, settings=_layers),
    *size("delta.key_heads", "linear_num_key_heads"),
    *size("delta.value_heads", "linear_num_value_heads"),
    *size("delta.key_dim", "linear_key_head_dim"),
    *size("delta.value_dim", "linear_value_head_dim"),
    *size("delta.conv_width", "linear_conv_kernel_dim"),
    Row("delta.write_factor", is_value(1.0, 1), derived="a sigmoid alone is megatron-core's"),
    *_follows("delta.norm.kind", "norm.kind"),
    *_follows("delta.norm.eps", "norm.eps"),
    Row("delta.norm.zero_centered", always, derived="the mapping of its weight makes up for it"),
)
"""A norm with an epsilon of its own and a doubled write strength have no row: megatron-core has neither."""

JOINED: tuple[tuple[tuple[str, ...], str, str, str], ...] = (
    (
        ("delta.qkv", "delta.z", "delta.b", "delta.a"),
        "GDNLinearMappingSeparate",
        "qkv z b a",
        "one projection, with the rows of each tensor-parallel rank together",
    ),
    (("delta.qkvz", "delta.ba"), "GDNLinearMapping", "qkvz ba", "grouped by key head to parts one after the other"),
    (
        ("delta.q", "delta.k", "delta.v", "delta.z", "delta.b", "delta.a"),
        DELTA_ROWS,
        "q k v z b a",
        "one projection, with the rows of each tensor-parallel rank together",
    ),
)
"""(roles, mapping class, argument names, comment): the tensors that become `in_proj`."""

SINGLE: tuple[tuple[str, str], ...] = (
    ("delta.out", "out_proj.weight"),
    ("delta.A", "A_log"),
    ("delta.step_bias", "dt_bias"),
)


def map_delta(blueprint: Blueprint) -> tuple[list[Rename], list[Fused], list[Gap]]:
    """Rows for the tensors of gated delta nets, and the second home of the norm in front of them."""
    rows = {row.role: row for row in blueprint.roles if row.role.startswith("delta.")}
    if not rows:
        return [], [], []
    renames = [Rename(_GROUP, _ATTENTION + name, rows[role].pattern) for role, name in SINGLE if role in rows]
    before = blueprint.role("norm.pre_attn")
    if before is not None and not only_beside_attention(blueprint):
        renames.append(Rename(_GROUP, _ATTENTION + "in_proj.layer_norm_weight", before.pattern))
    fused: list[Fused] = []
    for roles, name, arguments, comment in JOINED:
        if all(role in rows for role in roles):
            pairs = tuple((word, rows[role].pattern) for word, role in zip(arguments.split(), roles, strict=True))
            fused.append(Fused(name, _ATTENTION + "in_proj.weight", pairs, comment))
    parts = ("delta.conv_q", "delta.conv_k", "delta.conv_v")
    if all(role in rows for role in parts):
        pairs = tuple((role[-1], rows[role].pattern) for role in parts)
        comment = "channels of q, k and v are sharded one by one"
        fused.append(Fused(DELTA_ROWS, _ATTENTION + "conv1d.weight", pairs, comment))
    if "delta.conv" in rows:
        fused.append(
            Fused(
                "GDNConv1dMapping",
                _ATTENTION + "conv1d.weight",
                (("hf_param", rows["delta.conv"].pattern),),
                "channels of q, k and v are sharded one by one",
            )
        )
    _norm(blueprint, rows, renames, fused)
    used = {pattern for row in fused for _, pattern in row.arguments} | {row.hf for row in renames}
    return renames, fused, _gaps([row for row in rows.values() if row.pattern not in used])


def _norm(blueprint: Blueprint, rows: dict[str, TensorRole], renames: list[Rename], fused: list[Fused]) -> None:
    if "delta.norm" not in rows:
        return
    stack, own = blueprint.value("norm.zero_centered"), blueprint.value("delta.norm.zero_centered")
    target = _ATTENTION + "out_norm.weight"
    if stack and not own:
        pair = (("hf_param", rows["delta.norm"].pattern),)
        comment = "Megatron Core adds one to every norm weight of this model, Hugging Face not to this one"
        fused.append(Fused("RMSNorm2ZeroCenteredRMSNormMapping", target, pair, comment))
    elif bool(stack) == bool(own):
        renames.append(Rename(_GROUP, target, rows["delta.norm"].pattern))


def _gaps(rest: Sequence[TensorRole]) -> list[Gap]:
    return [
        Gap(
            row.pattern,
            f"no mapping class takes this layout of a gated delta net ({row.role}, shape {list(row.shape)})",
            write_what="a mapping that joins the separate projections into in_proj and the convolutions into conv1d",
            check=_PARITY,
        )
        for row in rest
    ]
