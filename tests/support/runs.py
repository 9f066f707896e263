"""A run folder with a plan, made without probes, for tests of what reads one."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from scaffold.run_folder import RunFolder, for_model
from scaffold_tools.blueprint.facts import Gap
from scaffold_tools.source.inventory import Inventory, Source
from scaffold_tools.targets.megatron_bridge.plan import Options, make_plan
from scaffold_tools.workspace.plan import Plan
from targets.blueprints import QWEN3_CONFIG, qwen3
from targets.test_rules import PROFILE

GAP = Gap("mlp.activation", "no curve fits", "modeling_x.py:1", "what the code does there", "logits.max_abs")


@functools.cache
def _plan(gaps: tuple[Gap, ...]) -> Plan:
    """Rendered once: a package is the same wherever it lies."""
    blueprint = dataclasses.replace(qwen3(), gaps=gaps)
    options = Options(year=2026, with_stubs=True)
    return make_plan(blueprint, root=Path("/nowhere/scaffold_qwen3"), profile=PROFILE, options=options)


def planned_run(base: Path, *, gaps: tuple[Gap, ...] = (), root: Path | None = None) -> RunFolder:
    """A run of Qwen3 whose plan is for a package below `base`, with marked places where there are gaps."""
    source = Source("Qwen/Qwen3-8B", "hub", "Qwen/Qwen3-8B", revision="b" * 40)
    folder = for_model("Qwen/Qwen3-8B", base)
    folder.save("source", source)
    folder.save("inventory", Inventory(source, QWEN3_CONFIG, None))
    folder.save("blueprint", dataclasses.replace(qwen3(), gaps=gaps))
    folder.save("plan", dataclasses.replace(_plan(gaps), root=str(root or base / "scaffold_qwen3")))
    return folder
