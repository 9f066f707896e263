"""The record as a page, and what in it has no reason yet."""

from __future__ import annotations

from typing import Any

from targets.upstream_tree.families import FAMILIES, SHARED
from targets.upstream_tree.reasons import KINDS, REASONS, SHARED_REASONS, Reason
from targets.upstream_tree.runs import short

HEAD = """# Upstream's own tests, on what is generated

Megatron-Bridge has unit tests for the families that it supports: the nearest thing to a maintainer's opinion of an
integration that can be run. So a family is taken out of a copy of a real checkout (its modules, exports,
registrations, recipes, tests, pages and the rows that lead to them, found by reading imports and links),
`scaffold new-model CONFIG --repo COPY` puts it back from nothing but the config, and upstream's tests run on ours:

    python tests/targets/upstream_tree/report.py CHECKOUT [FAMILY...]

- *upstream*: the untouched checkout on the same machine. What fails there says nothing about ours.
- *names*: ours, with upstream's tests rewritten to our names of modules and classes, by a script; assertions are not
  touched.
- *configs*: the same, and configs that tests write by hand (a `Mock` with a dozen keys) get the keys that transformers
  would add on reading such a config.json: a bridge sees no config that transformers did not read.
- *tree*: upstream's tests of the whole checkout, listed below: how many pass, and how many do in the untouched one.
- *own*: the unit tests that are generated with the model.
- *proof*: checks of `scaffold verify` in that checkout, on a CPU; *logits*: largest difference from Hugging Face's.
- *ruff*: `ruff check` and `ruff format --check` of every file written, with upstream's `ruff.toml`.

There is no GPU and no Transformer Engine here: stand-ins are on the path, for upstream's code as for ours.
This page and `upstream-tests.json` are written by that command.
"""


def reason_of(model_type: str, test: str, said: str) -> Reason | None:
    """The first row that speaks for a failure."""
    return next((row for row in REASONS if row.family in ("", model_type) and row.holds(test, said)), None)


def shared_reason(test: str, said: str) -> Reason | None:
    """The same for upstream's tests of the whole tree."""
    return next((row for row in SHARED_REASONS if row.holds(test, said)), None)


def unexplained(record: dict[str, Any]) -> list[str]:
    """Failures without a reason, and reasons without a failure."""
    used: set[int] = set()
    lines = []
    for model_type, row in record["rows"].items():
        for test, one in _differences(row):
            reason = reason_of(model_type, test, one["said"])
            if reason is None:
                lines.append(f"{model_type}: {test}: no reason for: {one['said']}")
            else:
                used.add(id(reason))
        for test, one in row["shared_failures"].items():
            if one["without"] != "failed" and shared_reason(test, one["said"]) is None:
                lines.append(f"{model_type}: {test}: no reason for: {one['said']}")
        gone = row.get("shared_gone", {})
        lines += [f"{model_type}: {test} is gone" for test, module in gone.items() if not module]
        if len(gone) != row["shared"]["gone"]:
            lines.append(f"{model_type}: {row['shared']['gone']} tests of the tree are gone, {len(gone)} have a name")
        if row["ruff"]:
            lines.append(f"{model_type}: ruff: {row['ruff']}")
        if row["exit_code"]:
            lines.append(f"{model_type}: new-model ended with {row['exit_code']}")
        if row["own"][0] != row["own"][1]:
            lines.append(f"{model_type}: {row['own'][1] - row['own'][0]} generated tests fail")
    if set(record["rows"]) == set(FAMILIES):
        lines += [f"nothing fails as {row.test!r} of {row.family} says" for row in REASONS if id(row) not in used]
    return lines


def _differences(row: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (test, one)
        for test, one in row["tests"].items()
        if one["baseline"] == "passed" and one["completed"] != "passed"
    ]


