"""Roles of tensors to mapping classes of Megatron-Bridge: every tensor pattern is consumed once, or is a gap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scaffold_tools.blueprint.facts import Blueprint, Gap, TensorRole
from scaffold_tools.blueprint.rules import OWN
from scaffold_tools.targets.megatron_bridge.blocks.difference import is_differential
from scaffold_tools.targets.megatron_bridge.delta_rules import map_delta
from scaffold_tools.targets.megatron_bridge.emission import config_path, plain_key
from scaffold_tools.targets.megatron_bridge.latent_mappings import rotated_rows
from scaffold_tools.targets.megatron_bridge.mamba_rules import map_mamba
from scaffold_tools.targets.megatron_bridge.mapping_rows import LAYER, Fused, Rename
from scaffold_tools.targets.megatron_bridge.mixer_rules import map_mixers
from scaffold_tools.targets.megatron_bridge.moe_mappings import map_experts
from scaffold_tools.targets.megatron_bridge.packings import LAYOUT, PACKINGS, Local, local_class

NAMES: tuple[tuple[str, str], ...] = (
    ("embed.tokens", "embedding.word_embeddings"),
    ("embed.positions", "embedding.position_embeddings"),
    ("head", "output_layer"),
    ("norm.final", "decoder.final_layernorm"),
    # Transformer Engine fuses the norm into the linear layer that follows; the registry adds the separate names itself
    ("norm.pre_attn", LAYER + "self_attention.linear_qkv.layer_norm_{param}"),
    ("norm.pre_mlp", LAYER + "mlp.linear_fc1.layer_norm_{param}"),
    ("norm.q", LAYER + "self_attention.q_layernorm"),
    ("norm.k", LAYER + "self_attention.k_layernorm"),
    ("attn.qkv", LAYER + "self_attention.linear_qkv"),
    ("attn.o", LAYER + "self_attention.linear_proj"),
    ("mlp.gate_up", LAYER + "mlp.linear_fc1"),
    ("mlp.up", LAYER + "mlp.linear_fc1"),
    ("mlp.down", LAYER + "mlp.linear_fc2"),
)
"""Role -> parameter of GPTModel with the Transformer Engine spec, `.weight` or `.bias` left out."""

PARAMETERS = ("mlp.act.", "attn.key_bias.rate", "attn.difference.", "residual.")
"""Beginnings of roles of tensors that are no weight or bias of a module: blocks give their whole names."""

GROUPS: tuple[tuple[str, str], ...] = (
    ("embed.", "Embedding and output"),
    ("head", "Embedding and output"),
    ("norm.embed", "Embedding and output"),
    ("norm.final", "Embedding and output"),
    ("norm.", "Decoder layer norms"),
    ("attn.", "Attention"),
    ("residual.", "Decoder layer norms"),
    ("mla.", "Attention"),
    ("indexer.", "Attention"),
    ("mlp.", "MLP"),
    ("delta.", "Linear attention"),
    ("mamba.", "State space layers"),
    ("mixer.", "Mixers"),
    ("moe.", "Mixture of experts"),
)


ELSEWHERE = ("moe.", "delta.", "mamba.", *(f"{kind}." for kind in OWN))
"""Beginnings of roles whose rows are in modules of their own."""


@dataclass(frozen=True)
class Mappings:
    """The rows of one `mapping_registry`."""

    renames: tuple[Rename, ...]
    fused: tuple[Fused, ...]
    ignored: tuple[str, ...]
    """Patterns that the Hugging Face code recomputes and that Megatron does not store."""
    gaps: tuple[Gap, ...] = ()
    local: tuple[Local, ...] = ()
    """Classes that the family's folder brings along."""


@dataclass(frozen=True)
class Joined:
    """Several roles that become one Megatron parameter through one mapping class."""

    roles: tuple[str, ...]
    arguments: tuple[str, ...]
    target: str
    name: str
    comment: str
    transposed: str = ""
    """Name of the class for tensors that are stored [in, out]."""
    local: str = ""
    """Kind of the class, where the family's folder brings it along."""
    differential: bool = False
    """For heads that are subtracted from each other, and for no others."""


JOINED: tuple[Joined, ...] = (
    Joined(
        ("attn.q", "attn.gate", "attn.k", "attn.v"),
        ("q", "gate", "k", "v"),
        "attn.qkv",
        "GatedQKVMapping",
        "the rows of a query head and of its gate follow each other",
        "",
        "joined_gated_qkv",
    ),
    Joined(
        ("attn.q", "attn.k", "attn.v"),
        ("q", "k", "v"),
        "attn.qkv",
        "PairedQKVMapping",
        "key heads whose outputs are subtracted become neighbours",
        "",
        "joined_paired_qkv",
        differential=True,
    ),
    Joined(
        ("attn.q", "attn.k", "attn.v"),
        ("q", "k", "v"),
        "attn.qkv",
        "QKVMapping",
        "q, k and v are interleaved by query group",
        "TransposedQKVMapping",
    ),
    Joined(
        ("attn.q", "attn.kv"),
        ("q", "kv"),
        "attn.qkv",
        "QKeyValueMapping",
        "keys and values are one tensor",
        "",
        "q_kv",
    ),
    Joined(
        ("mlp.gate", "mlp.up"),
        ("gate", "up"),
        "mlp.gate_up",
        "GatedMLPMapping",
        "gate and up are concatenated on each tensor-parallel rank",
        "TransposedGatedMLPMapping",
    ),
)


