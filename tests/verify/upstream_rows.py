"""What upstream's own integrations do on toys: a row a model, kept as lines of JSON, and the page made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["passes", "fails", "no reference", "not measurable"]
CONFIRMED = "a fix of a line or two restores parity"
OPEN = "difference, cause not confirmed"
HIDDEN = 1e-4
"""A difference of logits below this passes every check."""
UNTRIED = f"{OPEN} (no fix tried)"


@dataclass(frozen=True)
class Row:
    """One integration of upstream on one model."""

    source: str
    """`released` or `main`."""
    model_type: str
    variant: str
    bridge: str
    outcome: Outcome
    """`no reference`: transformers itself does not run that toy; `not measurable`: this machine is the reason."""
    failed: tuple[str, ...] = ()
    logits_max_abs: float | None = None
    round_trip: str = ""
    exported: str = ""
    """Whether the config that the bridge writes back computes the same: `equal`, `differs`, "" unasked."""
    reason: str = ""
    """What failed first, as the check said it."""
    culprit: str = ""
    """First module whose output differs."""
    causes: tuple[str, ...] = ()
    """What the captured values bear out."""
    tried: tuple[str, ...] = ()
    """Fixes that were applied to upstream's own class."""
    restored_by: tuple[str, ...] = ()
    """Those of them that give parity, together."""
    own_scalars: float | str | None = None
    """Largest difference of logits on toys with the config's own scalars; words where nothing was compared."""
    config: dict[str, Any] | None = None
    published: bool = False
    """A published model, which `variant` names, with the numbers of its own config."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes a row another one."""
        return (self.source, self.model_type, self.variant)

    @property
    def silent(self) -> bool:
        """Wrong logits behind a round trip that is exact."""
        return self.outcome == "fails" and self.round_trip == "exact" and "logits.max_abs" in self.failed


def read_rows(file: Path) -> dict[tuple[str, str, str], Row]:
    """Rows measured before; a later line replaces an earlier one of the same key."""
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        given = json.loads(line)
        lists = {name: tuple(given[name]) for name in ("failed", "causes", "tried", "restored_by")}
        row = Row(**given | lists)
        found[row.key] = row
    return found


def add_row(file: Path, row: Row) -> None:
    """Append one row."""
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(asdict(row)) + "\n")


@dataclass(frozen=True)
class Unmeasured:
    """An architecture that has an integration and no row."""

    source: str
    architecture: str
    bridge: str
    why: str


def data(rows: Sequence[Row], left: Sequence[Unmeasured], versions: dict[str, dict[str, str]]) -> dict[str, Any]:
    """What the JSON file holds; configs are those of transformers' own defaults and stay out."""
    kept = [asdict(replace(row, config=None)) for row in rows]
    for one in kept:
        del one["config"]
    return {"versions": versions, "rows": kept, "not_measured": [asdict(one) for one in left]}


def page(
    rows: Sequence[Row],
    left: Sequence[Unmeasured],
    versions: dict[str, dict[str, str]],
    notes: Sequence[tuple[str, str]] = (),
    found: Sequence[str] = (),
) -> str:
    """The Markdown page; `found` are the lines on the defects themselves."""
    lines = ["# Parity of Megatron-Bridge's own integrations", ""]
    rows = [row for row in rows if not row.published]
    for source in dict.fromkeys(row.source for row in rows):
        lines += _summary(source, [row for row in rows if row.source == source], left, versions[source])
    lines += [
        *found,
        "## How it was measured",
        "",
        "Each toy has two variants whose every scalar is unusual (see [checks.md](checks.md)): what fails here may be",
        "right for a published checkpoint whose numbers are the defaults of the code. `base` is the default config of",
        "transformers' own class; the other models change one key of it. A defect counts as confirmed where a fix of",
        "a line or two (`tests/verify/upstream_fixes.py`), applied to upstream's own class and nothing else, gives",
        f"parity on all toys; without one the row says *{OPEN}*.",
        "To repeat it (an hour on one core; it goes on where it stopped):",
        "",
        "    python tests/verify/upstream_parity.py --checkout MEGATRON_BRIDGE --core MEGATRON_LM",
        "",
        "`--core` is the Megatron-LM that the checkout pins. As data: [upstream-parity.json](upstream-parity.json).",
        "",
        "## What fails with the default config",
        "",
        "*Own scalars* is the same toy with the numbers of that config, not unusual ones: where it is below 1e-4",
        "the default numbers hide the difference, and a checkpoint that has them is not affected.",
        "",
        "| Source | Type | Logits, max abs | Own scalars | Round trip | First divergence | Cause | Confirmed |",
        "| --- | --- | ---: | ---: | --- | --- | --- | --- |",
        *(_failing(row) for row in rows if row.outcome == "fails" and row.variant == "base"),
        "",
        "## What fails with one key changed",
        "",
        "Changes that the class of transformers takes; not each of them was published in a checkpoint of that family.",
        "",
        "| Source | Type | Change | Logits, max abs | Round trip | First divergence | Cause | Confirmed |",
        "| --- | --- | --- | ---: | --- | --- | --- | --- |",
        *(_failing(row) for row in rows if row.outcome == "fails" and row.variant != "base"),
        "",
        "## Before blaming a bridge",
        "",
        *(f"- `{name}`: {words}" for name, words in notes if any(row.model_type == name for row in rows)),
        "",
        "## What passes",
        "",
        "| Source | Type | Models that pass | Worst logits difference |",
        "| --- | --- | --- | ---: |",
        *_passing(rows),
        "",
        "## What could not be judged",
        "",
        "| Source | Type | Model | Why |",
        "| --- | --- | --- | --- |",
        *(
            told(row.source, row.model_type, row.variant, f"{row.outcome}: {row.reason}")
            for row in rows
            if row.outcome not in ("passes", "fails")
        ),
        "",
        "## What was not measured",
        "",
        "| Why | Source | Architectures |",
        "| --- | --- | --- |",
        *_unmeasured(left),
    ]
    return "\n".join(lines) + "\n"