def markdown(record: dict[str, Any]) -> str:
    """The page."""
    lines = [HEAD, "## Families", "", _table(record), "", "Tests of the whole tree:", ""]
    lines += [f"- `{path}`" for path in SHARED]
    known = [name for name, one in record["baseline"].items() if one["status"] == "failed"]
    if known:
        lines += ["", f"{len(known)} of them fail in the untouched checkout on this machine:", ""]
        lines += [f"- `{short(name)}`: {_cell(record['baseline'][name]['said'])}" for name in known]
    lines += ["", "## Where ours fails a test that upstream's code passes", ""]
    for kind, meaning in KINDS.items():
        rows = _of_kind(record, kind)
        if rows:
            lines += [
                f"### {kind}: {meaning}",
                "",
                "| Family | Test | Why | What the test says |",
                "|---|---|---|---|",
            ]
            lines += [*rows, ""]
    rest = [line for line in unexplained(record)]
    if rest:
        lines += ["### Without a reason", "", *[f"- {_cell(line)}" for line in rest], ""]
    lines += _shared(record)
    lines += _gone(record)
    return "\n".join(lines).rstrip() + "\n"


def _table(record: dict[str, Any]) -> str:
    rows = [
        "| Family | What it stands for | Bridges | upstream | names | configs | tree | own | proof | logits | ruff |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in record["rows"].items():
        tests = [one for one in row["tests"].values() if one["baseline"] != "skipped"]
        counts = [sum(one[key] == "passed" for one in tests) for key in ("baseline", "names", "completed")]
        told = [f"{count} of {len(tests)}" if tests else "no tests" for count in counts]
        bad = len(row["shared_failures"])
        counted = row["shared"]
        shared = f"{counted['ours']} pass (before: {counted['baseline']})" + (f", {bad} fail" if bad else "")
        shared += f", {counted['gone']} are gone" if counted["gone"] else ""
        shared += f", {counted['new']} are new" if counted["new"] else ""
        logits = "" if row["logits"] is None else f"{row['logits']:.1e}"
        rows.append(
            f"| `{name}` | {FAMILIES.get(name, '')} | {row['theirs'] or 'none'} / {row['ours']} "
            f"| {' | '.join(told)} | {shared} "
            f"| {row['own'][0]} of {row['own'][1]} | {row['checks'][0]} of {row['checks'][1]} | {logits} "
            f"| {'clean' if not row['ruff'] else 'see below'} |"
        )
    return "\n".join(rows)


def _of_kind(record: dict[str, Any], kind: str) -> list[str]:
    rows = []
    for name, row in record["rows"].items():
        for test, one in _differences(row):
            reason = reason_of(name, test, one["said"])
            if reason is not None and reason.kind == kind:
                rows.append(f"| `{name}` | `{test}` | {reason.why} | {_cell(one['said'])} |")
    return rows


def _shared(record: dict[str, Any]) -> list[str]:
    rows = []
    for name, row in record["rows"].items():
        for test, one in row["shared_failures"].items():
            reason = shared_reason(test, one["said"])
            without = "fails without the model too: how it was taken out" if one["without"] == "failed" else ""
            why = reason.why if reason is not None else without or "no reason yet"
            rows.append(f"| `{name}` | `{test}` | {why} | {_cell(one['said'])} |")
    if not rows:
        return []
    head = ["## Tests of the whole tree that fail with ours", "", "| Family | Test | Why | What it says |"]
    return [*head, "|---|---|---|---|", *rows]


def _gone(record: dict[str, Any]) -> list[str]:
    """What is not there with ours, by the module of upstream's that it was about."""
    rows = []
    for name, row in record["rows"].items():
        gone = row.get("shared_gone", {})
        for module in dict.fromkeys(gone.values()):
            tests = [test for test, about in gone.items() if about == module]
            named = sorted({test.partition("[")[0] for test in tests})
            rows.append(f"| `{name}` | {len(tests)} | {', '.join(f'`{one}`' for one in named)} | `{module}` |")
    if not rows:
        return []
    head = [
        "## Tests of the whole tree that are gone",
        "",
        "A test that runs once for each recipe has as many cases as there are recipes: those of upstream's sizes went",
        "with the model, and ours (*new* in the table) are of the size of the config that was given.",
        "",
        "| Family | Cases | Test | Upstream's module that they were about |",
        "|---|---|---|---|",
    ]
    return ["", *head, *rows]


def _cell(text: str) -> str:
    return "`" + text.replace("|", "/").replace("`", "'")[:200] + "`" if text else ""
