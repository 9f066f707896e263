"""docs/coverage*.json and docs/coverage*.md, as generated: nobody types a figure there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaffold.matrix.beside import read_rows, told_beside
from scaffold.matrix.run import Coverage, summary
from scaffold.matrix.values import BASE, Row, Subject
from scaffold.options import DEFAULT_TARGET
from scaffold.run_folder import write_atomically
from scaffold.targets import find_target
from scaffold_tools.errors import BadInput
from scaffold_tools.jsonio import dumps

MEANINGS = {
    "proven": "every check of the CPU lane passed and nothing is left open",
    "proven-with-block": "the same, with custom blocks in the model's folder where stock megatron-core falls short",
    "gap": "something is left open; the reason says what, with the line of transformers where that is known",
    "not-a-decoder": "measured to be something else than a decoder-only language model",
}


def write_docs(coverage: Coverage, folder: Path) -> tuple[Path, Path]:
    """Write both files; returns their paths.

    Raises:
        BadInput: the rows of the default target, which another one is held against, cannot be read.
    """
    name = document_name(coverage.subject.target)
    json_file, markdown = folder / f"{name}.json", folder / f"{name}.md"
    others = folder / f"{document_name(DEFAULT_TARGET)}.json"
    theirs = read_rows(others) if others != json_file and others.is_file() else ()
    write_atomically(json_file, dumps([_json(row) for row in coverage.rows]))
    write_atomically(markdown, text(coverage, theirs))
    return json_file, markdown


def with_the_rest(coverage: Coverage, folder: Path) -> Coverage:
    """The coverage with the rows of other types that stand in the folder's file, where there is one.

    Raises:
        BadInput: those rows were measured with something else: other versions, or other checks.
    """
    name = document_name(coverage.subject.target)
    json_file, markdown = folder / f"{name}.json", folder / f"{name}.md"
    if not json_file.is_file() or not markdown.is_file():
        return coverage
    if _measured(coverage) not in markdown.read_text(encoding="utf-8"):
        raise BadInput(
            f"the other rows of {json_file} were measured with something else", hint="leave --types out, or give --out"
        )
    measured = {row.model_type for row in coverage.rows}
    kept = (row for row in read_rows(json_file) if row.model_type not in measured)
    rows = sorted((*coverage.rows, *kept), key=lambda row: (row.model_type, row.variant != BASE, row.variant))
    return dataclasses.replace(coverage, rows=tuple(rows))


def document_name(target: str) -> str:
    """Name of both documents, without an ending."""
    return "coverage" if target == DEFAULT_TARGET else f"coverage-{target}"


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


def text(coverage: Coverage, theirs: Sequence[Row] = ()) -> str:
    """The Markdown page.

    Args:
        coverage: what was found.
        theirs: rows of the default target, where these are of another.
    """
    rows, name = coverage.rows, document_name(coverage.subject.target)
    bases = [row for row in rows if row.variant == BASE]
    parts = [
        _title(coverage.subject),
        "",
        f"Every causal language model that the installed transformers has, through the whole of"
        f" `{_command('new-model', coverage.subject)}`, each from its class's own defaults and with no edit by hand."
        f"{_left_out(coverage.subject)}",
        "",
        f"{one_line(coverage)}.",
        "",
        f"{_measured(coverage)} (the same with all variants: `--variants all`). Figures of each row, and all rows as"
        f" data: [{name}.json]({name}.json).",
        "",
        *_beside(coverage, theirs),
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


def _measured(coverage: Coverage) -> str:
    """What decides over every row."""
    versions = ", ".join(f"{name} {version}" for name, version in coverage.versions.items())
    return f"Measured with {versions}. To repeat it: `{_again(coverage.subject)}`"


def _title(subject: Subject) -> str:
    return "# Coverage" if subject.target == DEFAULT_TARGET else f"# Coverage of {find_target(subject.target).title}"


def _command(name: str, subject: Subject) -> str:
    return f"scaffold {name}" + ("" if subject.target == DEFAULT_TARGET else f" --target {subject.target}")


def _again(subject: Subject) -> str:
    """The command that measures all of it again."""
    repo = " --repo CHECKOUT" if find_target(subject.target).checkout_variable else ""
    return f"{_command('matrix', subject)}{repo}{'' if subject.processes else ' --no-processes'} --fresh"


def _left_out(subject: Subject) -> str:
    if subject.processes:
        return ""
    return (
        " All of it in one process: `sharded.*` and `trained.*`, which `new-model` also runs, are left out here for"
        " their time."
    )


def _beside(coverage: Coverage, theirs: Sequence[Row]) -> list[str]:
    """A part that `make docs` writes again whenever either of the two files changes."""
    if not theirs:
        return []
    told = told_beside(coverage.rows, theirs)
    head = f"## Beside {find_target(DEFAULT_TARGET).title}"
    return [head, "", "<!-- generated: beside -->", "", told, "", "<!-- end: beside -->", ""]


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
