"""Every config key accounted for: read by the code or not, consumed by which fact, or waived and why."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from scaffold_tools.blueprint.expressions import is_element, keys_of
from scaffold_tools.blueprint.facts import Fact, Gap, KeyUse
from scaffold_tools.blueprint.rules import RULES


class WaiverRow(NamedTuple):
    """Keys (whole-key pattern) that cannot change logits of one forward pass."""

    pattern: str
    reason: str


WAIVERS: tuple[WaiverRow, ...] = (
    WaiverRow(r".*(dropout|pdrop|_drop|droprate|layerdrop).*", "training: dropout"),
    WaiverRow(r"initializer_.*|init_std|.*_init_std|.*w_init_variance_scale", "training: initialisation"),
    WaiverRow(r"time_step_(init_scheme|scale|min|max|floor)|linear_(a_log|dt)_(min|max|init_floor)"
              r"|rescale_prenorm_residual", "training: initialisation"),
    WaiverRow(r".*(aux_loss|z_loss|loss_coef|loss_weight).*", "training: loss"),
    WaiverRow(r".*jitter.*|.*(aux_loss|load_balancing).*|output_router_logits", "training: routing"),
    WaiverRow(r"use_cache|cache_.*|gradient_checkpointing.*|pretraining_tp|chunk_size_feed_forward", "execution"),
    WaiverRow(r"output_.*|return_dict|use_return_dict|torchscript|is_decoder|is_encoder_decoder|add_cross_attention"
              r"|cross_attention_hidden_size", "what the forward pass returns"),
    WaiverRow(r".*_token_ids?|.*_token_index|(bos|eos|pad)_token|tokenizer_class|suppress_tokens", "tokens"),
    WaiverRow(r"(torch_)?dtype|transformers_version|model_type|architectures|auto_map|name_or_path|_.*", "names"),
    WaiverRow(r"id2label|label2id|num_labels|problem_type|finetuning_task|task_specific_params|prefix", "other heads"),
    WaiverRow(r"ignore_keys_.*|default_theta|attribute_map|keys_to_ignore.*|base_model_.*_plan", "class data"),
    WaiverRow(r"quantization_config|compression_config", "storage format"),
    WaiverRow(r"reorder_and_upcast_attn", "precision of the scores"),
    WaiverRow(r"residual_in_fp32", "precision of the residual stream"),
    WaiverRow(r"use_mamba_kernels|use_mem_eff_path|mamba_ssm_cache_dtype", "kernel choice"),
    WaiverRow(r"attn_implementation|attention_implementation|use_flash_attn.*|use_sdpa.*", "kernel choice"),
)  # fmt: skip


def account(
    config: Mapping[str, Any],
    variant: Mapping[str, Any] | None,
    facts: tuple[Fact, ...],
    aliases: Mapping[str, str],
    real: Mapping[str, Any] | None = None,
) -> tuple[tuple[KeyUse, ...], tuple[Gap, ...]]:
    """One `KeyUse` for each key of config.json and each further key that the code reads; gaps for the unaccounted.

    Args:
        config: the raw config.
        variant: observations of the first toy; None when no probe ran.
        facts: what the blueprint knows; their expressions name the keys they consume.
        aliases: keys that a fact consumes without an expression (activation names, rope dicts).
        real: attributes of the real config object, which also has what the class derives (`layer_types`).
    """
    reads: Mapping[str, str] = variant["reads"] if variant else {}
    used = _consumers(facts) | dict(aliases)
    for alias, name in (variant or {}).get("aliases", {}).items():
        for one, other in ((alias, name), (name, alias)):
            if other in used:
                used.setdefault(one, used[other])
    attributes = variant["attributes"] if variant else {}
    for key in _half_used(facts, attributes):
        used.pop(key, None)
    broken = variant is not None and any(one["subject"] == "structure" for one in variant["failures"])
    rows: list[KeyUse] = []
    gaps: list[Gap] = []
    opened = {key.split(".")[0] for key in reads if "." in key}
    for key in dict.fromkeys([*config, *reads]):
        value = config[key] if key in config else (real or {}).get(key, attributes.get(key))
        read = None if variant is None else key in reads
        consumer = used.get(key) or _waiver(key, value, variant) or _repeats(key, config, used)
        consumer = consumer or _same_size(key, (config, attributes), used)
        if consumer is None and key in opened:
            consumer = "waived: a config of its own, each of whose keys is accounted for"
        rows.append(KeyUse(key, value, read, consumer))
        if read and consumer is None and not broken:
            gaps.append(_gap(key, value, reads[key], variant))
    return tuple(rows), tuple(gaps)


def _consumers(facts: tuple[Fact, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    hints = {rule.name: rule.hints for rule in RULES}
    for fact in facts:
        for key in keys_of(fact.expression):
            found.setdefault(key, fact.name)
            found.setdefault(key.split(".")[0], fact.name)
    for fact in facts:  # a flag or size that is what its usual key says needs no expression to be accounted for
        for key in hints.get(fact.name, ()):
            if fact.expression is not None and getattr(fact.expression, "op", "") != "const":
                continue
            if any(item.source == "key" and item.detail.split(" ")[0] == key for item in fact.evidence):
                found.setdefault(key, fact.name)
    return found


def _half_used(facts: tuple[Fact, ...], attributes: Mapping[str, Any]) -> set[str]:
    """Lists of which facts take some numbers, but not all."""
    elements = {key for fact in facts for key in keys_of(fact.expression) if is_element(key)}
    lists = {key.rpartition(".")[0] for key in elements}
    return {
        name for name in lists for place in range(len(attributes.get(name) or ())) if f"{name}.{place}" not in elements
    }


def _waiver(key: str, value: Any, variant: Mapping[str, Any] | None) -> str | None:
    acts = str((variant or {}).get("effects", {}).get(key)).startswith("logits")
    for row in WAIVERS:
        if re.fullmatch(row.pattern, key) and not (acts and "jitter" in key):  # a name is no proof
            return f"waived: {row.reason}"
    if variant is None:
        return None
    if value is None or value in ([], {}):
        return "waived: not set in this model"
    if isinstance(value, list) and len(set(map(repr, value))) == 1:
        return "waived: the same for every layer"
    effect = str(variant.get("effects", {}).get(key))
    if effect == "none":
        return "waived: measured, changing it leaves tensors and logits as they are"
    changed = _changed_facts(key, variant)
    if changed:
        return changed[0]
    if type(value) in (int, float) and value == 0 and variant["attributes"].get(key) == 0:
        return "waived: zero, which a toy keeps; both toys are compared with it"
    if isinstance(value, bool) and effect.startswith(("tensors", "refused")):
        return "waived: a switch between structures; both toys have the model's own, and are compared with it"
    return None


REPEATS: tuple[tuple[str, str], ...] = (("word_embed_proj_dim", "hidden_size"),)
"""Keys that repeat another one; a toy keeps them equal (harness `toys/rows.LINKED`)."""


def _repeats(key: str, config: Mapping[str, Any], used: Mapping[str, str]) -> str | None:
    other = dict(REPEATS).get(key)
    return used.get(other) if other is not None and config.get(key) == config.get(other) else None


def _same_size(key: str, configs: tuple[Mapping[str, Any], ...], used: Mapping[str, str]) -> str | None:
    """The fact of another size that is the same number in the model and in its toy: key heads where none is shared.

    Which of the two the code uses for what cannot be told then, and makes no difference to this model.
    """
    for other, fact in used.items():
        pairs = [(one.get(key), one.get(other)) for one in configs]
        if all(type(a) is int and a > 1 and a == b for a, b in pairs) and not fact.startswith("waived"):
            return fact
    return None


def _changed_facts(key: str, variant: Mapping[str, Any]) -> list[str]:
    """Facts whose measured value changes when the flag is flipped."""
    flip = variant.get("flips", {}).get(key)
    if not flip:
        return []
    base = variant["facts"]
    changed = [name for name in {**base, **flip["facts"]} if flip["facts"].get(name) != base.get(name)]
    roles = {f"{row['role']} {row['param']}" for row in variant["roles"]}
    moved = sorted(roles ^ set(flip.get("roles", roles)))
    changed += [f"tensors: {' '.join(role.split()[:1])}" for role in moved]
    known = {entry["subject"] for entry in variant["failures"]}
    names = {rule.name for rule in RULES} | {"rope"}
    failed = [
        entry["subject"] for entry in flip["failures"] if entry["subject"] not in known and entry["subject"] in names
    ]
    return list(dict.fromkeys(changed + failed))


def _gap(key: str, value: Any, where: str, variant: Mapping[str, Any] | None) -> Gap:
    effect = (variant or {}).get("effects", {}).get(key, "not tried")
    return Gap(
        key,
        f"the code reads this key ({str(value)[:60]!r}, changing it: {effect}) and no fact accounts for it",
        hf_source=where,
        write_what="what the key does, as a fact of the blueprint",
        check="logits.max_abs on a toy whose value of the key is unusual",
    )
