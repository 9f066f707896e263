"""`scaffold skills`: the playbooks for coding agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scaffold.options import Json

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

_Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder that the coding agent works in.")]


@app.command("list")
def show(json: Json = False) -> int:
    """The playbooks, and when an agent should follow which."""
    from scaffold import report
    from scaffold.skillpack.read import read_skills

    report.skills(read_skills(), json=json)
    return 0


@app.command("install")
def install(
    folder: _Folder,
    remove: Annotated[bool, typer.Option("--remove", help="Take away what was installed.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if something is missing or outdated.")
    ] = False,
    json: Json = False,
) -> int:
    """Put the playbooks where coding agents find them: .agents/skills and .claude/skills.

    Run again to update. Files of yours are never overwritten: where a skill of the same name is there, this one is
    installed as scaffold-<name>.
    """
    from scaffold import report
    from scaffold.skillpack import install as pack
    from scaffold.skillpack.read import read_skills
    from scaffold_tools.errors import BadInput, CheckFailed

    if remove and check:
        raise BadInput("--remove and --check exclude each other", hint="give one of them")
    if remove:
        report.skill_files(pack.remove(folder), json=json)
        return 0
    states = pack.plan(folder, read_skills()) if check else pack.install(folder, read_skills())
    report.skill_files(states, json=json)
    stale = check and any(at.state in ("create", "update", "remove") for at in states)
    return CheckFailed.exit_code if stale else 0
