"""docs/coverage.json and docs/coverage.md, as generated: nobody types a figure there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaffold.matrix.run import Coverage, summary
from scaffold.matrix.values import BASE, Row
from scaffold.run_folder import write_atomically
from scaffold_tools.jsonio import dumps

MEANINGS = {
    "proven": "every check of the CPU lane passed and nothing is left open",
    "proven-with-block": "the same, with custom blocks in the family folder where stock megatron-core falls short",
    "gap": "something is left open; the reason says what, with the line of transformers where that is known",
    "not-a-decoder": "measured to be something else than a decoder-only language model",
}


def write_docs(coverage: Coverage, folder: Path) -> tuple[Path, Path]:
    """Write both files; returns their paths."""
    json_file, markdown = folder / "coverage.json", folder / "coverage.md"
    write_atomically(json_file, dumps([_json(row) for row in coverage.rows]))
    write_atomically(markdown, text(coverage))
    return json_file, markdown


def _json(row: Row) -> dict[str, Any]:
    from scaffold_tools.jsonio import to_jsonable

    value: dict[str, Any] = to_jsonable(row)
    return value


def one_line(coverage: Coverage) -> str:
    """The counts."""
    found = summary(coverage)
    bases, variants = found["bases"], found["variants"]
    proven = bases["proven"] + bases["proven-with-block"]
    decoders = found["types"] - bases["not-a-decoder"]
    ran = sum(variants.values())
    return (
        f"{proven} of {decoders} decoder types proven ({bases['proven-with-block']} with custom blocks),"
        f" {bases['gap']} with gaps, {bases['not-a-decoder']} of {found['types']} not decoders;"
        f" {variants['proven'] + variants['proven-with-block']} of {ran} variants proven;"
        f" {found['unexplained']} unexplained failures"
    )


def text(coverage: Coverage) -> str:
    """The Markdown page."""
    rows = coverage.rows
    bases = [row for row in rows if row.variant == BASE]
    versions = ", ".join(f"{name} {version}" for name, version in coverage.versions.items())
    parts = [
        "# Coverage",
        "",
        "Every causal language model that the installed transformers has, through the whole of `scaffold new-model`,"
        " each from its class's own defaults and with no edit by hand.",
        "",
        f"{one_line(coverage)}.",
        "",
        f"Measured with {versions}. To repeat it: `scaffold matrix --fresh` (the same with all variants:"
        " `--variants all`). Figures of each row, and all rows as data: [coverage.json](coverage.json).",
        "",
        "## Counts",
        "",
        *_counts(rows),
        "",
        "## Not proven and not explained",
        "",
        "A check failed or something broke, and no gap says why: faults of ours.",
        "",
        *_reasons([row for row in rows if row.unexplained]),
        "",
        "## Model types",
        "",
        *_table(bases),
        "",
        "## Variants",
        "",
        *_table([row for row in rows if row.variant != BASE and row.outcome != "not-a-decoder"]),
    ]
    return "\n".join(parts) + "\n"


def _counts(rows: Sequence[Row]) -> list[str]:
    lines = ["| Outcome | Types | Variants | Meaning |", "| --- | ---: | ---: | --- |"]
    for name, meaning in MEANINGS.items():
        mine = [row for row in rows if row.outcome == name]
        bases = sum(row.variant == BASE for row in mine)
        lines.append(f"| {name} | {bases} | {len(mine) - bases} | {meaning} |")
    return lines


def _reasons(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return ["None."]
    return [f"- {_code(_name(row))}: {_cell(row.reason)}{_source(row)}" for row in rows]


def _table(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return ["None."]
    lines = [
        "| Model | Outcome | Logits, max abs | Round trip | Seconds | Peak MiB | Reason |",
        "| --- | --- | ---: | --- | ---: | ---: | --- |",
    ]
    for row in rows:
        cells = (
            _code(_name(row)),
            row.outcome,
            _logits(row),
            _round_trip(row),
            f"{row.seconds:.1f}",
            str(row.peak_mb or ""),
            f"{_cell(row.reason)}{_source(row)}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _name(row: Row) -> str:
    return row.model_type if row.variant == BASE else f"{row.model_type} {row.variant}"


def _source(row: Row) -> str:
    return f" ({_code(row.hf_source)})" if row.hf_source else ""


def _logits(row: Row) -> str:
    values = list((row.logits_max_abs or {}).values())
    numbers = [value for value in values if isinstance(value, int | float)]
    if not values or not numbers:
        return next((_cell(str(value)) for value in values if value is not None), "")
    return f"{max(numbers):.1e}"


def _round_trip(row: Row) -> str:
    states = set((row.round_trip or {}).values())
    return "exact" if states == {"passed"} else ", ".join(sorted(states))


def _code(said: str) -> str:
    """The same as code, where a backslash would be shown."""
    return "`" + " ".join(said.split()).replace("`", "'").replace("|", "/") + "`"


def _cell(said: str) -> str:
    """Text of a config or a library in a Markdown table: one line, no markup of its own, not endless."""
    one = " ".join(said.split())
    cut = (one if len(one) <= 220 else f"{one[:217]}...").replace("`", "'").replace("&", "&amp;").replace("<", "&lt;")
    for mark in ("\\", "|", "*", "_", "["):
        cut = cut.replace(mark, f"\\{mark}")
    return cut
