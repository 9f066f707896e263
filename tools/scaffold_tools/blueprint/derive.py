"""Inventory, classification and observations to one blueprint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint, Fact, Gap, KeyUse, LayerKind, TensorRole
from scaffold_tools.blueprint.fallback import declared_facts, named_roles
from scaffold_tools.blueprint.foreign import find_foreign, without_layers
from scaffold_tools.blueprint.keys import account
from scaffold_tools.blueprint.latent import OWN_FACTS, derive_latent, is_latent
from scaffold_tools.blueprint.lies import declared_lies, stored_lies
from scaffold_tools.blueprint.mamba import absent_facts, account_mixers
from scaffold_tools.blueprint.measured import Draft, declared_number, derive_facts, stored_positions
from scaffold_tools.blueprint.moe import (
    COUNT_KEYS,
    DENSE_FACTS,
    check_layers,
    derive_moe_layers,
    derive_shared_width,
    without_dense,
)
from scaffold_tools.blueprint.moe import OWN_FACTS as EXPERT_FACTS
from scaffold_tools.blueprint.roles import agreed_packings, derive_roles, pattern_of
from scaffold_tools.blueprint.rope_sets import derive_rope
from scaffold_tools.blueprint.stored import derive_stored, stored_gaps, without_quantisation
from scaffold_tools.blueprint.switches import derive_switches
from scaffold_tools.classify.evidence import Evidence
from scaffold_tools.errors import BadInput
from scaffold_tools.source.inventory import Inventory

LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")


def derive_blueprint(
    inventory: Inventory, classification: Any | None = None, observations: Mapping[str, Any] | None = None
) -> Blueprint:
    """Everything known of a model as one value.

    Args:
        inventory: config.json and the tensor table.
        classification: what kind of model it is, where that was derived; its words for the user go into the notes.
        observations: the answer of the `probe` job, or `{"error": text}`; None when it did not run. Without a probe
            the facts are what config keys declare, and a gap says that nothing was measured.

    Raises:
        BadInput: the config names no architecture.
    """
    architecture = _architecture(inventory.config)
    on_disk, inventory = inventory, without_quantisation(inventory, classification)
    draft = Draft()
    probed = observations is not None and "variants" in observations
    variants = observations["variants"] if probed and observations else None
    variant = agreed_packings(variants["a"], variants["b"]) if variants else None
    if probed and observations is not None:
        elsewhere = OWN_FACTS if is_latent(observations) else frozenset()
        elsewhere |= EXPERT_FACTS | (DENSE_FACTS if without_dense(observations) else frozenset())
        elsewhere |= absent_facts(observations)
        derive_facts(observations, draft, elsewhere)
        derive_moe_layers(observations, draft)
        derive_shared_width(observations, draft)
        derive_latent(observations, draft)
        derive_rope(observations, draft)
        account_mixers(observations, draft)
        draft.gaps.extend(_failures(observations))
    else:
        reason = str((observations or {}).get("error", "the probe did not run"))
        declared_facts(inventory, draft)
        draft.gaps.append(_unprobed(reason, (observations or {}).get("own_fault")))
    real = observations["real"] if probed and observations else inventory.config
    length = declared_number("max_position_embeddings", LENGTH_KEYS, real)
    if length is None and probed and observations is not None:
        length = stored_positions(observations)
    if length is not None:
        draft.facts.append(length)
    roles = _roles(inventory, variant, draft)
    _tensors_win(roles, draft, inventory)
    check_layers(roles, draft)
    stored = derive_stored(on_disk, classification, roles)
    draft.gaps.extend(stored_gaps(stored))
    part = variant.get("part") if variant else None
    config = inventory.config[part] if part else inventory.config
    draft.notes.extend(declared_lies(config, draft.facts))
    draft.gaps.extend(stored_lies(roles, draft, inventory))
    facts = tuple(draft.facts)
    keys, key_gaps = account(config, variant, facts, draft.aliases, real)
    keys = (*keys, *_set_by_class(keys, real, variant))
    blueprint = Blueprint(
        model_name=inventory.source.name,
        architecture=architecture,
        model_type=str(inventory.config.get("model_type", "")),
        in_transformers=bool(variant["class"]["in_transformers"]) if variant else False,
        facts=facts,
        roles=roles,
        layer_kinds=layer_kinds(facts, roles),
        keys=keys,
        gaps=_distinct((*draft.gaps, *key_gaps)),
        notes=tuple(dict.fromkeys((*inventory.notes, *draft.notes))),
        config_part=part,
        stored=stored,
        switches=derive_switches(observations, facts, roles) if probed and observations else (),
    )
    foreign = find_foreign(inventory.tensors.tensors if inventory.tensors else None, observations)
    return without_layers(blueprint, foreign) if foreign else blueprint


def _unprobed(reason: str, place: str | None) -> Gap:
    """Why nothing was measured: the model's own code stops, whatever its size, or the probe does."""
    if place is None:
        return Gap("probe", f"{reason}: every fact is what config keys declare, nothing was measured")
    return Gap(
        "transformers",
        f"the class does not run with this config, whatever its sizes: {reason}",
        hf_source=place,
        write_what="a transformers in which it runs; there is nothing to compare with before that",
    )


