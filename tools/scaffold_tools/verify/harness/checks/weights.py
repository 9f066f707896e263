"""Import and export through the real bridge: nothing left over, nothing left out, nothing changed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mcore.build import fill_with_nan, tensors_of
from mcore.no_cuda import OnCpu

from checks.measured import Checks, Clock, names


def load_saved(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of the safetensors files of a folder."""
    from safetensors.torch import load_file

    saved: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        saved |= load_file(file)
    return saved


def import_weights(auto_bridge: Any, model: Any, saved: dict[str, torch.Tensor], checks: Checks) -> None:
    """Import into a model full of NaN; records `import.hf_consumed`, `import.megatron_filled`, `import.warnings`."""
    clock = Clock()
    count = fill_with_nan(model)
    with reads_of(auto_bridge.hf_pretrained.state.source) as reads, warnings_of("megatron.bridge") as warned, OnCpu():
        try:
            auto_bridge.load_hf_weights([model])
        except Exception as error:
            for warning in warned[:3]:  # upstream crashes on a parameter without a mapping; the warning names it
                error.add_note(warning)
            raise
    seconds = clock.lap()
    unread = set(saved) - set(reads)
    detail = f"never read: {names(unread)}" if unread else ""
    read = f"{len(saved) - len(unread)}/{len(saved)}"
    checks.add("import.hf_consumed", not unread, value=read, threshold="all", detail=detail, seconds=seconds)
    empty = [name for name, tensor in tensors_of(model).items() if not bool(torch.isfinite(tensor).all())]
    detail = f"not filled: {names(empty)}" if empty else ""
    filled = f"{count - len(empty)}/{count}"
    checks.add("import.megatron_filled", not empty, value=filled, threshold="all", detail=detail)
    checks.add("import.warnings", not warned, value=len(warned), threshold=0, detail=" | ".join(warned[:4]))


def import_again(auto_bridge: Any, model: Any, checks: Checks) -> None:
    """Import a second time; records `import.repeatable`, which a mapping that changes its source in place fails."""
    clock = Clock()
    before = {name: tensor.detach().clone() for name, tensor in tensors_of(model).items()}
    with OnCpu():
        auto_bridge.load_hf_weights([model])
    changed = [name for name, tensor in tensors_of(model).items() if not torch.equal(before[name], tensor)]
    detail = f"differs from the first import: {names(changed)}" if changed else ""
    same = f"{len(before) - len(changed)}/{len(before)}"
    checks.add("import.repeatable", not changed, value=same, threshold="all", detail=detail, seconds=clock.lap())


def round_trip(auto_bridge: Any, model: Any, saved: dict[str, torch.Tensor], checks: Checks) -> None:
    """Export and compare with the saved file: the same names, shapes and bits; records `round_trip.exact`."""
    clock = Clock()
    with OnCpu(), torch.no_grad():
        exported = {
            name: tensor for name, tensor in auto_bridge.export_hf_weights([model], cpu=True, show_progress=False)
        }
    compare_exported(exported, saved, checks, clock)


def compare_exported(
    exported: dict[str, torch.Tensor], saved: dict[str, torch.Tensor], checks: Checks, clock: Clock
) -> None:
    """The same names, shapes and bits as the saved file; records `round_trip.exact`."""
    exact, detail = difference_of(exported, saved)
    value = f"{exact}/{len(saved)}"
    checks.add("round_trip.exact", not detail, value=value, threshold="all", detail=detail, seconds=clock.lap())


def difference_of(exported: dict[str, torch.Tensor], saved: dict[str, torch.Tensor]) -> tuple[int, str]:
    """How many tensors are bitwise the saved ones, and what is wrong with the others; "" where nothing is."""
    wrong = [name for name in saved.keys() & exported.keys() if not _same(saved[name], exported[name])]
    problems = {
        "missing": saved.keys() - exported.keys(),
        "not in the checkpoint": exported.keys() - saved.keys(),
        "changed": wrong,
    }
    detail = "; ".join(f"{kind}: {names(found)}" for kind, found in problems.items() if found)
    return len(saved) - len(problems["missing"]) - len(wrong), detail


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Bitwise equal: NaN differs from NaN, and so does a shape or a dtype."""
    return left.shape == right.shape and left.dtype == right.dtype and torch.equal(left, right)


@contextmanager
def reads_of(source: Any) -> Iterator[Counter[str]]:
    """Counts which tensors are loaded from a state source while the context lasts."""
    reads: Counter[str] = Counter()
    original = source.load_tensors

    def load_tensors(keys: list[str]) -> dict[str, torch.Tensor]:
        reads.update(keys)
        return original(keys)

    source.load_tensors = load_tensors
    try:
        yield reads
    finally:
        del source.load_tensors


@contextmanager
def warnings_of(logger_name: str) -> Iterator[list[str]]:
    """Collects warnings about mappings: upstream only logs what it could not map, and goes on."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = " ".join(record.getMessage().split())
            if "mapping" in text.lower() or "can't find" in text.lower():
                found.append(text[:300])

    logger, collector = logging.getLogger(logger_name), Collector(logging.WARNING)
    logger.addHandler(collector)
    try:
        yield found
    finally:
        logger.removeHandler(collector)