def _summary(source: str, rows: Sequence[Row], left: Sequence[Unmeasured], versions: dict[str, str]) -> list[str]:
    judged = [row for row in rows if row.outcome in ("passes", "fails")]
    base, other = ([row for row in judged if (row.variant == "base") == first] for first in (True, False))
    bad = [row for row in base if row.outcome == "fails"]
    numbers = [row.own_scalars for row in bad if isinstance(row.own_scalars, float)]
    return [
        f"**{source}** ({', '.join(f'{name} {value}' for name, value in versions.items())})",
        "",
        f"- {_passing_of(base)} types agree with transformers on its default config. Of the {len(bad)} that do not,"
        f" {sum(bool(row.restored_by) for row in bad)} are confirmed by a fix; {len(bad) - len(numbers)} stop before"
        f" anything is compared, and {sum(one < HIDDEN for one in numbers)} differ by less than {HIDDEN:g} with the"
        " scalars of that config.",
        f"- {_passing_of(other)} models agree with one key changed."
        f" {sum(bool(row.restored_by) for row in other)} of those that do not are confirmed by a fix.",
        f"- {sum(row.silent for row in judged)} models have an exact round trip and wrong logits.{_exported(rows)}",
        f"- {sum(row.outcome not in ('passes', 'fails') for row in rows)} models could not be judged, and"
        f" {sum(one.source == source for one in left)} registered architectures were not measured.",
        "",
    ]


def _passing_of(rows: Sequence[Row]) -> str:
    return f"{sum(row.outcome == 'passes' for row in rows)} of {len(rows)}"


def _exported(rows: Sequence[Row]) -> str:
    asked = [row for row in rows if row.exported]
    if not asked:
        return ""
    other = sum(row.exported == "differs" for row in asked)
    return f" Of {len(asked)} whose config was asked for again, {other} got one that computes something else."


def _failing(row: Row) -> str:
    logits = "" if row.logits_max_abs is None else f"{row.logits_max_abs:.1e}"
    where = f"`{row.culprit}`" if row.culprit else ""
    cause = "; ".join(row.restored_by or row.causes[:1]) or row.reason
    confirmed = "yes" if row.restored_by else OPEN if row.tried else UNTRIED
    own = f"{row.own_scalars:.1e}" if isinstance(row.own_scalars, float) else row.own_scalars or ""
    figures = (logits, own) if row.variant == "base" else (row.variant, logits)
    return told(row.source, row.model_type, *figures, row.round_trip, where, cause, confirmed)


def _passing(rows: Sequence[Row]) -> list[str]:
    good = [row for row in rows if row.outcome == "passes"]
    lines = []
    for source, model_type in dict.fromkeys((row.source, row.model_type) for row in good):
        mine = [row for row in good if (row.source, row.model_type) == (source, model_type)]
        worst = max((row.logits_max_abs for row in mine if row.logits_max_abs is not None), default=0.0)
        lines.append(told(source, model_type, ", ".join(row.variant for row in mine), f"{worst:.1e}"))
    return lines


def _unmeasured(left: Sequence[Unmeasured]) -> list[str]:
    groups = dict.fromkeys((one.why, one.source) for one in left)
    return [
        told(
            why,
            source,
            ", ".join(f"`{one.architecture}`" for one in left if (one.why, one.source) == (why, source)),
        )
        for why, source in groups
    ]


def told(*cells: str) -> str:
    """A line of a table; what a cell holds stays in it."""
    return f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in cells)} |"
