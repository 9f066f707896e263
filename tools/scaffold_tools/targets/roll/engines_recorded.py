"""Registries of engines that nobody installed here: read once from a checkout by a command, and kept as data.

`python tests/targets/roll/record_engines.py PATH...` adds one for each checkout; nothing in the file is typed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from scaffold_tools.targets.roll.engines_registries import Engine, Fallback, Registry

RECORDED = Path(__file__).with_name("engines_recorded.json")


@lru_cache(maxsize=2)
def recorded(path: Path = RECORDED) -> tuple[Registry, ...]:
    """All recorded registries, as the file has them: oldest version of an engine first."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return tuple(_read(row) for row in rows)


def write(path: Path, registries: Sequence[Registry], day: str) -> None:
    """Record registries; one of the same engine and version takes the place of the old one.

    Args:
        path: the file; made when it is not there.
        registries: as they were read from a checkout or an installed package.
        day: `2026-08-14`, of those that are new.
    """
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    fresh = [_row(registry, day) for registry in registries]
    replaced = {(row["engine"], row["version"]) for row in fresh}
    kept = [row for row in rows if (row["engine"], row["version"]) not in replaced]
    ordered = sorted((*kept, *fresh), key=lambda row: (row["engine"], version_key(row["version"])))
    path.write_text(json.dumps(ordered, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    recorded.cache_clear()


def newest(engine: Engine, path: Path = RECORDED) -> Registry | None:
    """The recorded registry of the highest version."""
    rows = [row for row in recorded(path) if row.engine == engine]
    return max(rows, key=lambda row: version_key(row.version), default=None)


def of_version(engine: Engine, version: str, path: Path = RECORDED) -> Registry | None:
    """The recorded registry of exactly this version."""
    return next((row for row in recorded(path) if (row.engine, row.version) == (engine, version)), None)


def version_key(version: str) -> tuple[tuple[int, str], ...]:
    """Orders versions: numbers as numbers, `0.10.2` behind `0.8.4`; `0.4.6.post4` behind `0.4.6`."""
    parts = version.split(".")
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _row(registry: Registry, day: str) -> dict[str, Any]:
    fallback = registry.fallback
    return {
        "engine": registry.engine,
        "version": registry.version,
        "commit": registry.commit,
        "recorded": day,
        "architectures": dict(registry.architectures),
        "through_transformers": sorted(registry.through_transformers),
        "dropped": dict(registry.dropped),
        "fallback": None
        if fallback is None
        else {
            "architectures": list(fallback.architectures),
            "conditions": [list(group) for group in fallback.conditions],
            "split_needs_plan": fallback.split_needs_plan,
        },
    }


def _read(row: dict[str, Any]) -> Registry:
    fallback = row["fallback"]
    return Registry(
        engine=row["engine"],
        version=row["version"],
        commit=row["commit"],
        origin="recorded",
        architectures=row["architectures"],
        through_transformers=frozenset(row["through_transformers"]),
        dropped=row["dropped"],
        fallback=None
        if fallback is None
        else Fallback(
            tuple(fallback["architectures"]),
            tuple(tuple(group) for group in fallback["conditions"]),
            fallback["split_needs_plan"],
        ),
        recorded=row["recorded"],
    )