def map_roles(blueprint: Blueprint, overrides: Mapping[str, str] | None = None) -> Mappings:
    """Rows for every tensor of the blueprint; `overrides` are Megatron names of roles that blocks placed elsewhere."""
    names = {**dict(NAMES), **(overrides or {})}
    renames: list[Rename] = []
    fused: list[Fused] = []
    local: dict[str, Local] = {}
    gaps: list[Gap] = []
    rest = [row for row in blueprint.roles if row.role != "buffer" and not row.role.startswith(ELSEWHERE)]
    for param in ("weight", "bias"):
        for joined in _joined(blueprint):
            rest = _join(joined, param, rest, names, (fused, local))
    for row in rest:
        outcome = _single(row, blueprint, names, local)
        if isinstance(outcome, Rename):
            renames.append(outcome)
        elif isinstance(outcome, Fused):
            fused.append(outcome)
        else:
            gaps.append(outcome)
    elsewhere = []
    routed = [row for row in blueprint.roles if row.role.startswith("moe.")]
    if blueprint.value("moe.num_experts") is None:  # then the provider builds no experts
        gaps.extend(_gap(row, f"no parameter of GPTModel holds a tensor with the role {row.role}") for row in routed)
    else:
        elsewhere.append(map_experts(routed))
    elsewhere += [map_delta(blueprint), map_mamba(blueprint), map_mixers(blueprint)]
    for found in elsewhere:
        renames.extend(found[0])
        fused.extend(found[1])
        gaps.extend(found[2])
    renames.extend(_untied_sibling(blueprint, renames, names))
    renames.extend(_dense_sibling(blueprint, renames))
    gaps.extend(_collisions(renames, fused))
    ignored = tuple(row.pattern for row in blueprint.roles if row.role == "buffer")
    return Mappings(tuple(_ordered(renames)), tuple(fused), ignored, tuple(gaps), tuple(local.values()))


def _joined(blueprint: Blueprint) -> list[Joined]:
    """The rows for this kind of attention; those of MLPs are for all."""
    differential = is_differential(blueprint)
    return [row for row in JOINED if row.target != "attn.qkv" or row.differential == differential]


def _join(
    joined: Joined,
    param: str,
    rest: list[TensorRole],
    names: Mapping[str, str],
    found: tuple[list[Fused], dict[str, Local]],
) -> list[TensorRole]:
    """Take the rows of all the joined roles out of `rest`, where every role is there exactly once."""
    rows = [[row for row in rest if row.role == role and row.param == param] for role in joined.roles]
    if any(len(matching) != 1 for matching in rows):
        return rest
    fused, local = found
    taken = [matching[0] for matching in rows]
    if len({row.transposed for row in taken}) > 1:
        return rest
    name, comment = joined.name, joined.comment
    if joined.local == "q_kv":
        layout = LAYOUT.fullmatch(taken[1].packing or "")
        if layout is None:
            return rest
        blocks = "groups" if layout[1] == "grouped" else "1"
        order = tuple(layout["order"].split(","))
        local[name] = Local(name, joined.local, order, blocks=blocks, transposed=taken[0].transposed)
    elif joined.local:
        if taken[0].transposed:
            return rest
        local[name] = Local(name, joined.local, joined.arguments)
    elif taken[0].transposed:
        name, comment = joined.transposed, f"{comment}; stored [in, out]"
        local[name] = Local(name, f"joined_{joined.target.partition('.')[2]}", joined.arguments, transposed=True)
    arguments = tuple((name, row.pattern) for name, row in zip(joined.arguments, taken, strict=True))
    fused.append(Fused(name, _megatron(names[joined.target], param), arguments, comment))
    return [row for row in rest if row not in taken]


