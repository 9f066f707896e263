"""`scaffold matrix`: the whole pipeline for every causal language model that the installed transformers has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from scaffold.options import DEFAULT_TARGET, Json, Target


def run(
    types: Annotated[
        str | None,
        typer.Option(
            help="Model types, separated by commas [default: all]; writes no docs without --out, and with it leaves"
            " rows of others as they are."
        ),
    ] = None,
    variants: Annotated[
        str, typer.Option(help="none; usual: some rows, for types that are proven; all: all rows, for all types.")
    ] = "usual",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Workers, each with a lane of its own of about 1 GB [default: one a core]."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of both documents [default: docs].")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for one model.")] = 600.0,
    fresh: Annotated[
        bool,
        typer.Option("--fresh/--resume", help="Measure again what an earlier run measured with the same code."),
    ] = False,
    target: Target = DEFAULT_TARGET,
    repo: Annotated[
        Path | None,
        typer.Option(help="A checkout to measure with, where the lane does not have the target [SCAFFOLD_ROLL_REPO]."),
    ] = None,
    processes: Annotated[
        bool,
        typer.Option("--processes/--no-processes", help="Split what is proven over real processes too, and train it."),
    ] = True,
    json: Json = False,
) -> int:
    """Measure the coverage: which models come out proven, and what stands in the way of the others.

    Writes docs/coverage.md and docs/coverage.json; for another target than Megatron-Bridge docs/coverage-TARGET.md and
    .json, whose page says what became of the types that docs/coverage.json has as proven. A run that was interrupted
    goes on where it was. The exit code is 0 when everything was measured, whatever was found.
    """
    from scaffold.console import emit_json
    from scaffold.matrix.report import one_line, with_the_rest, write_docs
    from scaffold.matrix.run import Options, code_state, default_store, run_matrix, summary
    from scaffold.matrix.types import lane_types
    from scaffold.matrix.values import Subject
    from scaffold.progress import Progress
    from scaffold.targets import find_target
    from scaffold_tools.errors import BadInput

    if variants not in ("none", "usual", "all"):
        raise BadInput(f"there is no set of variants {variants!r}", hint="--variants none, usual or all")
    wanted = tuple(dict.fromkeys(name.strip() for name in (types or "").split(",") if name.strip()))
    subject = Subject(target, processes)
    options = Options(wanted, variants, jobs or os.cpu_count() or 1, timeout, fresh, subject)
    checkout = _measured_with(target, repo)
    with Progress() as progress:
        found = lane_types()
        versions = found.versions | find_target(target).versions(checkout)
        store = default_store(code_state(versions, subject, checkout), target)
        coverage = run_matrix(options, types=found.names, versions=versions, store=store, tell=progress.line)
    folder = out or (None if wanted else Path("docs"))
    if folder is not None:
        coverage = with_the_rest(coverage, folder) if wanted else coverage
        for path in write_docs(coverage, folder):
            progress.line(f"wrote {path}")
    if json:
        emit_json({"summary": summary(coverage), "rows": coverage.rows})
    else:
        print(one_line(coverage))
    return 0


def _measured_with(target: str, repo: Path | None) -> Path | None:
    """The checkout to measure with, named to the workers as it is to a package: by the environment.

    Raises:
        BadInput: one was given, and the lane has the target.
        EnvironmentLacks: one is needed and none is named, or the folder is none.
    """
    from scaffold.targets import find_target
    from scaffold_tools.errors import BadInput

    row = find_target(target)
    if row.checkout_variable is None:
        if repo is not None:
            raise BadInput(f"--repo {repo}: {row.title} is measured as the lane has it", hint="leave --repo out")
        return None
    checkout = row.framework(repo)
    assert checkout is not None
    os.environ[row.checkout_variable] = str(checkout.absolute())
    return checkout.absolute()
