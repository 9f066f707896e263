"""The distinct defects behind the rows: what restored parity, how many models it touched, whom its numbers reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from upstream_fixes import FIXES, GROUPS, HERE
from upstream_rows import Row, told


@dataclass(frozen=True)
class Defect:
    """One mistake, or one kind of them, and the rows in which taking it away was needed for parity."""

    name: str
    words: tuple[str, ...]
    """The fixes that take it away."""
    rows: tuple[Row, ...]

    @property
    def types(self) -> tuple[str, ...]:
        """Families that it was confirmed in."""
        return tuple(sorted({row.model_type for row in self.rows}))

    @property
    def affected(self) -> tuple[str, ...]:
        """Published models that differ because of it with the numbers of their own config."""
        return tuple(
            sorted({row.variant for row in self.rows if row.published and set(self.words) & set(reaching(row))})
        )

    def models(self, source: str) -> int:
        """Models of default configs and their variants that it was confirmed in."""
        return sum(row.source == source and not row.published for row in self.rows)

    @property
    def silent(self) -> int:
        """Those of them, wherever measured, that load and write back exactly and compute something else."""
        return sum(row.silent and not row.published for row in self.rows)


def reaching(row: Row) -> tuple[str, ...]:
    """The fixes that a published model needs for its own sake, not for its toy's or this transformers'."""
    own = {fix.words for fix in FIXES if fix.group != HERE and fix.unless not in (row.config or {})}
    return tuple(words for words in row.restored_by if words in own)


def kinds(rows: Sequence[Row]) -> list[Defect]:
    """A defect a group of fixes, in the order of the groups."""
    found = [_defect(group, tuple(fix.words for fix in FIXES if fix.group == group), rows) for group in GROUPS]
    return [one for one in found if one.rows]


def defects(rows: Sequence[Row]) -> list[Defect]:
    """A defect a fix, in the order of the groups."""
    ordered = sorted(FIXES, key=lambda fix: GROUPS.index(fix.group))
    found = [_defect(fix.words, (fix.words,), rows) for fix in ordered]
    return [one for one in found if one.rows]


def defect_data(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The defects for the JSON file."""
    group = {fix.words: fix.group for fix in FIXES}
    return [
        {
            "change": one.name,
            "kind": group[one.name],
            "types": one.types,
            "models": {source: one.models(source) for source in dict.fromkeys(row.source for row in rows)},
            "silent": one.silent,
            "published": one.affected,
        }
        for one in defects(rows)
    ]


def _defect(name: str, words: tuple[str, ...], rows: Sequence[Row]) -> Defect:
    return Defect(name, words, tuple(row for row in rows if set(words) & set(row.restored_by)))


def defect_lines(rows: Sequence[Row]) -> list[str]:
    """The part of the page that says which defects there are; `rows` are all rows."""
    sources = list(dict.fromkeys(row.source for row in rows))
    counted = "".join(f" Models, {source} |" for source in sources)
    rule = " ---: |" * len(sources)
    failing = [row for row in rows if row.outcome == "fails"]
    unproven = [row for row in failing if not row.restored_by]
    types = sorted({row.model_type for row in unproven})
    left = f" ({', '.join(f'`{one}`' for one in types)})" if types else ""
    return [
        "## Which defects there are",
        "",
        f"{len(failing) - len(unproven)} of {len(failing)} measurements that differ agree once the lines below are"
        f" changed, and do not agree with any of them left out; {len(unproven)} stay open{left}.",
        "*Models* are toys of default configs and of their variants; one with two defects counts for both. *Silent*"
        " are those of all sources whose weights load and are written back exactly. *Published* are models below"
        " that differ with the numbers of their own config.",
        "",
        f"| What is wrong | Distinct | Types |{counted} Silent | Published |",
        f"| --- | ---: | ---: |{rule} ---: | --- |",
        *(_kind(one, sources, rows) for one in kinds(rows)),
        "",
        "### Each defect, as the change that takes it away",
        "",
        f"| Change | Types |{counted} Published |",
        f"| --- | --- |{rule} --- |",
        *(
            told(one.name, ", ".join(one.types), *(str(one.models(source)) for source in sources), _reach(one))
            for one in defects(rows)
        ),
        "",
    ]


def _kind(one: Defect, sources: Sequence[str], rows: Sequence[Row]) -> str:
    distinct = sum(defect.name in one.words for defect in defects(rows))
    counts = (str(one.models(source)) for source in sources)
    return told(one.name, str(distinct), str(len(one.types)), *counts, str(one.silent), _reach(one))


def _reach(one: Defect) -> str:
    return ", ".join(f"`{name}`" for name in one.affected)


def published_lines(rows: Sequence[Row]) -> list[str]:
    """The models whose config is at hand, measured as they are configured; `rows` are all rows."""
    rows = [row for row in rows if row.published]
    if not rows:
        return []
    return [
        "## Published models with their own numbers",
        "",
        "The toy keeps every scalar of the published config and only shrinks its sizes: a difference here is one that",
        "the checkpoint has as transformers reads it, while what unusual numbers show above may be asleep in it. It",
        "stays shorter than windows and original lengths of thousands of tokens.",
        "",
        "| Source | Model | Type | Logits, max abs | Round trip | Verdict |",
        "| --- | --- | --- | ---: | --- | --- |",
        *(told(row.source, row.variant, row.model_type, *_verdict(row)) for row in rows),
        "",
    ]


def _verdict(row: Row) -> tuple[str, str, str]:
    logits = "" if row.logits_max_abs is None else f"{row.logits_max_abs:.1e}"
    if row.outcome == "passes":
        return logits, row.round_trip, "agrees"
    if not row.restored_by:
        return logits, row.round_trip, f"{row.outcome}: {row.reason}"
    own = reaching(row)
    others = "; ".join(words for words in row.restored_by if words not in own)
    aside = f" (set aside, for no fault of the bridge on it: {others})" if others else ""
    return logits, row.round_trip, f"differs until: {'; '.join(own)}{aside}" if own else f"agrees{aside}"
