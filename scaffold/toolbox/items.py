"""Parts of answers, made of the values that the pipeline has; long ones are cut."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from scaffold.toolbox.answers import CheckItem, FileItem, GapItem, SiteItem, VerifyAnswer

if TYPE_CHECKING:
    from scaffold.outcome import FileState, Outcome
    from scaffold.run_folder import RunFolder
    from scaffold_tools.blueprint.facts import Gap
    from scaffold_tools.verify.evidence import Check
    from scaffold_tools.verify.locate import Site

MAX_DETAIL = 1_000
"""Characters of one explanation."""
MAX_ITEMS = 200
"""Items of one list."""


def verified(folder: RunFolder, done: Outcome) -> VerifyAnswer:
    """The answer about a verification."""
    evidence = done.evidence
    assert evidence is not None
    return VerifyAnswer(
        run=folder.name,
        proven=evidence.proven,
        bridge=evidence.bridge,
        lane=evidence.lane,
        passed=sum(check.status == "passed" for check in evidence.checks),
        total=len(evidence.checks),
        not_passed=[check_of(check) for check in evidence.checks if check.status != "passed"][:MAX_ITEMS],
        gaps=gaps_of(done.gaps),
        seconds=evidence.seconds,
        evidence=str(folder.file("evidence")),
        exit_code=done.exit_code,
    )


def files_of(states: Iterable[FileState]) -> list[FileItem]:
    """Planned files against the tree."""
    return [FileItem(path=state.path, status=state.status, summary=state.summary) for state in states]


def gaps_of(found: Iterable[Gap]) -> list[GapItem]:
    """Gaps, with what is known of each."""
    return [
        GapItem(
            subject=gap.subject,
            reason=gap.reason[:MAX_DETAIL],
            hf_source=gap.hf_source,
            write_what=gap.write_what,
            check=gap.check,
        )
        for gap in list(found)[:MAX_ITEMS]
    ]


def check_of(check: Check) -> CheckItem:
    """A check that did not pass."""
    status: Any = check.status
    return CheckItem(
        name=check.name,
        toy=check.toy,
        status=status,
        value=check.value,
        threshold=check.threshold,
        detail=check.detail[:MAX_DETAIL],
    )


def site_of(site: Site) -> SiteItem:
    """A value that both models compute."""
    return SiteItem(
        megatron=site.megatron,
        hugging_face=site.hugging_face,
        what=site.what,
        layer=site.layer,
        culprit=site.culprit,
        max_abs=site.max_abs,
        limit=site.limit,
        first_position=site.first_position,
    )
