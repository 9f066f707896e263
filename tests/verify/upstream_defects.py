"""The distinct defects behind the rows: what restored parity, how many models it touched, whom its numbers reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from upstream_fixes import FIXES, GROUPS
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
        return tuple(sorted({row.variant for row in self.rows if row.published}))

    def models(self, source: str) -> int:
        """Models of default configs and their variants that it was confirmed in."""
        return sum(row.source == source and not row.published for row in self.rows)

    @property
    def silent(self) -> int:
        """Those of them, wherever measured, that load and write back exactly and compute something else."""
        return sum(row.silent and not row.published for row in self.rows)


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
