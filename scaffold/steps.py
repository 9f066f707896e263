"""The stages, one function each: call the tool, keep its value in the run folder, say what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaffold.console import short
from scaffold.figures import as_told_last
from scaffold.options import DEFAULT_TARGET
from scaffold.provenance import provenance, year_of
from scaffold.run_folder import RunFolder
from scaffold.targets import Target, find_target
from scaffold_tools.errors import BadInput, Refused

if TYPE_CHECKING:
    from scaffold.lane import EarlyLane
    from scaffold.progress import Progress
    from scaffold_tools.blueprint.facts import Blueprint
    from scaffold_tools.classify.model import Classification
    from scaffold_tools.source.inventory import Inventory, Source
    from scaffold_tools.workspace import Applied
    from scaffold_tools.workspace.plan import Plan


@dataclass(frozen=True)
class Settings:
    """What the user asked for."""

    link: str
    target: str = DEFAULT_TARGET
    repo: Path | None = None
    out: Path | None = None
    lane: str = "cpu"
    dry_run: bool = False
    regenerate: bool = False
    verify: bool = True
    trust_remote_code: bool = False
    allow_dirty: bool = False
    with_stubs: bool = False
    """Where gaps remain, write a module with marked places for what is missing."""
    processes: bool = True
    """Whether the integration is also split over real processes, and trained."""
    base: Path | None = None
    """Folder that holds `.scaffold/` and, by default, packages; None: the current one."""


@dataclass(frozen=True)
class Job:
    """One command under way."""

    progress: Progress
    lane: EarlyLane
    trust_remote_code: bool = False
    processes: bool = True
    """Whether what is proven in one process is also measured in several."""


@contextmanager
def open_job(
    progress: Progress, trust_remote_code: bool = False, *, lane: EarlyLane | None = None, processes: bool = True
) -> Iterator[Job]:
    """A command under way, in a lane of its own, or with `lane` in one that is open already and stays open."""
    from scaffold.lane import EarlyLane

    with EarlyLane() if lane is None else nullcontext(lane) as opened:
        yield Job(progress, opened, trust_remote_code, processes)


def check_settings(settings: Settings) -> None:
    """Refuse what cannot work before anything is read.

    Raises:
        BadInput: an unknown target or lane, or options that exclude each other.
    """
    find_target(settings.target)
    check_lane(settings.lane)
    if settings.repo is not None and settings.out is not None:
        raise BadInput("--repo edits a checkout, --out names the folder of a package", hint="give one of them")
    if settings.repo is not None and not settings.repo.is_dir():
        raise BadInput(f"--repo {settings.repo} is not a folder", hint=f"give a checkout of {settings.target}")


def check_lane(lane: str) -> None:
    """Raises BadInput for a lane that does not exist."""
    if lane != "cpu":
        raise BadInput(f"there is no lane {lane!r}", hint="lanes: cpu")


def read(job: Job, link: str) -> Inventory:
    """What can be read of a model without running anything; refused here if no target can take its kind."""
    from scaffold_tools.classify.model import classify, require_supported
    from scaffold_tools.source.read import read_inventory

    with job.progress.stage("source") as stage:
        stage.note(f"reading {link}")
        inventory = read_inventory(link)
        check_trust(inventory, job.trust_remote_code)
        require_supported(classify(inventory))
        pinned = f" at {inventory.source.revision[:12]}" if inventory.source.revision else ""
        stage.result = f"{inventory.source.name}{pinned}, {_tensors(inventory)}"
    return inventory


def complete(job: Job, inventory: Inventory) -> Inventory:
    """The inventory with a table of tensors; where there are no headers it is derived in the lane."""
    from scaffold_tools.source.read import read_inventory

    if inventory.tensors is not None:
        return inventory
    with job.progress.stage("tensors") as stage:
        stage.note("no headers: asking the class that transformers has")
        inventory = read_inventory(
            inventory.source.link,
            derive_table=lambda request: job.lane.call("tensor_table", request),
            trust_remote_code=job.trust_remote_code,
        )
        stage.result = _tensors(inventory)
    return inventory


def _tensors(inventory: Inventory) -> str:
    return "no headers" if inventory.tensors is None else f"{len(inventory.tensors.tensors)} tensors"


def describe(job: Job, inventory: Inventory) -> Classification:
    """What kind of model it is."""
    from scaffold_tools.classify.model import classify, require_supported

    with job.progress.stage("classify") as stage:
        classification = classify(inventory)
        require_supported(classification)
        stage.result = str(classification)
    return classification


def check_trust(inventory: Inventory, trust_remote_code: bool) -> None:
    """Code is only ever run from a folder that the user can read first, never straight from a hub.

    Raises:
        Refused: it was asked for a repository on a hub.
    """
    source = inventory.source
    if trust_remote_code and source.kind == "hub":
        raise Refused(
            "--trust-remote-code needs a local folder, whose code can be read before it runs",
            hint=f"hf download {source.name} --revision {source.revision} --exclude '*.safetensors' --local-dir DIR",
        )


def check_generated_today(classification: Classification) -> None:
    """Refuse what the rules and templates do not cover yet; what a target has can be verified all the same.

    Any decoder goes on, of whatever structure: what of it cannot be expressed comes out as gaps.

    Raises:
        BadInput: not a decoder-only language model.
    """
    if classification.modality == "llm":
        return
    kind = ", ".join((classification.modality, *classification.structure))
    raise BadInput(
        f"this is {kind}; only decoder-only language models are generated so far",
        hint="scaffold inspect shows why it is taken for that",
    )


def derive(job: Job, inventory: Inventory, classification: Classification, folder: RunFolder | None) -> Blueprint:
    """The blueprint, with probes of the Hugging Face class in the lane."""
    from scaffold_tools.blueprint.derive import derive_blueprint
    from scaffold_tools.blueprint.probing import probe_model

    check_generated_today(classification)
    with job.progress.stage("blueprint") as stage:
        stage.note("probing tiny instances of the Hugging Face class")
        observations = probe_model(
            job.lane.session(),
            inventory,
            trust_remote_code=job.trust_remote_code,
            model_folder=model_folder(inventory),
            on_progress=stage.note,
        )
        blueprint = derive_blueprint(inventory, classification, observations)
        if folder is not None:
            folder.save("observations", observations)
            folder.save("blueprint", blueprint)
        stage.result = describe_blueprint(blueprint)
    return blueprint


def describe_blueprint(blueprint: Blueprint) -> str:
    """Facts by certainty, and gaps."""
    counts: dict[str, int] = {}
    for fact in blueprint.facts:
        counts[fact.certainty] = counts.get(fact.certainty, 0) + 1
    parts = [f"{len(blueprint.facts)} facts ({', '.join(f'{n} {name}' for name, n in counts.items())})"]
    if blueprint.gaps:
        parts.append(f"{len(blueprint.gaps)} gaps")
    return ", ".join(parts)


def profile_of(target: Target, repo: Path | None) -> Any:
    """What the target's API is today."""
    from scaffold.machine import site_packages

    return target.read_profile(repo, site_packages())


