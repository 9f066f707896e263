"""A plan: every file that will exist or change, whole, before anything touches the tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from scaffold_tools.blueprint.facts import Gap

Status = Literal["create", "update", "identical", "conflict", "skip", "remove"]
"""create: the file is new. update: it exists and differs as planned. identical: nothing to do. conflict: it exists and
is not what the plan was made against, or both sides changed the same lines. skip: left alone on purpose (the reason
says why). remove: it was generated once and is not any more (of an update alone)."""


@dataclass(frozen=True)
class Change:
    """One file, as it will be."""

    path: str
    """POSIX path relative to the root; never absolute, never with `..`."""
    kind: Literal["create", "edit"]
    content: str
    """The whole file afterwards; encoded as UTF-8 with no newline translation, so BOM and CRLF survive."""
    summary: str
    """What this file is for, one line, for people."""
    before_sha256: str | None = None
    """For an edit: hash of the bytes that the edit was computed from."""
    executable: bool = False


@dataclass(frozen=True)
class Plan:
    """All changes for one target, made against one root."""

    target: str
    layout: Literal["package", "checkout"]
    """package: a small installable package of its own. checkout: edits in a repository of the target."""
    root: str
    package: str
    """Import name that registers the integration (`scaffold_qwen3` or `megatron.bridge.models.qwen3`)."""
    changes: tuple[Change, ...]
    gaps: tuple[Gap, ...] = ()
    notes: tuple[str, ...] = ()
    next_commands: tuple[str, ...] = ()
    stub: str | None = None
    """The planned module that has a marked place for every gap, if the plan has one."""
    copy_script: str | None = None
    """The file that writes an unquantised copy of the checkpoint, where the checkpoint is quantised."""
    switched: dict[str, bool] = field(default_factory=dict)
    """Flags of the config that other sizes have the other way round, and that the code is right for all the same."""
