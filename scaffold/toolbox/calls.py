"""What each tool does: the pipeline's own functions, behind the border, with a typed answer."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from scaffold.toolbox.answers import (
    ApplyAnswer,
    CauseItem,
    DiffAnswer,
    EvidenceItem,
    FactAnswer,
    GapsAnswer,
    InspectAnswer,
    LocateAnswer,
    PlanAnswer,
    UpdateAnswer,
    VerifyAnswer,
)
from scaffold.toolbox.border import MAX_LINK
from scaffold.toolbox.items import MAX_DETAIL, MAX_ITEMS, files_of, gaps_of, site_of, verified
from scaffold.toolbox.work import Work
from scaffold_tools.errors import BadInput, CheckFailed
from scaffold_tools.jsonio import to_jsonable

if TYPE_CHECKING:
    from scaffold.outcome import Outcome
    from scaffold.run_folder import RunFolder
    from scaffold_tools.blueprint.facts import Blueprint

MAX_DIFF = 60_000
"""Characters of a diff that one answer shows."""

Link = Annotated[
    str, Field(max_length=MAX_LINK, description="org/name, a hub URL, or a local folder inside the folders given.")
]
Run = Annotated[
    str | None,
    Field(default=None, max_length=MAX_LINK, description="The model's name; may be left out when there is one run."),
]
Out = Annotated[
    str | None, Field(default=None, max_length=100, description="Name of the package's folder, if not the usual one.")
]
Regenerate = Annotated[
    bool, Field(default=False, description="Plan although the target already supports the architecture.")
]
WithStubs = Annotated[
    bool,
    Field(default=True, description="Where gaps remain, plan a module with marked places for what is missing."),
]
Check = Annotated[bool, Field(default=False, description="Write nothing: tell and show what an update would change.")]
Reread = Annotated[
    bool, Field(default=False, description="Read and measure the model anew, not from the run's blueprint.")
]
FactName = Annotated[str, Field(max_length=100, description="A fact's name, such as `rope.pairing`.")]


def inspect(work: Work, link: Link) -> InspectAnswer:
    """What kind of model a link is, from config.json and tensor headers alone: no weights, no code of the model runs.

    Start here. It needs no lane and takes less than a second for a local model.
    """
    from scaffold_tools.classify.model import classify
    from scaffold_tools.source.read import read_inventory

    inventory = read_inventory(work.border.link(link))
    found = classify(inventory)
    return InspectAnswer(
        model=inventory.source.name,
        revision=inventory.source.revision,
        modality=found.modality,
        structure=list(found.structure),
        parameters=found.parameters,
        summary=str(found),
        unknown_keys=[key.path for key in found.unrecognised],
        classification=to_jsonable(found),
    )


def plan(
    work: Work, link: Link, regenerate: Regenerate = False, with_stubs: WithStubs = True, out: Out = None
) -> PlanAnswer:
    """Measure a model and plan its integration; only the run folder is written, no file of the target is touched.

    Takes 10 to 60 seconds. Exit code 3 means that something cannot be expressed: see `gaps`. When `generated` is
    false the target has this architecture already; `regenerate` plans an integration of its own all the same.
    """
    from scaffold import pipeline

    border = work.border
    folder = border.out(out)
    settings = pipeline.Settings(
        link=border.link(link),
        repo=border.repo if folder is None else None,
        out=folder,
        regenerate=regenerate,
        trust_remote_code=border.trust_remote_code,
        with_stubs=with_stubs,
        base=border.root,
    )
    made = pipeline.plan_only(settings, work.progress, lane=work.lane)
    return PlanAnswer(
        run=_run_name(made),
        model=made.model,
        architecture=made.architecture,
        target=made.target,
        root=made.root,
        package=made.package,
        supported_by=made.supported_by,
        generated=made.generated,
        files=files_of(made.files),
        gaps=gaps_of(made.gaps),
        notes=list(made.notes),
        next_steps=_next_steps(made),
        exit_code=made.exit_code,
    )


def diff(work: Work, run: Run = None) -> DiffAnswer:
    """What the plan would change in the tree as it is now, as a unified diff."""
    from scaffold import look

    folder = _planned(work, run)
    text, states = look.diff(folder)
    return DiffAnswer(run=folder.name, files=files_of(states), diff=text[:MAX_DIFF], truncated=len(text) > MAX_DIFF)


def apply(work: Work, run: Run = None) -> ApplyAnswer:
    """Write the plan: all of it, or nothing. The same call again changes nothing; `scaffold undo` takes it back.

    Refused (exit code 4) where files differ from what the plan was made against, or have uncommitted changes; that is
    for the user to decide, on the command line.
    """
    from scaffold import pipeline

    folder = _planned(work, run)
    done = pipeline.apply_plan(folder, work.progress, allow_dirty=False)
    return ApplyAnswer(
        run=folder.name,
        root=str(done.root),
        files=files_of(done.files),
        gaps=gaps_of(done.gaps),
        exit_code=done.exit_code,
    )


def update(work: Work, run: Run = None, check: Check = False, reread: Reread = False) -> UpdateAnswer:
    """Generate again as things are today, and merge that into the files that `apply` wrote, with your edits in them.

    For an edited blueprint, newer templates, a model or checkout that moved on. Where both sides changed the same
    lines, conflict markers stand in the file. Files with uncommitted changes are refused, as by `apply`.
    """
    from scaffold import look, updating
    from scaffold_tools.workspace import read_record

    border, folder = work.border, work.border.run(run)
    record = read_record(folder.path)
    if record is not None:
        border.tree(record.root)
    if reread:
        border.link(look.load_inventory(folder).source.link)
    wanted = updating.Wanted(reread, check, dry_run=check, trust_remote_code=border.trust_remote_code)
    done = updating.update_run(folder, work.progress, wanted, lane=work.lane)
    text = done.diff or ""
    return UpdateAnswer(
        run=folder.name,
        root=str(done.root),
        files=files_of(done.files),
        diff=text[:MAX_DIFF],
        truncated=len(text) > MAX_DIFF,
        gaps=gaps_of(done.gaps),
        next_steps=(["update"] if done.exit_code else []) if check else ["verify"] if done.written else [],
        exit_code=done.exit_code,
    )


def verify(work: Work, run: Run = None) -> VerifyAnswer:
    """Measure what lies on disk now: import, round trip and logits against the Hugging Face model, on toys.

    Takes 15 to 60 seconds. This alone says whether an integration is right; nothing that it does not show may be
    claimed.
    """
    from scaffold import pipeline

    folder = _planned(work, run)
    done = pipeline.verify_run(
        folder,
        work.progress,
        lane="cpu",
        trust_remote_code=work.border.trust_remote_code,
        session=work.lane,
    )
    return verified(folder, done)


def locate(work: Work, run: Run = None) -> LocateAnswer:
    """Name the first module whose output differs from the Hugging Face model's, and what is likely wrong there.

    For an integration that imports and does not agree. Takes 10 to 40 seconds.
    """
    from scaffold import verifying

    folder = _planned(work, run)
    found = verifying.locate_run(
        folder, work.progress, trust_remote_code=work.border.trust_remote_code, lane=work.lane
    )
    later = [] if found.first is None else [site for site in found.sites[found.first + 1 :] if site.differs]
    return LocateAnswer(
        run=folder.name,
        agrees=found.agrees,
        compared=len(found.sites),
        first=None if found.found is None else site_of(found.found),
        next=[site_of(site) for site in later[:3]],
        causes=[CauseItem(cause=item.cause, evidence=item.evidence[:MAX_DETAIL]) for item in found.causes],
        problems=[problem[:MAX_DETAIL] for problem in found.problems[:MAX_ITEMS]],
        exit_code=0 if found.agrees else CheckFailed.exit_code,
    )


def gaps(work: Work, run: Run = None) -> GapsAnswer:
    """What the target cannot express yet: what to write, where, and which check tells that it is right."""
    from scaffold import look
    from scaffold.family import family_folder, open_gaps

    folder = _planned(work, run)
    made = look.load_plan(folder)
    return GapsAnswer(
        run=folder.name,
        gaps=gaps_of(open_gaps(made)),
        write_in=f"{made.root}/{family_folder(made)}",
        stub=None if made.stub is None else f"{made.root}/{made.stub}",
    )


def explain_fact(work: Work, fact: FactName, run: Run = None) -> FactAnswer:
    """Where one fact of the blueprint comes from: its value, how sure it is, the evidence, and how it follows from the
    Hugging Face config."""
    from scaffold_tools.blueprint.facts import Blueprint
    from scaffold_tools.blueprint.vocabulary import FACTS

    folder = work.border.run(run)
    blueprint = folder.load("blueprint", Blueprint)
    found = blueprint.fact(fact)
    if found is None:
        raise BadInput(f"the blueprint has no fact {fact[:100]!r}", hint=_near(fact, blueprint))
    row = next((row for row in FACTS if row.name == fact), None)
    return FactAnswer(
        run=folder.name,
        name=found.name,
        meaning="" if row is None else row.meaning,
        type="" if row is None else row.type,
        value=to_jsonable(found.value),
        certainty=found.certainty,
        evidence=[EvidenceItem(source=item.source, detail=item.detail) for item in found.evidence],
        expression=None if found.expression is None else to_jsonable(found.expression),
        keys=[use.key for use in blueprint.keys if use.consumed_by == fact],
        gaps=gaps_of(gap for gap in blueprint.gaps if gap.subject == fact),
    )


def _planned(work: Work, run: str | None) -> RunFolder:
    """A run whose plan is for a tree inside the border."""
    from scaffold import look

    folder = work.border.run(run)
    work.border.tree(look.load_plan(folder).root)
    return folder


def _run_name(made: Outcome) -> str:
    return "" if made.run_folder is None else made.run_folder.rsplit("/", 1)[-1]


def _next_steps(made: Outcome) -> list[str]:
    if not made.generated:
        return ["the target has this architecture: nothing to write, unless you plan with regenerate"]
    return ["diff", "apply", "verify", *(("gaps",) if made.gaps else ())]


def _near(name: str, blueprint: Blueprint) -> str:
    names = [fact.name for fact in blueprint.facts]
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.4)
    return f"did you mean {', '.join(close)}" if close else f"facts: {', '.join(names)}"
