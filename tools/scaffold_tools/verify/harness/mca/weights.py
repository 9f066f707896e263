"""Import and export through ROLL's own code: nothing left over, nothing left out, nothing changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from checks.measured import Broken, Checks, Clock, names
from checks.reference import Reference, run_hf
from checks.weights import compare_exported, load_saved
from mcore.build import tensors_of
from mcore.no_cuda import OnCpu

from mca.load import Loaded, Seen, load, watched
from mca.toy import Toy

BOOKKEEPING = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "_attn_implementation")
"""Keys of a config that say nothing about the model."""
EXPORTED = "exported"


def import_weights(toy: Toy, checks: Checks) -> Loaded:
    """`AutoModel.from_pretrained`; records `build.megatron`, `import.hf_consumed`, `.megatron_filled`, `.warnings`."""
    clock, seen = Clock(), Seen()
    try:
        loaded = load(toy.folder, toy.model_type, seen)
    except Exception as error:
        if seen.built:
            checks.add("build.megatron", True, value=toy.model_type)
        _refused(seen, toy, checks, clock)
        with checks.guard("import.hf_consumed" if seen.built else "build.megatron"):
            raise error
    checks.add("build.megatron", True, value=type(loaded.model).__name__)
    empty = [name for name, tensor in tensors_of(loaded.model).items() if not bool(torch.isfinite(tensor).all())]
    _record(seen, toy.saved, empty, checks, clock)
    return loaded


def _refused(seen: Seen, toy: Toy, checks: Checks, clock: Clock) -> None:
    """ROLL asserts that nothing is missing and nothing unexpected: say which, where it came so far.

    Raises:
        Broken: one of the checks of the import has failed, which says more than the assertion.
    """
    if not (seen.missing or seen.unexpected):
        return
    _record(seen, toy.saved, [], checks, clock)
    if any(one["status"] == "failed" and one["name"].startswith("import.") for one in checks.done):
        raise Broken("import.megatron_filled" if seen.missing else "import.hf_consumed")


def _record(seen: Seen, saved: dict[str, torch.Tensor], empty: list[str], checks: Checks, clock: Clock) -> None:
    unread = set(saved) - seen.read | set(seen.left)
    problems = {"never read": set(saved) - seen.read, "waits for others of its kind": set(seen.left)}
    problems["for a parameter that is not there"] = {
        name for name in seen.unexpected if not name.endswith("output_layer.weight")
    }
    detail = "; ".join(f"{kind}: {names(found)}" for kind, found in problems.items() if found)
    value = f"{len(saved) - len(unread)}/{len(saved)}"
    checks.add("import.hf_consumed", not detail, value=value, threshold="all", detail=detail, seconds=clock.lap())
    bare = {*empty, *seen.missing}
    detail = f"not filled: {names(bare)}" if bare else ""
    value = f"{seen.count - len(bare)}/{seen.count}"
    checks.add("import.megatron_filled", not bare, value=value, threshold="all", detail=detail)
    warned = [text for text in seen.warned if "weights not converted" not in text or seen.left]
    detail = " | ".join(warned[:4] or seen.absent[:2])
    checks.add("import.warnings", not warned, value=len(warned), threshold=0, detail=detail)


def import_again(toy: Toy, loaded: Loaded, checks: Checks) -> None:
    """Load the same checkpoint once more; records `import.repeatable`: templates keep what they saw."""
    clock = Clock()
    first, second = tensors_of(loaded.model), tensors_of(load(toy.folder, toy.model_type, Seen()).model)
    changed = [name for name, tensor in first.items() if not torch.equal(tensor, second[name])]
    detail = f"differs from the first import: {names(changed)}" if changed else ""
    value = f"{len(first) - len(changed)}/{len(first)}"
    checks.add("import.repeatable", not changed, value=value, threshold="all", detail=detail, seconds=clock.lap())


def export(loaded: Loaded, folder: Path) -> dict[str, torch.Tensor]:
    """`save_pretrained_as_hf`, and what the files then hold."""
    with watched(loaded.template, loaded.seen), OnCpu(), torch.no_grad():
        loaded.models.save_pretrained_as_hf(str(folder))
    return load_saved(folder)


def round_trip(toy: Toy, loaded: Loaded, checks: Checks) -> None:
    """Save as a Hugging Face model and compare with the saved file; records `round_trip.exact`."""
    clock = Clock()
    compare_exported(export(loaded, toy.beside(EXPORTED)), toy.saved, checks, clock)


def compare_configs(toy: Toy, trusted: bool, checks: Checks) -> None:
    """The exported config.json against the toy's, and what Hugging Face makes of the export; `config.exported`.

    ROLL writes every key of the original back, so each has to have its value. One that was null may have the value
    that was meant by it; the logits say whether it has.
    """
    from transformers import AutoConfig

    clock, reference, folder = Clock(), toy.reference, toy.beside(EXPORTED)
    before, after = (
        AutoConfig.from_pretrained(str(one), trust_remote_code=trusted).to_dict() for one in (reference.folder, folder)
    )
    told = [key for key in before if key not in BOOKKEEPING and before[key] is not None]
    said = [
        f"{key}: {_short(before[key])} became {_short(after.get(key))}"
        for key in told
        if before[key] != after.get(key)
    ]
    far = _moved(reference, folder)
    value = far if far != float("inf") else "not finite"
    passed = far < reference.limit and not said
    detail = "; ".join(said[:6])
    checks.add("config.exported", passed, value=value, threshold=reference.limit, detail=detail, seconds=clock.lap())


def _moved(reference: Reference, folder: Path) -> float:
    """Largest difference of logits, Hugging Face on both sides: the toy as saved, and as ROLL wrote it back."""
    options = {"attn_implementation": "eager", "dtype": torch.float32}
    kind = type(reference.model)
    one, other = (
        run_hf(kind.from_pretrained(str(place), **options).eval(), reference.tokens)
        for place in (reference.folder, folder)
    )
    return float((one - other).abs().nan_to_num(nan=float("inf")).max())


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
