"""The table of targets: all that the faces know of them. A new target is a new row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.errors import BadInput
from scaffold_tools.source.inventory import Source
from scaffold_tools.verify.evidence import Evidence
from scaffold_tools.verify.jobs import USUAL_JOBS, Jobs
from scaffold_tools.verify.roll import ROLL_JOBS
from scaffold_tools.verify.roll import VARIABLE as ROLL_VARIABLE
from scaffold_tools.workspace.plan import Plan


def in_the_lane(repo: Path | None) -> Path | None:
    """Nothing to find: the target is a package of the lane."""
    return None


def of_the_lane(checkout: Path | None) -> dict[str, str]:
    """Nothing to add: the lane tells the versions of its packages."""
    return {}


def no_figures(path: str, content: str, evidence: Evidence | None, commit: str | None) -> str | None:
    """No generated file tells what was measured."""
    return None


def no_template(root: Path, plan: Plan, overview: str, changes: Sequence[str], details: str) -> str | None:
    """The target's repository has no template that is known."""
    return None


def add_support(name: str) -> str:
    """A title where no form is asked for."""
    return f"Add {name}"


@dataclass(frozen=True)
class Target:
    """What a target offers. Functions import their modules when called."""

    name: str
    read_profile: Callable[[Path | None, Path | None], Any]
    """(checkout or None, the lane's site-packages) -> what the target's API is today."""
    supported_by: Callable[[Any, str, str | None], str | None]
    """(profile, architecture, model_type) -> what the target already has, `module:Class` or `module:model_type`."""
    default_root: Callable[[Blueprint, Any], str]
    """(blueprint, profile) -> name of the folder that a package is written to."""
    make_plan: Callable[..., Plan]
    describe: Callable[[Any], str]
    """One line about a profile, for doctor."""
    dequantisers: Callable[[], list[tuple[tuple[str, ...], str, str, str]]]
    """Stored formats that generated code undoes: (formats, part of the values, other parts, what defines them)."""
    jobs: Jobs = USUAL_JOBS
    """What measures an integration in the lane."""
    framework: Callable[[Path | None], Path | None] = in_the_lane
    """(checkout that was given, or None) -> the checkout to measure with, None where the lane has the target.

    Raises EnvironmentLacks where a checkout is needed and none is named.
    """
    checkout_variable: str | None = None
    """The environment variable that names that checkout; None where the lane has the target."""
    versions: Callable[[Path | None], dict[str, str]] = of_the_lane
    """(that checkout) -> what is told of it beside the versions of the lane's packages."""
    custom_blocks: str = "modeling_"
    """What the name of a generated module begins with that holds custom modules of megatron-core."""
    title: str = "Megatron-Bridge"
    """What its own people call it."""
    tell: Callable[[str, str, Evidence | None, str | None], str | None] = no_figures
    """(path, generated content, what was measured, commit of the checkout) -> the content with those figures in it.

    None for a file that holds none.
    """
    pull_request: Callable[[Path, Plan, str, Sequence[str], str], str | None] = no_template
    """(root, plan, one line, changes, everything measured) -> the repository's own template, filled; None without one.

    The texts are Markdown.
    """
    pull_request_title: Callable[[str], str] = add_support
    """(name of the model) -> the title, in the form that the target's maintainers ask for."""

    def undoes(self, format_name: str) -> bool:
        """Whether generated code dequantises weights that are stored in this format."""
        return any(format_name in formats for formats, *_ in self.dequantisers())


def _read_profile(repo: Path | None, site_packages: Path | None) -> Any:
    from scaffold_tools.targets.megatron_bridge.profile import read_profile

    root = repo or site_packages
    if root is None:
        from scaffold_tools.verify.lane_env import ensure_lane

        ensure_lane(install=False)
        raise BadInput("no Megatron-Bridge was found in the lane", hint="give a checkout with --repo")
    return read_profile(root, lane_site_packages=site_packages)


def _supported_by(profile: Any, architecture: str, model_type: str | None) -> str | None:
    registration = profile.registration(architecture)
    return None if registration is None else str(registration.name)


def _default_root(blueprint: Blueprint, profile: Any) -> str:
    from scaffold_tools.targets.megatron_bridge.naming import names_of

    return names_of(blueprint, profile).package


def _make_plan(
    blueprint: Blueprint, source: Source, *, root: Path, profile: Any, with_stubs: bool, year: int | None = None
) -> Plan:
    from scaffold_tools.targets.megatron_bridge.plan import Options, make_plan

    model_id = source.name if source.kind == "hub" else None
    options = Options(model_id=model_id, revision=source.revision, with_stubs=with_stubs, year=year)
    return make_plan(blueprint, root=root, profile=profile, options=options)