def _set_by_class(
    keys: tuple[KeyUse, ...], real: Mapping[str, Any], variant: Mapping[str, Any] | None
) -> list[KeyUse]:
    """Keys that the config class sets by itself, unread, and that targets read from the config object all the same.

    A share of rotated dimensions, and a number of experts beside the one that the code uses (not another name for it).
    """
    known = {use.key for use in keys}
    share = "partial_rotary_factor"
    found = [KeyUse(share, real[share], False, "rope.fraction")] if real.get(share) not in (None, 1, 1.0) else []
    names = (variant or {}).get("aliases", {})
    others = [key for key in COUNT_KEYS if key not in names and real.get(key) is not None]
    found += [KeyUse(key, real[key], False, "moe.num_experts") for key in others]
    return [use for use in found if use.key not in known]


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    if not isinstance(name, str) or not name.isidentifier():
        raise BadInput(
            f"config.json names no usable architecture: {name!r}", hint='"architectures" must hold a class name'
        )
    return name


def _roles(inventory: Inventory, variant: Mapping[str, Any] | None, draft: Draft) -> tuple[TensorRole, ...]:
    tensors = inventory.tensors.tensors if inventory.tensors else None
    layers = draft.value("num_layers")
    found = derive_roles(dict(variant), tensors, layers) if variant else named_roles(tensors)
    draft.gaps.extend(found.gaps)
    draft.notes.extend(found.notes)
    return found.rows


def _failures(observations: Mapping[str, Any]) -> list[Gap]:
    """Measurements that did not come out, one gap for all layers alike."""
    found: dict[tuple[str, str], Gap] = {}
    for name in ("a", "b"):
        for entry in observations["variants"][name]["failures"]:
            subject = pattern_of(str(entry["subject"]))
            reason = re.sub(r"(?<=[A-Za-z_]\.)\d+(?=\.)", "*", str(entry["reason"]))
            sizeless = re.sub(r"\d+", "#", reason)
            gap = Gap(subject, reason, entry.get("where"), "what the code does there", "logits.max_abs")
            found.setdefault((subject, sizeless), gap)
    return list(found.values())


BIAS_FACTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("bias.qkv", ("attn.q", "attn.k", "attn.v", "attn.qkv", "attn.kv")),
    ("bias.o", ("attn.o",)),
    ("bias.mlp", ("mlp.gate", "mlp.up", "mlp.gate_up", "mlp.down")),
    ("bias.head", ("head",)),
)


def _tensors_win(roles: tuple[TensorRole, ...], draft: Draft, inventory: Inventory) -> None:
    """Where the checkpoint's tensors contradict a fact, the tensors are right."""
    if inventory.tensors is None or inventory.tensors.origin != "headers":
        return
    for name, owners in BIAS_FACTS:
        have = [row for row in roles if row.role in owners and row.param == "bias"]
        fact = next((one for one in draft.facts if one.name == name), None)
        if fact is None or not have or fact.value is True:
            continue
        draft.facts.remove(fact)
        evidence = (*fact.evidence, Evidence("tensor", f"{have[0].pattern} is in the checkpoint"))
        draft.facts.append(Fact(name, True, "constrained", evidence, None))
        draft.notes.append(f"tensors win: {name} is true because {have[0].pattern} exists, the config says otherwise")
    _tying(roles, draft)


def _tying(roles: tuple[TensorRole, ...], draft: Draft) -> None:
    fact = next((one for one in draft.facts if one.name == "tied_embeddings"), None)
    head = any(row.role == "head" and row.param == "weight" for row in roles)
    if fact is None or fact.value or head or not roles:
        return
    draft.facts.remove(fact)
    draft.gaps = [gap for gap in draft.gaps if "(head)" not in gap.reason]
    evidence = (*fact.evidence, Evidence("tensor", "the checkpoint has no head"))
    draft.facts.append(Fact("tied_embeddings", True, "constrained", evidence, None))
    draft.notes.append("tensors win: the checkpoint has no output head, whatever the config says")


def layer_kinds(facts: tuple[Fact, ...], roles: tuple[TensorRole, ...]) -> tuple[LayerKind, ...]:
    """Layers with the same roles, window and rotary table."""
    values = {fact.name: fact.value for fact in facts}
    count = values.get("num_layers")
    if not isinstance(count, int):
        return ()
    groups: dict[tuple[Any, ...], list[int]] = {}
    windows = values.get("attention.window")
    for layer in range(count):
        own = tuple(sorted({row.role for row in roles if row.layers is not None and layer in row.layers}))
        window = windows[layer] if isinstance(windows, list) and layer < len(windows) else None
        sets = values.get("rope.sets") or []
        rope = next((index for index, one in enumerate(sets) if layer in one["layers"]), None)
        groups.setdefault((own, window, rope), []).append(layer)
    kinds: list[LayerKind] = []
    for (own, window, rope), layers in groups.items():
        word = "full" if window is None else "window"
        name = word if rope is not None or not values.get("rope.sets") else f"{word}_nope"
        suffix = sum(kind.name.startswith(name) for kind in kinds)
        kinds.append(LayerKind(f"{name}{suffix + 1}" if suffix else name, tuple(layers), own))
    return tuple(kinds)


def _distinct(gaps: tuple[Gap, ...]) -> tuple[Gap, ...]:
    return tuple({(gap.subject, gap.reason): gap for gap in gaps}.values())
