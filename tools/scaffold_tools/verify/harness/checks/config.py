"""The way back of the config: what Megatron-Bridge writes for a provider computes what the original computes."""

from __future__ import annotations

from typing import Any

import torch
from probes.config import attributes, recorded_reads
from toys.toy import config_for

from checks.measured import Checks, Clock, names
from checks.reference import Reference, run_hf


def compare_config(auto_bridge: Any, provider: Any, reference: Reference, checks: Checks) -> None:
    """Build the Hugging Face class from the exported config, with the toy's weights; records `config.exported`.

    The config is made as `AutoBridge.from_auto_config` makes it: what the bridge writes of the provider, and the
    original's own value for every key that it leaves out.
    """
    clock = Clock()
    own = auto_bridge.hf_pretrained.config
    reads: dict[str, str] = {}
    try:
        written = type(auto_bridge._model_bridge).megatron_to_hf_config(provider)
        exported = exported_config(own, written)
        with recorded_reads(reads):
            logits = _logits(exported, reference)
    except Exception as error:  # a config that cannot be written, or that the class refuses, is what this is about
        detail = " ".join(f"no config comes back: {type(error).__name__}: {error}".split())
        checks.add("config.exported", False, threshold=reference.limit, detail=detail, seconds=clock.lap())
        return
    largest = float((logits - reference.logits).abs().nan_to_num(nan=float("inf")).max())
    other = differing(own, exported, set(reads))
    left = sorted({key.split(".")[0] for key in reads} & set(own.to_dict()) - _keys(own, written))
    parts = [f"differ: {', '.join(other[:6])}" if other else "", f"not written: {names(left, 12)}" if left else ""]
    checks.add(
        "config.exported",
        largest < reference.limit,
        value=largest if largest != float("inf") else "not finite",
        threshold=reference.limit,
        detail="; ".join(part for part in parts if part),
        seconds=clock.lap(),
    )


def exported_config(own: Any, written: dict[str, Any]) -> Any:
    """The config object of what a bridge wrote, with the original's values where it wrote none."""
    from megatron.bridge.models.conversion import auto_bridge, utils

    whole = utils.conform_config_to_reference(written, own.to_dict())
    drop = getattr(auto_bridge, "_drop_readonly_config_properties", lambda given, kind: given)
    return type(own)(**drop(whole, type(own)))


def _logits(exported: Any, reference: Reference) -> torch.Tensor:
    """What the class computes with that config and the toy's weights."""
    kind = type(reference.model)
    part = config_for(kind, exported)
    for one in (exported, part):
        one._attn_implementation = "eager"
        one._experts_implementation = "eager"
    model = kind._from_config(part, dtype=torch.float32, attn_implementation="eager").eval()
    model.load_state_dict(reference.model.state_dict())
    return run_hf(model, reference.tokens)


def differing(own: Any, exported: Any, reads: set[str]) -> list[str]:
    """`key: original -> exported` for keys that the code reads and whose effective values differ."""
    before, after = attributes(own), attributes(exported)
    keys = [key for key in sorted(reads & set(before)) if not isinstance(before[key], dict)]
    return [f"{key}: {before[key]} -> {after.get(key)}" for key in keys if not _same(before[key], after.get(key))]


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, int | float):
        return abs(left - right) <= 1e-6 * max(abs(left), abs(right))
    return bool(left == right)


def _keys(own: Any, written: dict[str, Any]) -> set[str]:
    """Names of what was written, and what they are other names of."""
    aliases = dict(getattr(type(own), "attribute_map", None) or {})
    return {*written, *(aliases[key] for key in written if key in aliases)}
