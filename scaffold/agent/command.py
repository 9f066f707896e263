"""The whole of `scaffold agent`: generate with marked places, measure, let the model work, say what is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaffold.agent.outcome import AgentOutcome
from scaffold.agent.redact import Redactor
from scaffold.agent.transcript import Transcript, answered
from scaffold.agent.writer import Writer
from scaffold.family import family_folder, open_gaps
from scaffold.run_folder import AGENT, RunFolder
from scaffold_tools.errors import BadInput, EnvironmentLacks, Refused

if TYPE_CHECKING:
    from scaffold.agent.loop import Ended, Limits
    from scaffold.agent.tools import Kit
    from scaffold.pipeline import Settings
    from scaffold.progress import Progress
    from scaffold.toolbox.work import Work
    from scaffold_tools.source.inventory import Inventory
    from scaffold_tools.workspace.plan import Plan

TRANSCRIPT = "transcript.jsonl"


@dataclass(frozen=True)
class Wish:
    """What the user asked for."""

    settings: Settings
    llm: str
    limits: Limits
    resume: bool = False


def check_ready() -> None:
    """Say what is missing before anything is measured.

    Raises:
        EnvironmentLacks: no SDK, or no key.
    """
    try:
        import anthropic  # noqa: F401
    except ModuleNotFoundError as error:
        hint = "pip install 'scaffold-models[agent]', or ./bootstrap agent in a clone"
        raise EnvironmentLacks("the anthropic SDK is not installed", hint=hint) from error
    from scaffold.agent.client import check_key

    check_key()


def run_agent(wish: Wish, progress: Progress) -> AgentOutcome:
    """Close gaps, as far as it goes.

    Raises:
        EnvironmentLacks: no key, no lane, no API. BadInput: nothing to resume, no such model. Refused: somebody else
            changed files of the run.
    """
    from scaffold import look
    from scaffold.agent.tools import Abort

    check_ready()
    with _work(wish, progress) as work:
        folder = _prepared(wish, work)
        plan = look.load_plan(folder)
        # Wherever the user had it written, that tree is the one to work in.
        here = replace(work, border=replace(work.border, repo=Path(plan.root).resolve()))
        with _alone(folder):
            kit = _kit(wish, here, folder, plan)
            measured = kit.measure()
            if kit.judge.proven:
                return _outcome(wish, folder, plan, kit, None)
            try:
                ended = _converse(wish, kit, plan, measured)
            except Abort as abort:
                raise abort.error from abort
            return _outcome(wish, folder, plan, kit, ended)


@contextmanager
def _work(wish: Wish, progress: Progress) -> Iterator[Work]:
    """One lane for everything: its imports are paid once."""
    from scaffold.lane import EarlyLane
    from scaffold.toolbox.border import Border
    from scaffold.toolbox.work import Work

    settings = wish.settings
    root = settings.base or Path.cwd()
    border = Border.of(root, repo=settings.repo, trust_remote_code=settings.trust_remote_code)
    with EarlyLane() as lane:
        yield Work(border, progress, lane)


def _prepared(wish: Wish, work: Work) -> RunFolder:
    """The run folder of the link: made, or the one to go on with."""
    from scaffold import pipeline, run_folder
    from scaffold_tools.source.link import parse_link
    from scaffold_tools.workspace import read_record

    settings = wish.settings
    folder = run_folder.for_model(parse_link(settings.link).name, settings.base)
    started = read_record(folder.path / AGENT) is not None
    if wish.resume:
        if not (folder.path / AGENT / TRANSCRIPT).is_file() or not folder.has("plan"):
            raise BadInput(f"there is nothing to resume for {folder.name}", hint="leave out --resume")
        return folder
    if started:
        raise Refused(
            f"an agent has changed files of {folder.name} already",
            hint=f"go on with --resume, or take everything back: scaffold undo {folder.name}",
        )
    made = pipeline.plan_only(settings, work.progress, lane=work.lane)
    if not made.generated:
        raise BadInput(
            f"{made.target} has {made.architecture} already: {made.supported_by}",
            hint="--regenerate makes an integration of your own",
        )
    pipeline.apply_plan(folder, work.progress, allow_dirty=settings.allow_dirty)
    (folder.path / AGENT / TRANSCRIPT).unlink(missing_ok=True)
    return folder


@contextmanager
def _alone(folder: RunFolder) -> Iterator[None]:
    from filelock import FileLock, Timeout

    place = folder.path / AGENT
    place.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place / "lock", timeout=0):
            yield
    except Timeout as error:
        raise Refused(f"another agent works on {folder.name}", hint="wait until it ends") from error


def _kit(wish: Wish, work: Work, folder: RunFolder, plan: Plan) -> Kit:
    from scaffold import look
    from scaffold.agent.judge import Judge
    from scaffold.agent.sources import Sources, readable
    from scaffold.agent.tools import Kit
    from scaffold.machine import site_packages

    redactor = Redactor.of_environment()
    roots = readable(
        family=Path(plan.root) / family_folder(plan),
        site_packages=site_packages(),
        repo=wish.settings.repo,
        model=_model_folder(look.load_inventory(folder)),
    )
    transcript = Transcript(folder.path / AGENT / TRANSCRIPT, redactor)
    return Kit(work, Writer(plan, folder), Sources(roots, redactor), Judge(), transcript)


def _model_folder(inventory: Inventory) -> Path | None:
    from scaffold import steps

    return steps.model_folder(inventory)


def _converse(wish: Wish, kit: Kit, plan: Plan, measured: dict[str, Any]) -> Ended:
    from scaffold.agent.client import ask_model, make_client
    from scaffold.agent.loop import Conversation
    from scaffold.agent.prompt import first_message, resumed_message
    from scaffold.agent.tools import agent_tools
    from scaffold_tools.blueprint.facts import Blueprint

    client = make_client()
    model = ask_model(client, wish.llm)
    redactor = kit.transcript.redactor
    if wish.resume:
        messages = answered(kit.transcript.conversation())
        text = resumed_message(measured)
    else:
        messages = []
        blueprint = kit.writer.folder.load("blueprint", Blueprint)
        roots = [f"{root.name}/" for root in kit.sources.roots]
        text = first_message(plan, blueprint, measured, roots=roots, files=kit.sources.names("family"))
    kit.transcript.add("start", llm=model.name, options=model.options, limits=asdict(wish.limits), resume=wish.resume)
    opening = {"role": "user", "content": [{"type": "text", "text": redactor.text(text)}]}
    messages.append(opening)
    kit.transcript.message(opening)
    talk = Conversation(
        client, model, kit, agent_tools(kit), messages, limits=wish.limits, tell=kit.work.progress.line
    )
    ended = talk.run()
    kit.transcript.add("end", reason=ended.reason, turns=ended.turns, spent=asdict(ended.spent))
    return ended


def _outcome(wish: Wish, folder: RunFolder, plan: Plan, kit: Kit, ended: Ended | None) -> AgentOutcome:
    left = open_gaps(plan)
    found = kit.judge.last
    proven = kit.judge.proven
    failing = () if found is None else tuple(found.not_passed)
    changes = sorted((folder.path / AGENT / "changes").glob("*.diff"))
    blueprint_name = found.bridge if found is not None else ""
    return AgentOutcome(
        model=folder.name,
        architecture=_architecture(folder) or blueprint_name,
        run_folder=str(folder.path),
        root=plan.root,
        family_folder=family_folder(plan),
        reason="nothing to do" if ended is None else ended.reason,
        proven=proven,
        gaps=left,
        closed=tuple(gap for gap in plan.gaps if gap not in left) if proven else (),
        failing=tuple(f"{check.toy} {check.name}: {check.status} {check.detail}".strip()[:300] for check in failing),
        changes=tuple(str(path) for path in changes),
        turns=0 if ended is None else ended.turns,
        tokens={} if ended is None else {**asdict(ended.spent), "total": ended.spent.total},
        llm=wish.llm,
        last_words="" if ended is None else kit.transcript.redactor.text(ended.last_words)[:2000],
        transcript=str(kit.transcript.path),
        next_commands=()
        if proven
        else (f"scaffold verify {folder.name}", f"scaffold agent {wish.settings.link} --resume"),
        exit_code=0 if proven else 3,
    )


def _architecture(folder: RunFolder) -> str:
    from scaffold_tools.blueprint.facts import Blueprint

    return folder.load("blueprint", Blueprint).architecture if folder.has("blueprint") else ""
