"""What the real checkpoint shows, where it is known: its headers at full size, its weights as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaffold.lane import EarlyLane
    from scaffold_tools.source.inventory import Inventory
    from scaffold_tools.verify.evidence import Check
    from scaffold_tools.verify.run import Integration

Say = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """An integration and the model that it is for."""

    integration: Integration
    inventory: Inventory
    architecture: str
    folder: Path | None
    """The model's own folder, where it is one."""
    trust_remote_code: bool = False


def measure(lane: EarlyLane, subject: Subject, say: Say) -> tuple[Check, ...]:
    """Everything that the checkpoint itself lets one measure; nothing where only a config is known."""
    return (*full_size(lane, subject, say), *written_on(lane, subject, say))


def full_size(lane: EarlyLane, subject: Subject, say: Say) -> tuple[Check, ...]:
    """The integration against the real checkpoint's own table, where headers were read: seconds, and no weights.

    Where the model of full size does not build, that is a check that broke, and the toys' figures stand.
    """
    from scaffold_tools.verify.jobs import USUAL_JOBS
    from scaffold_tools.verify.lane import LaneJobFailed
    from scaffold_tools.verify.static import USUAL_LAYOUTS, build_failed, verify_static

    tensors = subject.inventory.tensors
    if tensors is None or tensors.origin != "headers" or subject.integration.jobs.static != USUAL_JOBS.static:
        return ()
    try:
        return verify_static(
            lane.session(),
            subject.integration,
            config=subject.inventory.config,
            architecture=subject.architecture,
            tensors=tensors,
            layouts=USUAL_LAYOUTS,
            on_progress=say,
        )
    except LaneJobFailed as error:
        return (build_failed(error),)


def written_on(lane: EarlyLane, subject: Subject, say: Say) -> tuple[Check, ...]:
    """What both models write on, where the model's folder holds its weights and a tokenizer, and memory is enough."""
    from scaffold_tools.verify.jobs import USUAL_JOBS
    from scaffold_tools.verify.real import verify_real

    if subject.folder is None or subject.integration.jobs.verify != USUAL_JOBS.verify:
        return ()
    check = verify_real(
        lane.session(),
        subject.integration,
        subject.folder,
        config=subject.inventory.config,
        architecture=subject.architecture,
        trust_remote_code=subject.trust_remote_code,
        on_progress=say,
    )
    return () if check is None else (check,)
