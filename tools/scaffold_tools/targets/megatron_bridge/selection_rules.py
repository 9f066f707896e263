"""Attention over chosen keys: which layers choose. The rest of it is a block (`blocks/selection.py`)."""

from __future__ import annotations

from collections.abc import Sequence

from scaffold_tools.blueprint.facts import Const, PerLayer
from scaffold_tools.render.literals import python_literal as literal
from scaffold_tools.targets.megatron_bridge.emission import config_path
from scaffold_tools.targets.megatron_bridge.rows import Row, Setting, View


def period(flags: Sequence[bool]) -> tuple[int, int] | None:
    """(offset, period) with which megatron-core makes these layers choose keys; None where no pair does.

    Layer n, counted from 1, chooses where `max(n - offset, 0) % period == 0` (dsa.py: is_dsa_skip_topk_layer).
    """
    if False not in flags or not flags[0]:
        return None
    offset = list(flags).index(False)
    later = list(flags)[offset:]
    length = later.index(True) + 1 if True in later else len(later) + 1
    made = [max(layer + 1 - offset, 0) % length == 0 for layer in range(len(flags))]
    return (offset, length) if made == list(flags) else None


def _labels(view: View) -> dict[bool, list[str]]:
    found: dict[bool, list[str]] = {True: [], False: []}
    if isinstance(view.expression, PerLayer):
        for label, case in view.expression.cases:
            if isinstance(case, Const) and isinstance(label, str):
                found[bool(case.value)].append(label)
    return found


def _is_periodic(view: View) -> bool:
    labels = _labels(view)
    return len(labels[True]) == len(labels[False]) == 1 and period(view.value) is not None


def _shared(view: View) -> tuple[Setting, ...]:
    labels = _labels(view)
    assert isinstance(view.expression, PerLayer)
    kinds = config_path(view.expression.key)
    offset = f"{kinds}.index({literal(labels[False][0])})"
    later = f"({kinds}[{offset}:] + [{literal(labels[True][0])}]).index({literal(labels[True][0])})"
    return (
        Setting("dsa_indexer_skip_topk_offset", offset, "the first layers all choose keys"),
        Setting("dsa_indexer_topk_freq", f"{later} + 1", "the layers between two choices use the last one"),
    )


ROWS: tuple[Row, ...] = (
    Row("indexer.layers", lambda view: all(view.value or [False]), derived="every layer chooses keys by default"),
    Row("indexer.layers", _is_periodic, settings=_shared),
)
"""Layers that choose without a period have no row: megatron-core knows periods alone."""
