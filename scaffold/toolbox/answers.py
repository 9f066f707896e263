"""What tools answer: small, typed, the same words as `--json` of the command line."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(extra="forbid")


class GapItem(Answer):
    """Something that the target cannot express yet."""

    subject: str = Field(description="The tensor, key or fact.")
    reason: str
    hf_source: str | None = Field(description="file.py:line of the modeling code that shows it.")
    write_what: str | None
    check: str | None = Field(description="What passes once it is right.")


class FileItem(Answer):
    """One planned file against the tree."""

    path: str
    status: Literal["create", "update", "identical", "conflict", "skip", "remove"]
    summary: str


class CheckItem(Answer):
    """One check that did not pass."""

    name: str
    toy: str
    status: Literal["failed", "skipped", "error"]
    value: float | int | str | None
    threshold: float | int | str | None
    detail: str


class InspectAnswer(Answer):
    """What kind of model a link is, from config.json and tensor headers alone."""

    model: str
    revision: str | None = Field(description="The commit that everything was read at; null for a local folder.")
    modality: str
    structure: list[str]
    parameters: int | None
    summary: str
    unknown_keys: list[str] = Field(description="Keys of config.json that no table recognises.")
    classification: dict[str, Any] = Field(description="Everything, as in `scaffold inspect --json`.")


class PlanAnswer(Answer):
    """A plan that is kept in the run folder; nothing of the target is touched."""

    run: str = Field(description="What the other tools take as `run`.")
    model: str
    architecture: str
    target: str
    root: str | None
    package: str | None
    supported_by: str | None = Field(description="The class that the target has for this architecture already.")
    generated: bool
    files: list[FileItem]
    gaps: list[GapItem]
    notes: list[str]
    next_steps: list[str]
    exit_code: int = Field(description="0: everything is expressed. 3: gaps remain.")


class DiffAnswer(Answer):
    """The plan against the tree as it is now."""

    run: str
    files: list[FileItem]
    diff: str = Field(description="Unified, as `git apply` takes it.")
    truncated: bool = Field(description="Whether the diff is longer than what is shown.")


class ApplyAnswer(Answer):
    """What was written: all of the plan, or nothing."""

    run: str
    root: str
    files: list[FileItem] = Field(description="As they were before: `create` and `update` are done now.")
    gaps: list[GapItem]
    exit_code: int


class UpdateAnswer(Answer):
    """What was merged into the files: all of it, or nothing."""

    run: str
    root: str
    files: list[FileItem] = Field(description="As they were before. `conflict`: markers stand in the file now.")
    diff: str = Field(description="With `check`: what an update would change.")
    truncated: bool = Field(description="Whether the diff is longer than what is shown.")
    gaps: list[GapItem]
    next_steps: list[str]
    exit_code: int = Field(description="1: markers to resolve, or with `check` a file that would change.")


class VerifyAnswer(Answer):
    """What was measured of the files on disk."""

    run: str
    proven: bool = Field(description="Checks ran, logits were compared, and none failed or broke.")
    bridge: str
    lane: str
    passed: int
    total: int
    not_passed: list[CheckItem] = Field(description="A skipped check is never a passed one.")
    gaps: list[GapItem]
    seconds: float
    evidence: str = Field(description="The file with all figures.")
    exit_code: int = Field(description="0: proven. 1: a check failed. 3: gaps remain.")


class SiteItem(Answer):
    """One value that both models compute on the same tokens."""

    megatron: str
    hugging_face: str
    what: str
    layer: int | None
    culprit: str = Field(description="The module to blame where this is the first value that differs.")
    max_abs: float | None = Field(description="Largest difference; null where it is not finite.")
    limit: float = Field(description="What rounding explains.")
    first_position: int | None = Field(description="First token at which it differs.")


class CauseItem(Answer):
    """An explanation that the values of the first divergence bear out."""

    cause: str
    evidence: str


class LocateAnswer(Answer):
    """Where the integration and the Hugging Face model part."""

    run: str
    agrees: bool = Field(description="Everything was compared, and nothing differs.")
    compared: int = Field(description="Values that were compared, in the order in which they are computed.")
    first: SiteItem | None = Field(description="The first that differs; everything before it agrees.")
    next: list[SiteItem] = Field(description="A few that differ after it.")
    causes: list[CauseItem]
    problems: list[str] = Field(description="What failed before anything could be compared.")
    exit_code: int = Field(description="0: it agrees. 1: it does not.")


class GapsAnswer(Answer):
    """What is left to write, and where."""

    run: str
    gaps: list[GapItem]
    write_in: str | None = Field(description="The model family's own folder: nothing else is to be changed.")
    stub: str | None = Field(description="The module with the marked places, if the plan was made with stubs.")


class EvidenceItem(Answer):
    """Why a fact is believed."""

    source: str
    detail: str


class FactAnswer(Answer):
    """One fact of the blueprint: where it comes from and what uses it."""

    run: str
    name: str
    meaning: str
    type: str
    value: Any
    certainty: Literal["measured", "constrained", "declared", "assumed"]
    evidence: list[EvidenceItem]
    expression: dict[str, Any] | None = Field(description="How it follows from the Hugging Face config.")
    keys: list[str] = Field(description="Config keys that this fact accounts for.")
    gaps: list[GapItem] = Field(description="Gaps about this fact.")