def _single(
    row: TensorRole, blueprint: Blueprint, names: Mapping[str, str], local: dict[str, Local]
) -> Rename | Fused | Gap:
    name = names.get(f"{row.role}.{row.param}", names.get(row.role))
    if row.role == "attn.sinks" and blueprint.value("attention.sinks") is True:
        return Rename(_group(row.role), f"{LAYER}self_attention.core_attention.softmax_offset", row.pattern)
    if name is not None and row.role.startswith(PARAMETERS):
        return Rename(_group(row.role), name, row.pattern)
    if name is None or row.param == "other":
        return _gap(row, f"no parameter of GPTModel holds a tensor with the role {row.role}")
    megatron = _megatron(name, row.param)
    if row.packing == "heads":
        return _by_head(row, megatron, blueprint, local)
    hf = (("hf_param", row.pattern),)
    if (turned := rotated_rows(row, megatron, blueprint)) is not None:
        return turned
    if row.packing is None:
        if row.transposed:
            return Fused("AutoMapping", megatron, (*hf, ("permute_dims", (1, 0))), "stored [in, out]")
        return Rename(_group(row.role), megatron, row.pattern)
    rule = next((p for p in PACKINGS if (p.role, p.packing) == (row.role, row.packing) and p.when(blueprint)), None)
    stored_in_out = _stored_in_out(row, blueprint)
    if rule is not None and not stored_in_out:
        if rule.name is None:
            return Rename(_group(row.role), megatron, row.pattern)
        return Fused(rule.name, megatron, hf, rule.comment)
    own = local_class(row.role, row.packing, blueprint, stored_in_out)
    if own is None or local.get(own.name, own) != own:
        return _gap(row, f"no mapping class unpacks {row.packing}")
    local[own.name] = own
    parts = f"[{'; '.join(own.order)}]" if own.blocks == "1" else f"blocks of [{'; '.join(own.order)}]"
    return Fused(own.name, megatron, hf, f"one tensor {parts}" + (", stored [in, out]" if stored_in_out else ""))


HEAD_COUNTS = {"norm.q": "num_attention_heads", "norm.k": "num_query_groups"}
"""Role -> fact with the number of heads."""


def _by_head(row: TensorRole, megatron: str, blueprint: Blueprint, local: dict[str, Local]) -> Fused | Gap:
    """One tensor a head: the second number of its name is that of the head."""
    fact = blueprint.fact(HEAD_COUNTS.get(row.role, ""))
    key = plain_key(fact.expression) if fact is not None else None
    if key is None or row.pattern.count("*") != 2:
        return _gap(row, "the number of heads follows from no config key")
    local["HeadNormsMapping"] = Local("HeadNormsMapping", "head_norms")
    layer, _, rest = row.pattern.partition("*")
    arguments = (("hf_param", f"{layer}*{rest.replace('*', '{head}')}"),)
    code = (("heads", config_path(key, "self.hf_config")),)
    return Fused("HeadNormsMapping", megatron, arguments, "every head has a norm of its own", code)


def _stored_in_out(row: TensorRole, blueprint: Blueprint) -> bool:
    """Weight and bias of one projection go through the same class, which turns matrices alone."""
    return any(one.transposed for one in blueprint.roles if one.role == row.role)


def _megatron(name: str, param: str) -> str:
    return name.replace("{param}", param) if "{param}" in name else f"{name}.{param}"


def _untied_sibling(blueprint: Blueprint, renames: list[Rename], names: Mapping[str, str]) -> list[Rename]:
    """A tied model has no head of its own, but other sizes of the family may: the flag is a config key then."""
    tied = blueprint.fact("tied_embeddings")
    if tied is None or not tied.value or any(row.megatron.startswith("output_layer.") for row in renames):
        return []
    return [Rename(_group("head"), _megatron(names["head"], "weight"), "lm_head.weight")]


def _dense_sibling(blueprint: Blueprint, renames: list[Rename]) -> list[Rename]:
    """The norm after the experts belongs to the last projection in layers without experts."""
    if False not in (blueprint.value("moe.layers") or []):
        return []
    return [
        Rename(row.group, row.megatron.replace("mlp.post_layernorm", "mlp.linear_fc2.post_layernorm"), row.hf)
        for row in renames
        if "mlp.post_layernorm" in row.megatron
    ]


def _collisions(renames: list[Rename], fused: list[Fused]) -> list[Gap]:
    """Two tensors on one Megatron parameter: the registry would silently use the first."""
    seen: set[str] = set()
    gaps = []
    for name in [*(row.megatron for row in renames), *(row.megatron for row in fused)]:
        if name in seen:
            gaps.append(Gap(name, "two tensors map to this parameter", write_what="one mapping for both"))
        seen.add(name)
    return gaps


def _group(role: str) -> str:
    return next(title for prefix, title in GROUPS if role.startswith(prefix))


def _ordered(renames: list[Rename]) -> list[Rename]:
    titles = list(dict.fromkeys(title for _, title in GROUPS))
    return sorted(renames, key=lambda row: titles.index(row.group))


def _gap(row: TensorRole, reason: str) -> Gap:
    return Gap(
        subject=row.pattern,
        reason=f"{reason} ({row.role}, shape {list(row.shape)})",
        write_what="a mapping in mapping_registry, and the Megatron parameter that receives the tensor",
        check="the checks import.hf_consumed and round_trip.exact of scaffold verify",
    )
