"""Writes the generated parts of the documentation: `python -m scaffold.reference [--check]`.

A generated part stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`; everything around it is written by
people. With `--check` nothing is written and a difference is exit code 1.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import io
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def exit_codes() -> str:
    """The table of exit codes, from the error classes."""
    from scaffold_tools import errors

    rows = [(0, "proven, or done", "")]
    for kind in (errors.CheckFailed, errors.BadInput, errors.GapsRemain, errors.Refused, errors.EnvironmentLacks):
        rows.append((kind.exit_code, _first_sentence(kind), f"`{kind.__name__}`"))
    rows.append((130, "interrupted (Ctrl-C or SIGTERM)", ""))
    return "\n".join(_table(("Code", "Meaning", "Error class"), rows))


def commands() -> str:
    """`--help` of every command, as it prints."""
    from scaffold import cli

    parts = []
    for names in command_names():
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            cli.run([*names, "--help"])
        parts.append(f"### scaffold {' '.join(names)}\n\n```text\n{text.getvalue().strip()}\n```")
    return "\n\n".join(parts)


def command_names() -> Iterator[tuple[str, ...]]:
    """Every command as it is typed, those of groups after the plain ones."""
    from scaffold import cli

    for command in cli.app.registered_commands:
        yield (str(command.name),)
    for group in cli.app.registered_groups:
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            yield (str(group.name), str(command.name))


def values() -> str:
    """Each JSON value of the run folder and of `--json`, field by field."""
    return "\n\n".join(_describe(kind) for kind in _reachable(_roots()))


def checks() -> str:
    """What each check proves and what it cannot see."""
    from scaffold_tools.verify.checks import CHECKS

    rows = [(f"`{row.name}`", row.proves, row.cannot_see, row.tolerance, row.why) for row in CHECKS]
    return "\n".join(_table(("Check", "Proves", "Cannot see", "Tolerance", "Why that"), rows))


def vocabulary() -> str:
    """Every role and fact of a blueprint."""
    from scaffold_tools.blueprint.vocabulary import FACTS, ROLES

    roles = _table(("Role", "Meaning"), [(f"`{row.name}`", row.meaning) for row in ROLES])
    facts = _table(("Fact", "Type", "Meaning"), [(f"`{row.name}`", row.type, row.meaning) for row in FACTS])
    return "\n".join([*roles, "", *facts])


def coverage() -> str:
    """Which model types the last `scaffold matrix` proved, from docs/coverage.json."""
    rows = json.loads((ROOT / "docs" / "coverage.json").read_text(encoding="utf-8"))
    base = [row for row in rows if row["variant"] == "base"]

    def types(*outcomes: str) -> list[str]:
        return [f"`{row['model_type']}`" for row in base if row["outcome"] in outcomes]

    decoders = types("proven", "proven-with-block", "gap")
    told = (
        ("proven", "on megatron-core's own modules"),
        ("proven-with-block", "with custom blocks in the family folder"),
        ("gap", "reported as a gap, with what is missing and the line of modeling code"),
    )
    table = [(meaning, len(types(outcome)), ", ".join(types(outcome))) for outcome, meaning in told]
    proven = len(types("proven", "proven-with-block"))
    head = f"{proven} of the {len(decoders)} decoder types that the installed transformers has, from their defaults:"
    return "\n".join([head, "", *_table(("Outcome", "Types", "Which"), table)])


def beside_megatron_bridge() -> str:
    """What became, for ROLL, of the types that docs/coverage.json has as proven."""
    from scaffold.matrix.beside import read_rows, told_beside

    return told_beside(*(read_rows(ROOT / "docs" / f"{name}.json") for name in ("coverage-roll", "coverage")))


def quantised_formats() -> str:
    """Every stored format that generated code undoes, and the code that defines it."""
    from scaffold.targets import TARGETS

    rows = [
        (", ".join(f"`{name}`" for name in formats), f"`{values}`", parts, reason)
        for target in TARGETS
        for formats, values, parts, reason in target.dequantisers()
    ]
    return "\n".join(_table(("Format", "Values in", "With", "Defined by"), rows))


def dequantise_speed() -> str:
    """What the last `make bench-dequant` measured, from docs/dequantise-speed.json."""
    rows = [
        (
            f"`{row['format']}`",
            f"{row['read_gb']:.2f} + {row['written_gb']:.2f}",
            f"{row['plain_gb_s']:.2f}",
            f"{row['script_gb_s']:.2f}",
            f"{row['share']:.0%}",
            f"{row['plain_cpu_s']:.2f} / {row['script_cpu_s']:.2f}",
            f"{row['cores']} cores, load {row['load']:.0f}",
        )
        for row in json.loads((ROOT / "docs" / "dequantise-speed.json").read_text(encoding="utf-8"))
    ]
    head = (
        "Format",
        "GB read + written",
        "Plain, GB/s",
        "Script, GB/s",
        "Share",
        "CPU seconds, plain / script",
        "Machine",
    )
    return "\n".join(_table(head, rows))


def gpu_runs() -> str:
    """What was run on a GPU, from docs/gpu-evidence.json; that nothing was where there is no such file."""
    file = ROOT / "docs" / "gpu-evidence.json"
    if not file.is_file():
        return "**These lanes were never run on a GPU.** Their code runs in the tests over gloo, on a CPU."
    rows = []
    for run in json.loads(file.read_text(encoding="utf-8")):
        passed = sum(check["status"] == "passed" for check in run["checks"])
        skipped = sum(check["status"] == "skipped" for check in run["checks"])
        gpus = ", ".join(dict.fromkeys(run["environment"].get("gpus", ())))
        engine = run["environment"].get("transformer_engine", "?")
        counts = f"{passed} passed, {skipped} skipped, {len(run['checks']) - passed - skipped} failed"
        rows.append((run["lane"], f"`{run['bridge']}`", gpus, engine, counts))
    return "\n".join(_table(("Lane", "Integration", "GPUs", "Transformer Engine", "Checks"), rows))


PARTS: tuple[tuple[str, str, Callable[[], str]], ...] = (
    ("README.md", "coverage", coverage),
    ("docs/coverage-roll.md", "beside", beside_megatron_bridge),
    ("docs/cli.md", "exit-codes", exit_codes),
    ("docs/cli.md", "commands", commands),
    ("docs/cli.md", "values", values),
    ("docs/checks.md", "checks", checks),
    ("docs/checks.md", "gpu-runs", gpu_runs),
    ("docs/how-it-works.md", "vocabulary", vocabulary),
    ("docs/quantised.md", "formats", quantised_formats),
    ("docs/quantised.md", "speed", dequantise_speed),
)


def main(args: list[str]) -> int:
    """Write, or with `--check` compare."""
    stale = []
    for file, name, make in PARTS:
        path = ROOT / file
        before = path.read_text(encoding="utf-8")
        after = replace_part(before, name, make())
        if after == before:
            continue
        stale.append(f"{file}: {name}")
        if "--check" not in args:
            path.write_text(after, encoding="utf-8")
    if stale and "--check" in args:
        print(f"generated documentation is stale ({', '.join(stale)}): run make docs", file=sys.stderr)
        return 1
    return 0


def replace_part(text: str, name: str, content: str) -> str:
    """Put `content` between the two markers of a part."""
    pattern = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end: {name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no markers for {name}")
    return pattern.sub(lambda match: f"{match[1]}\n{content.strip()}\n\n{match[2]}", text)


def schema(kind: type) -> str:
    """JSON Schema of a value."""
    from pydantic import TypeAdapter

    return json.dumps(TypeAdapter(kind).json_schema(), indent=2)


def _roots() -> tuple[type, ...]:
    from scaffold.agent.outcome import AgentOutcome
    from scaffold.outcome import Outcome
    from scaffold_tools.blueprint.facts import Blueprint
    from scaffold_tools.classify.model import Classification
    from scaffold_tools.source.inventory import Inventory, Source
    from scaffold_tools.verify.evidence import Evidence
    from scaffold_tools.workspace.plan import Plan

    return (Source, Inventory, Classification, Blueprint, Plan, Evidence, Outcome, AgentOutcome)


def _reachable(roots: Iterable[type]) -> Iterator[type]:
    """The roots and every dataclass that their fields mention, each once."""
    seen: dict[type, None] = {}
    waiting = list(roots)
    while waiting:
        kind = waiting.pop(0)
        if kind in seen:
            continue
        seen[kind] = None
        waiting.extend(_mentioned(kind))
    yield from seen


def _mentioned(kind: type) -> Iterator[type]:
    names = vars(sys.modules[kind.__module__])
    for field in dataclasses.fields(kind):
        for word in re.findall(r"\w+", str(field.type)):
            value = names.get(word)
            for part in getattr(value, "__args__", (value,)):
                if isinstance(part, type) and dataclasses.is_dataclass(part):
                    yield part


def _describe(kind: Any) -> str:
    notes = _field_notes(kind)
    rows = [
        (f"`{field.name}`", f"`{str(field.type).replace('|', chr(92) + '|')}`", notes.get(field.name, ""))
        for field in dataclasses.fields(kind)
    ]
    place = kind.__module__.removeprefix("scaffold_tools.")
    return "\n".join(
        [f"### {kind.__name__} ({place})", "", _first_sentence(kind), "", *_table(("Field", "Type", ""), rows)]
    )


def _field_notes(kind: type) -> dict[str, str]:
    """The string literal under each field of a dataclass."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    notes: dict[str, str] = {}
    for field, following in zip(definition.body, definition.body[1:], strict=False):
        match field, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                notes[name] = " ".join(text.split())
    return notes


def _first_sentence(kind: type) -> str:
    return " ".join((kind.__doc__ or "").strip().split("\n\n")[0].split())


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    cells = [head, ("---",) * len(head), *rows]
    return ["| " + " | ".join(" ".join(str(cell).split()) for cell in row) + " |" for row in cells]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
