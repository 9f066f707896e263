"""A run whose gap is open, and a conversation about it with the real SDK and a scripted API. No lane."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scaffold import look
from scaffold.agent.client import ask_model, make_client
from scaffold.agent.judge import Judge
from scaffold.agent.loop import Conversation, Ended, Limits
from scaffold.agent.redact import Redactor
from scaffold.agent.sources import Root, Sources
from scaffold.agent.tools import Kit, agent_tools
from scaffold.agent.transcript import Transcript
from scaffold.agent.writer import Writer
from scaffold.lane import EarlyLane
from scaffold.progress import Progress
from scaffold.run_folder import AGENT, RunFolder
from scaffold.toolbox.answers import CheckItem, GapItem, VerifyAnswer
from scaffold.toolbox.border import Border
from scaffold.toolbox.work import Work
from scaffold_tools.workspace import apply
from support.loopback_claude import INFO, Claude, Status, Step, loopback_claude
from support.runs import GAP, planned_run

KEY = "sk-ant-test-0123456789abcdef"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", "SCAFFOLD_AGENT_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", "/nonexistent")


def measured(passed: int, *, difference: float = 1.0, proven: bool = False, gaps: bool = True) -> VerifyAnswer:
    """What a verification may find."""
    bad = CheckItem(
        name="logits.max_abs", toy="canary-a", status="failed", value=difference, threshold=1e-4, detail=""
    )
    gap = GapItem(subject=GAP.subject, reason=GAP.reason, hf_source=None, write_what=None, check=None)
    return VerifyAnswer(
        run="Qwen--Qwen3-8B",
        proven=proven,
        bridge="b",
        lane="cpu",
        passed=passed,
        total=20,
        not_passed=[] if proven else [bad],
        gaps=[gap] if gaps else [],
        seconds=0.1,
        evidence="evidence.json",
        exit_code=0 if proven else 3,
    )


START = measured(10)
PROVEN = measured(20, proven=True, gaps=False)


class ScriptedKit(Kit):
    """Measurements come from a list: what is tested is what follows from them."""

    figures: Sequence[VerifyAnswer | None] = ()

    def measure(self) -> dict[str, Any]:
        found, *self.figures = self.figures
        self.judge.saw(found)
        return {} if found is None else found.model_dump(mode="json")


@dataclass
class Scene:
    """Everything of one conversation."""

    folder: RunFolder
    family: Path
    kit: ScriptedKit
    told: list[str] = field(default_factory=list)

    def talk(
        self,
        *steps: Step,
        figures: Sequence[VerifyAnswer | None] = (),
        limits: Limits | None = None,
        messages: list[dict[str, Any]] | None = None,
        info: dict[str, Any] | Status = INFO,
        look_at: Callable[[Claude], None] | None = None,
        monkeypatch: pytest.MonkeyPatch,
    ) -> tuple[Ended, Claude]:
        """Run a script to its end."""
        self.kit.figures = list(figures)
        with loopback_claude(*steps, info=info) as claude:
            monkeypatch.setenv("ANTHROPIC_BASE_URL", claude.url)
            client = make_client()
            opening = messages or [{"role": "user", "content": [{"type": "text", "text": "close the gaps"}]}]
            if messages is None:
                self.kit.transcript.message(opening[0])
            conversation = Conversation(
                client,
                ask_model(client, "claude-test"),
                self.kit,
                agent_tools(self.kit),
                opening,
                limits=limits or Limits(),
                tell=self.told.append,
                wait=lambda seconds: None,
            )
            return conversation.run(), claude

    def transcript(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.kit.transcript.path.read_text().splitlines()]

    @property
    def stub(self) -> Path:
        return self.family / "qwen3_gaps.py"


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    root = tmp_path / "root"
    root.mkdir()
    folder = planned_run(root, gaps=(GAP,))
    plan = look.load_plan(folder)
    apply(plan, Path(plan.root), record_dir=folder.path)
    family = Path(plan.root) / "scaffold_qwen3"
    model = tmp_path / "model"
    model.mkdir()
    redactor = Redactor.of_environment()
    sources = Sources((Root("family", family), Root("model", model, (".py", "README.md", "config.json"))), redactor)
    work = Work(Border.of(root), Progress(quiet=True), EarlyLane())
    judge = Judge()
    judge.saw(START)
    transcript = Transcript(folder.path / AGENT / "transcript.jsonl", redactor)
    yield Scene(folder, family, ScriptedKit(work, Writer(plan, folder), sources, judge, transcript))
