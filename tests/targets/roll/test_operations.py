"""Generated operations compute what their layout says: run in the lane, on tensors whose rows say what they are.

The expected rows are listed in the job, not computed by the operation's own formula, and both ways are compared.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import pytest

from scaffold_tools.paths import data_dir
from scaffold_tools.render import Renderer
from scaffold_tools.targets.roll.operations import LOCAL, SHARDED, STACKED, STACKED_BIAS, LocalOperation

JOB = Path(__file__).parent / "lane_jobs" / "operations.py"

BASE = """
from dataclasses import dataclass
from typing import Any


@dataclass
class ConverOp:
    hf_names: list
    mca_names: list
    _mca_config: Any = None

    @property
    def mca_config(self):
        return self._mca_config


class QKVConverOp(ConverOp):
    pass
"""
STACK = """
class StackedTensors:
    def __init__(self, tensors, dim):
        self.tensors, self.dim = list(tensors), dim
"""


def _sharded(mapping: str) -> LocalOperation:
    name, sizes, groups = SHARDED[mapping]
    return LocalOperation(name, "sharded_rows", sizes=sizes, groups=groups)


OPERATIONS: tuple[tuple[LocalOperation, str], ...] = (
    *(
        (LocalOperation(f"Fused{''.join(order)}{blocks}", "fused_qkv", tuple(order), blocks=blocks), "")
        for order, blocks in (("qkv", "1"), ("kqv", "1"), ("qvk", "2"), ("vkq", "groups"))
    ),
    (LocalOperation("FusedTurned", "fused_qkv", ("q", "k", "v"), transposed=True), ""),
    (LocalOperation("GateUp", "fused_gate_up", ("gate", "up")), ""),
    (LocalOperation("UpGate", "fused_gate_up", ("up", "gate")), ""),
    (LocalOperation("Alternating", "fused_gate_up", ("gate", "up"), interleaved=True), ""),
    (LocalOperation("AlternatingTurned", "fused_gate_up", ("up", "gate"), interleaved=True, transposed=True), ""),
    (LocalOperation("KeyValue", "q_kv", ("k", "v")), ""),
    (LocalOperation("ValueKeyGroups", "q_kv", ("v", "k"), blocks="groups", transposed=True), ""),
    (LOCAL["GatedQKVMapping"], ""),
    (LOCAL["TransposedQKVMapping"], ""),
    (LOCAL["TransposedGatedMLPMapping"], ""),
    (LOCAL["RotatedRowsMapping"], ""),
    (LOCAL["SqueezedBiasMapping"], ""),
    (LocalOperation("TransposeConverOp", "transpose"), ""),
    (LocalOperation("Two", "sharded_rows", sizes=("rows // 2",) * 2, groups=(2,)), "two"),
    (_sharded("MambaInProjMapping"), "mamba"),
    (_sharded("GDNLinearMappingSeparate"), "delta"),
    (STACKED["FusedExpertMapping"], ""),
    (dataclasses.replace(STACKED["StackedExpertsMapping"], name="ExpertsTurned"), ""),
    (STACKED["FusedGatedExpertMapping"], ""),
    (
        LocalOperation("OddExperts", "stacked_gate_up", ("up", "gate"), interleaved=True, transposed=True),
        "",
    ),
    (LocalOperation("Pair", "stacked_pair", transposed=True), ""),
    (STACKED_BIAS, ""),
)


def _module(operations: list[LocalOperation]) -> str:
    """The text of `converters_<model>.py`."""
    imports = [
        {"level": 0, "module": "mcore_adapter.models.converter.template", "name": "ConverOp"},
        {"level": 0, "module": "mcore_adapter.models.converter.template", "name": "QKVConverOp"},
        {"level": 0, "module": "mcore_adapter.models.converter.convert_utils", "name": "StackedTensors"},
    ]
    local = [
        {**dataclasses.asdict(row), "uses_config": any("config." in size for size in row.sizes)} for row in operations
    ]
    words = {"title": "Heron", "imports": imports, "local": local}
    return Renderer(data_dir("templates") / "roll").render("converters.py.j2", words)


def _run(folder: Path, text: str, claimed: frozenset[str] = frozenset()) -> dict[str, str]:
    from scaffold_tools.verify.lane_env import find_lane

    lane = find_lane()
    assert lane is not None
    converter = folder / "mcore_adapter" / "models" / "converter"
    converter.mkdir(parents=True)
    (converter / "template.py").write_text(BASE)
    (converter / "convert_utils.py").write_text(STACK)
    (folder / "converters_heron.py").write_text(text)
    given = [
        {**dataclasses.asdict(row), "case": case, "moves_rows": row.moves_rows or row.name in claimed}
        for row, case in OPERATIONS
    ]
    words = [str(lane.python), str(JOB), "converters_heron", json.dumps(given)]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.lane
def test_every_operation_is_exact_both_ways_and_a_wrong_one_is_seen(tmp_path):
    text = _module([row for row, _ in OPERATIONS])
    assert _run(tmp_path / "right", text) == {}
    swapped = text.replace('for name in ("q", "k", "v")]', 'for name in ("k", "q", "v")]')
    assert swapped != text
    found = _run(tmp_path / "wrong", swapped, claimed=frozenset({"FusedTurned", "AlternatingTurned"}))
    assert {"Fusedqkv1", "Fusedvkqgroups"} <= set(found)
    assert found["AlternatingTurned"] == "LoRA"  # stored [in, out], it does more than move rows


def test_every_kind_of_operation_is_tried():
    kinds = {path.name.removesuffix(".py.j2") for path in (data_dir("templates") / "roll" / "converters").iterdir()}
    elsewhere = {"paired_qkv", "grouped_delta"}
    """On real models alone: one builds on mcore_adapter's own operation, one has six widths."""
    assert {row.kind for row, _ in OPERATIONS} == kinds - elsewhere