def make_plan(
    job: Job,
    settings: Settings,
    blueprint: Blueprint,
    folder: RunFolder | None,
    *,
    source: Source,
    target: Target,
    profile: Any,
) -> Plan:
    """The plan, made against the folder that it will be applied to."""
    with job.progress.stage("plan") as stage:
        root = settings.repo or settings.out or (settings.base or Path.cwd()) / target.default_root(blueprint, profile)
        plan = _plan_for(
            target, blueprint, source, root=root.absolute(), profile=profile, folder=folder, wanted=settings
        )
        if folder is not None:
            folder.save("plan", plan)
        stage.result = f"{len(plan.changes)} files for {short(plan.root)}"
    return plan


def is_ours(supported: str, folder: RunFolder, repo: Path | None) -> bool:
    """Whether `module:Class` of a checkout is in a file that this run made there.

    A file that was there before and was replaced is still the target's: it was asked for.
    """
    from scaffold_tools.workspace import read_record

    record = None if repo is None else read_record(folder.path)
    if repo is None or record is None or Path(record.root).resolve() != repo.resolve():
        return False
    path = supported.partition(":")[0].replace(".", "/") + ".py"
    return any(f"/{entry.path}".endswith(f"/{path}") and entry.before_sha256 is None for entry in record.entries)


def _plan_for(
    target: Target,
    blueprint: Blueprint,
    source: Source,
    *,
    root: Path,
    profile: Any,
    folder: RunFolder | None,
    wanted: Settings,
) -> Plan:
    """In a checkout that this run was applied to already, the plan is made as if it had not been.

    Otherwise a second run would take what the first one wrote for the target's own, and plan less.
    """
    from scaffold_tools.workspace import read_record, shadow

    record = None if folder is None or wanted.repo is None else read_record(folder.path)
    if folder is None or record is None or Path(record.root).resolve() != root.resolve():
        return target.make_plan(blueprint, source, root=root, profile=profile, with_stubs=wanted.with_stubs)
    with shadow(root, record, folder.path) as place:
        before = profile_of(target, place)
        plan = target.make_plan(
            blueprint, source, root=place, profile=before, with_stubs=wanted.with_stubs, year=year_of(record)
        )
    return dataclasses.replace(as_told_last(plan, target, record, folder.path), root=str(root))


def write(job: Job, plan: Plan, inventory: Inventory | None, folder: RunFolder, *, allow_dirty: bool) -> Applied:
    """Apply the plan, all of it or nothing.

    Raises:
        Refused: also when this run was applied to another tree, which undo would then not find any more.
    """
    from scaffold_tools.workspace import apply, read_record

    record = read_record(folder.path)
    if record is not None and Path(record.root).resolve() != Path(plan.root).resolve():
        raise Refused(
            f"this run is applied to {record.root}",
            hint=f"take it back with `scaffold undo {folder.name}`, or work in another folder",
        )
    with job.progress.stage("write") as stage:
        inputs = {} if inventory is None else provenance(inventory.source, plan, folder, record)
        applied = apply(plan, Path(plan.root), record_dir=folder.path, allow_dirty=allow_dirty, inputs=inputs)
        stage.result = f"{len(applied.changed)} files written" if applied.changed else "nothing to change"
    return applied


def architecture_of(inventory: Inventory) -> str:
    """The Hugging Face class that the config names.

    Raises:
        BadInput: it names none.
    """
    names = inventory.config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise BadInput("config.json names no architecture", hint='it needs "architectures": ["...ForCausalLM"]')
    return names[0]


def model_folder(inventory: Inventory) -> Path | None:
    """The model's own folder, where the source is one: the only place that modeling code is ever run from."""
    source = inventory.source
    if source.kind != "folder" or source.path is None:
        return None
    return Path(source.path).resolve()  # the lane works in a folder of its own