def _tell(path: str, content: str, evidence: Evidence | None, commit: str | None) -> str | None:
    from scaffold_tools.targets.megatron_bridge.cards import tell

    return tell(path, content, evidence, commit)


def _pull_request(root: Path, plan: Plan, overview: str, changes: Sequence[str], details: str) -> str | None:
    from scaffold_tools.targets.megatron_bridge.pull_request import Words, fill_template

    return fill_template(root, plan, Words(overview, changes, details))


def _pull_request_title(name: str) -> str:
    from scaffold_tools.targets.megatron_bridge.pull_request import title

    return title(name)


def _describe(profile: Any) -> str:
    return f"{len(profile.registrations)} architectures registered, {profile.construction} style"


def _dequantisers() -> list[tuple[tuple[str, ...], str, str, str]]:
    from scaffold_tools.targets.megatron_bridge.quantised.kernels import KERNELS

    rows = []
    for row in KERNELS:
        parts = [f"`{' / '.join(item.parts)}`{'' if item.required else ' if stored'}" for item in row.arguments]
        rows.append((row.formats, row.values, ", ".join(parts), row.reason))
    return rows


def _roll_checkout(repo: Path | None) -> Path:
    from scaffold_tools.verify.roll import roll_checkout

    return roll_checkout(repo)


def _roll_version(checkout: Path | None) -> dict[str, str]:
    """The commit, and whether files of mcore_adapter differ from it."""
    from scaffold_tools.verify.roll import SOURCES
    from scaffold_tools.workspace.checkout import commit_of, is_changed

    root = _roll_checkout(checkout)
    commit = commit_of(root)
    if commit is None:
        return {"ROLL": "of no known commit"}
    return {"ROLL": f"{commit[:12]} with changes" if is_changed(root, SOURCES) else commit[:12]}


def _read_roll(repo: Path | None, site_packages: Path | None) -> Any:
    from scaffold_tools.targets.roll.profile import ADAPTER, read_profile

    root = _roll_checkout(None) if repo is None else repo
    if site_packages is None and (root / ADAPTER).is_dir():
        from scaffold_tools.verify.lane_env import ensure_lane

        ensure_lane(install=False)
    profile = read_profile(root, site_packages)
    return profile if repo is not None else replace(profile, edits=False)


def _in_roll(profile: Any, architecture: str, model_type: str | None) -> str | None:
    from scaffold_tools.targets.roll.loaded_types import loaded_type

    loaded = None if model_type is None else loaded_type(profile.site_packages, model_type)
    registration = None if loaded is None else profile.registration(loaded)
    return None if registration is None else str(registration.name)


def _roll_root(blueprint: Blueprint, profile: Any) -> str:
    from scaffold_tools.targets.roll.naming import names_of

    return names_of(blueprint, profile).package


def _plan_for_roll(
    blueprint: Blueprint, source: Source, *, root: Path, profile: Any, with_stubs: bool, year: int | None = None
) -> Plan:
    from scaffold_tools.targets.roll.plan import Options, make_plan

    if with_stubs:
        raise BadInput("--with-stubs is for Megatron-Bridge", hint="the gaps say what to write, and where")
    model_id = source.name if source.kind == "hub" else None
    return make_plan(blueprint, root=root, profile=profile, options=Options(model_id, source.revision))


def _describe_roll(profile: Any) -> str:
    return f"{len(profile.registrations)} model types registered, {profile.layout}"


TARGETS = (
    Target(
        "megatron-bridge",
        _read_profile,
        _supported_by,
        _default_root,
        _make_plan,
        _describe,
        _dequantisers,
        tell=_tell,
        pull_request=_pull_request,
        pull_request_title=_pull_request_title,
    ),
    Target(
        "roll",
        _read_roll,
        _in_roll,
        _roll_root,
        _plan_for_roll,
        _describe_roll,
        list,  # mcore_adapter undoes no stored format
        ROLL_JOBS,
        _roll_checkout,
        checkout_variable=ROLL_VARIABLE,
        versions=_roll_version,
        custom_blocks="modules_",
        title="ROLL",
    ),
)


def find_target(name: str) -> Target:
    """The target of that name.

    Raises:
        BadInput: there is none.
    """
    found = next((target for target in TARGETS if target.name == name), None)
    if found is None:
        raise BadInput(f"there is no target {name!r}", hint=f"targets: {', '.join(row.name for row in TARGETS)}")
    return found
