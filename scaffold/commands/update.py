"""`scaffold update`: generate again as things are today, merged into what was changed since."""

from __future__ import annotations

from typing import Annotated

import typer

from scaffold.options import AllowDirty, Json, Run, TrustRemoteCode

Reread = Annotated[
    bool,
    typer.Option("--reread", help="Read and probe the model anew; otherwise the blueprint of the run is the source."),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check", help="Write nothing; exit code 1 where a file is not as it would be generated today. For CI."
    ),
]
AllowEdits = Annotated[
    bool, typer.Option("--allow-edits", help="With --check: what people changed in generated files is no drift.")
]


def run(
    run: Run = None,
    reread: Reread = False,
    check: Check = False,
    allow_edits: AllowEdits = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the diff; write nothing.")] = False,
    trust_remote_code: TrustRemoteCode = False,
    allow_dirty: AllowDirty = False,
    json: Json = False,
) -> int:
    """Generate again as things are today, and merge that into the files.

    For newer templates, an edited blueprint, a model or checkout that moved on. The merge has three sides: what was
    generated last, what the file is now, what would be generated today. Lines that were changed on one side alone are
    taken; conflict markers stand only where both changed the same ones, and the exit code is then 1. A file that was
    removed stays removed. All of it is written or nothing, and undo still finds its way back.
    """
    from scaffold import report, run_folder, updating
    from scaffold.progress import Progress
    from scaffold_tools.errors import BadInput

    if allow_edits and not check:
        raise BadInput("--allow-edits goes with --check")
    if check and dry_run:
        raise BadInput("--check and --dry-run exclude each other", hint="--check tells, --dry-run shows the diff")
    wanted = updating.Wanted(reread, check, allow_edits, dry_run, allow_dirty, trust_remote_code)
    with Progress() as progress:
        outcome = updating.update_run(run_folder.find(run), progress, wanted)
    report.updated(outcome, check=check, json=json)
    return outcome.exit_code
