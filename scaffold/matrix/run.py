"""Every type, then the variants of those that came out: resumable, in parallel, whatever breaks."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scaffold.matrix.pool import Serve, run_cases, serve
from scaffold.matrix.values import BASE, MEGATRON_BRIDGE, PROVEN, Case, Finished, Row, Subject
from scaffold.matrix.variants import variants_of
from scaffold.options import DEFAULT_TARGET
from scaffold.run_folder import write_atomically
from scaffold_tools import paths
from scaffold_tools.errors import BadInput
from scaffold_tools.jsonio import dumps, loads, to_jsonable

CODE = (".py", ".j2")


@dataclass(frozen=True)
class Options:
    """What to run."""

    types: tuple[str, ...] = ()
    """Model types; all where empty."""
    variants: str = "usual"
    """none; usual: the usual rows, for types whose base is proven; all: every row, for every type."""
    jobs: int = 1
    timeout: float = 600.0
    fresh: bool = False
    """Measure again what was measured with the same code and versions."""
    subject: Subject = MEGATRON_BRIDGE


@dataclass(frozen=True)
class Coverage:
    """What a run found."""

    rows: tuple[Row, ...]
    refused: int
    """Variants that transformers does not build."""
    reused: int
    """Cases whose result an earlier run had."""
    versions: dict[str, str]
    seconds: float
    subject: Subject = MEGATRON_BRIDGE


@dataclass(frozen=True)
class Store:
    """Results of earlier runs: a file a case, valid for one state of code, versions and config."""

    folder: Path
    state: str

    def key(self, case: Case) -> str:
        """Hash of everything that the case's result follows from."""
        return hashlib.sha256(dumps([self.state, case.model_type, case.variant, case.config]).encode()).hexdigest()

    def load(self, case: Case) -> Finished | None:
        """The stored result; None where there is none, or it is from another state, or damaged."""
        try:
            text = (self.folder / f"{case.name}.json").read_text(encoding="utf-8")
            value = json.loads(text)
            if not isinstance(value, dict) or value.get("key") != self.key(case):
                return None
            return loads(Finished, json.dumps(value["finished"]), where=case.name)
        except (OSError, ValueError, KeyError, BadInput):
            return None

    def save(self, case: Case, finished: Finished) -> None:
        """Keep a result. A fault of the machine (a worker that died) is measured again next time."""
        if finished.row is not None and not finished.row.architecture:
            return
        write_atomically(self.folder / f"{case.name}.json", dumps({"key": self.key(case), "finished": finished}))


def default_store(state: str, target: str = DEFAULT_TARGET) -> Store:
    """In the user's cache, beside the lane; each target has its own results."""
    cache = Path(os.environ.get("SCAFFOLD_CACHE") or Path.home() / ".cache" / "scaffold")
    return Store(cache.expanduser() / ("matrix" if target == DEFAULT_TARGET else f"matrix-{target}"), state)


def code_state(versions: dict[str, str], subject: Subject = MEGATRON_BRIDGE, checkout: Path | None = None) -> str:
    """Hash of our code and templates, of the lane's versions, and of what of the target is no package of the lane.

    Args:
        versions: of the lane's packages.
        subject: what is measured.
        checkout: of the target, where it needs one.
    """
    digest = hashlib.sha256(json.dumps([versions, to_jsonable(subject)], sort_keys=True).encode())
    package = Path(paths.__file__).resolve().parent
    ours = (package, Path(__file__).resolve().parent.parent, paths.data_dir("templates"))
    for root in (*ours, *(() if checkout is None else (checkout,))):
        for path in sorted(path for path in root.rglob("*") if path.suffix in CODE and path.is_file()):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def run_matrix(
    options: Options,
    *,
    types: Sequence[str],
    versions: dict[str, str],
    store: Store,
    tell: Callable[[str], None],
    work: Serve | None = None,
) -> Coverage:
    """Run the base of each type, then variants.

    Args:
        types: what transformers has.
        versions: of the lane's packages.
        store: results of earlier runs.
        tell: told a line a case.
        work: what a worker process runs, in place of measuring.

    Raises:
        BadInput: a type that transformers does not have.
    """
    unknown = [name for name in options.types if name not in types]
    if unknown:
        raise BadInput(f"transformers has no causal model type {unknown[0]!r}", hint="leave --types out for all")
    started = time.monotonic()
    bases = [Case(name) for name in options.types or types]
    runner = _Runner(options, store, tell, work or partial(serve, subject=options.subject))
    found = runner.run(bases)
    cases = [] if options.variants == "none" else _variants(found, every=options.variants == "all")
    later = runner.run(cases)
    rows = [finished.row for _, finished in (*found, *later) if finished.row is not None]
    return Coverage(
        rows=tuple(sorted(rows, key=lambda row: (row.model_type, row.variant != BASE, row.variant))),
        refused=sum(finished.row is None for _, finished in later),
        reused=runner.reused,
        versions=versions,
        seconds=round(time.monotonic() - started, 1),
        subject=options.subject,
    )


def _variants(found: Sequence[tuple[Case, Finished]], *, every: bool) -> list[Case]:
    """Variants of decoders; in a usual run only of proven ones, since a gap of the base is one of its variants too."""
    cases = []
    for case, finished in found:
        row, config = finished.row, finished.config
        if row is None or config is None or row.outcome == "not-a-decoder":
            continue
        if every or row.outcome in PROVEN:
            cases += [Case(case.model_type, name, changed) for name, changed in variants_of(config, every=every)]
    return cases


class _Runner:
    """Runs lists of cases, taking from the store what it has."""

    def __init__(self, options: Options, store: Store, tell: Callable[[str], None], work: Serve) -> None:
        self.options = options
        self.store = store
        self.tell = tell
        self.work = work
        self.reused = 0

    def run(self, cases: Sequence[Case]) -> list[tuple[Case, Finished]]:
        done: list[tuple[Case, Finished]] = []
        open_cases = []
        for case in cases:
            stored = None if self.options.fresh else self.store.load(case)
            if stored is None:
                open_cases.append(case)
            else:
                done.append((case, stored))
        self.reused += len(done)
        if done:
            self.tell(f"{len(done)} of {len(cases)} results are from an earlier run with the same code and versions")
        jobs, timeout = self.options.jobs, self.options.timeout
        ended = run_cases(open_cases, jobs=jobs, timeout=timeout, work=self.work) if open_cases else ()
        for number, (case, finished) in enumerate(ended, 1):
            self.store.save(case, finished)
            done.append((case, finished))
            self.tell(f"[{number}/{len(open_cases)}] {describe(case, finished)}")
        return done


def describe(case: Case, finished: Finished) -> str:
    """One line of progress."""
    row = finished.row
    if row is None:
        return f"{case.name:<40} no such variant: {finished.refused[:100]}"
    return f"{case.name:<40} {row.outcome:<18} {row.seconds:6.1f} s  {row.reason[:110]}".rstrip()


def summary(coverage: Coverage) -> dict[str, Any]:
    """Counts, of bases and of all rows."""

    def count(rows: Sequence[Row]) -> dict[str, int]:
        names = ("proven", "proven-with-block", "gap", "not-a-decoder")
        return {name: sum(row.outcome == name for row in rows) for name in names}

    bases = [row for row in coverage.rows if row.variant == BASE]
    variants = [row for row in coverage.rows if row.variant != BASE]
    return {
        "types": len(bases),
        "bases": count(bases),
        "variants": count(variants),
        "unexplained": sum(row.unexplained for row in coverage.rows),
        "refused": coverage.refused,
    }
