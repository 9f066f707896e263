"""`scaffold agent` as a user runs it: what is missing is said at once, and a real gap is closed and proven."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from cli.conftest import Scaffold, run
from cli.conftest import scaffold as scaffold
from scaffold import look
from scaffold.agent.redact import Redactor
from scaffold.agent.tools import Kit
from scaffold.agent.transcript import Transcript
from scaffold.run_folder import AGENT, RunFolder
from scaffold_tools.workspace import apply
from support.loopback_claude import Reply, Status, loopback_claude, text, use
from support.runs import GAP, planned_run

from .conftest import PROVEN, START

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "Qwen--Qwen3-8B"

PLAIN = Path(__file__).resolve().parents[1] / "blueprint" / "unseen" / "plain"
TILT = """
def tilt(x):
    return x * torch.sigmoid(1.9 * x) + 0.02 * x


class Ff("""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with its own code, whose activation nobody knows: four gaps that belong together."""
    folder = tmp_path / "tilted"
    shutil.copytree(PLAIN, folder, ignore=shutil.ignore_patterns("__pycache__"))
    code = folder / "modeling_quarry.py"
    changed = code.read_text().replace("F.silu(self.w1(x))", "tilt(self.w1(x))").replace("\nclass Ff(", TILT)
    assert changed.count("tilt(") == 2
    code.write_text(changed)
    return folder


def test_without_a_key_there_is_one_clear_line_and_nothing_is_made(
    scaffold: Scaffold, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    ran = scaffold("agent", "Qwen/Qwen3-8B")
    assert ran.code == 5
    assert ran.error() == "error: there is no key for the Anthropic API"
    assert ran.err.count("\n") == 2
    assert "ANTHROPIC_API_KEY" in ran.err
    assert list(workdir.iterdir()) == []


def test_without_the_sdk_the_line_says_what_installs_it(scaffold: Scaffold, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "anthropic", None)
    ran = scaffold("agent", "Qwen/Qwen3-8B")
    assert ran.code == 5
    assert "scaffold-models[agent]" in ran.err


@pytest.mark.lane
def test_what_the_target_has_already_is_not_worked_on(scaffold: Scaffold, workdir: Path) -> None:
    ran = scaffold("agent", EXAMPLE)
    assert ran.code == 2
    assert "has Qwen3ForCausalLM already" in ran.error()
    assert "--regenerate" in ran.err


def test_there_has_to_be_something_to_resume(scaffold: Scaffold, model: Path) -> None:
    ran = scaffold("agent", model, "--resume")
    assert ran.code == 2
    assert "nothing to resume" in ran.error()


@pytest.fixture
def started(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run that an earlier call left open, and measurements from a list instead of the lane."""
    folder = planned_run(workdir, gaps=(GAP,))
    plan = look.load_plan(folder)
    apply(plan, Path(plan.root), record_dir=folder.path)
    transcript = Transcript(folder.path / AGENT / "transcript.jsonl", Redactor())
    transcript.message({"role": "user", "content": [{"type": "text", "text": "the task"}]})

    def measure(kit: Kit) -> dict[str, object]:
        stub = Path(plan.root) / str(plan.stub)
        kit.judge.saw(PROVEN if "OPEN_GAPS = ()" in stub.read_text() else START)
        return {"proven": kit.judge.proven}

    monkeypatch.setattr(Kit, "measure", measure)
    return folder


def test_a_call_that_ends_at_a_limit_says_what_is_left_and_the_next_one_goes_on(
    scaffold: Scaffold, started: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Reply([text("Reading first."), use("list_files", folder="family")], tokens_in=5000)
    with loopback_claude(reads, info=Status(500)) as claude:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", claude.url)
        ran = scaffold("agent", EXAMPLE, "--resume", "--max-turns", "1", "--model", "some-model", "--json")
    assert ran.code == 3, ran.err
    assert ran.json["reason"] == "turns"
    assert [gap["subject"] for gap in ran.json["gaps"]] == ["mlp.activation"]
    assert (ran.json["closed"], ran.json["tokens"]["total"], ran.json["last_words"]) == ([], 5100, "Reading first.")
    assert claude.asked[0]["model"] == "some-model"
    assert claude.asked[0]["messages"][0]["content"][0]["text"] == "the task"

    change = {"path": "qwen3_gaps.py", "content": "OPEN_GAPS = ()"}
    with loopback_claude(Reply([use("change_files", changes=[change], why="x")])) as claude:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", claude.url)
        ran = scaffold("agent", EXAMPLE, "--resume")
    assert ran.code == 0, ran.err
    assert "closed  mlp.activation" in ran.out
    roles = [message["role"] for message in claude.asked[0]["messages"]]
    assert roles == ["user", "user", "assistant", "user", "user"]
    assert claude.asked[0]["messages"][2]["content"][0]["text"] == "Reading first."

    ran = scaffold("agent", EXAMPLE, "--resume", "--json")  # the API is gone, and nobody asks it
    assert (ran.code, ran.json["reason"]) == (0, "nothing to do")


def test_two_agents_do_not_work_on_one_run(scaffold: Scaffold, started: RunFolder) -> None:
    with FileLock(started.path / AGENT / "lock"):
        ran = scaffold("agent", EXAMPLE, "--resume")
    assert ran.code == 4
    assert "another agent" in ran.error()


def filled(stub: str) -> str:
    """The module with the places filled, as somebody would who has read the modeling code."""
    stub = re.sub(r"OPEN_GAPS = \(.*?\n\)\n", "OPEN_GAPS = ()\n", stub, flags=re.DOTALL)
    stub = stub.replace("from typing import Any\n", "from typing import Any\n\nimport torch\n")
    stub = stub.replace("import MegatronParamMapping", "import GatedMLPMapping, MegatronParamMapping")
    stub = stub.replace(
        "def complete_provider",
        "def tilt(x):\n    return x * torch.sigmoid(1.9 * x) + 0.02 * x\n\n\ndef complete_provider",
    )
    stub = stub.replace(
        "    return provider\n",
        "    provider.ffn_hidden_size = hf_config.ff_mult_width\n"
        "    provider.gated_linear_unit = True\n"
        "    provider.activation_func = tilt\n"
        "    return provider\n",
    )
    return stub.replace(
        "    return mappings\n",
        '    kept = [row for row in mappings if "linear_fc1.weight" not in row.megatron_param]\n'
        "    gated = GatedMLPMapping(\n"
        '        megatron_param="decoder.layers.*.mlp.linear_fc1.weight",\n'
        '        gate="backbone.h.*.ff.w1.weight",\n'
        '        up="backbone.h.*.ff.w3.weight",\n'
        "    )\n"
        "    return [*kept, gated]\n",
    )


@pytest.mark.lane
def test_a_real_gap_is_closed_and_proven_and_a_wrong_closing_is_not(model: Path, tmp_path: Path) -> None:
    """One lane for all of it: generate, measure, a closing that is wrong by a little, the right one, undo."""
    place = tmp_path / "place"
    place.mkdir()
    stub = place / "scaffold_quarry" / "scaffold_quarry" / "quarry_gaps.py"

    def fills(factor: str) -> Callable[[object], Reply]:
        def step(request: object) -> Reply:
            content = filled(before[0]).replace("1.9", factor)
            change = {"path": "quarry_gaps.py", "content": content}
            return Reply([use("change_files", f"toolu_{len(factor)}", changes=[change], why="the activation")])

        return step

    before: list[str] = []

    def reads(request: object) -> Reply:
        before.append(stub.read_text())
        return Reply([text("The MLP's activation."), use("read_file", path="model/modeling_quarry.py")])

    with loopback_claude(reads, fills("1.8"), fills("1.90")) as claude:
        ran = run(
            "agent", model, "--trust-remote-code", "--json", cwd=place, ANTHROPIC_BASE_URL=claude.url
        )  # fmt: skip
    assert ran.code == 0, ran.err
    answer = ran.json
    assert (answer["reason"], answer["proven"], answer["turns"]) == ("proven", True, 3)
    assert answer["gaps"] == []
    assert {gap["subject"] for gap in answer["closed"]} >= {"mlp.activation", "ff_mult_width"}
    assert len(answer["changes"]) == 2

    first = json.loads(
        claude.asked[0]["messages"][0]["content"][0]["text"].split("<state>\n")[1].split("\n</state>")[0]
    )
    assert first["measured"]["proven"] is False
    assert {gap["subject"] for gap in first["gaps"]} >= {"mlp.activation"}
    wrong = json.loads(claude.results(2)[0]["content"])["measured"]
    assert wrong["proven"] is False
    assert wrong["gaps"] == []
    assert "logits.max_abs" in {check["name"] for check in wrong["not_passed"]}
    assert "mlp" in wrong["located"]["first"]["culprit"]
    assert "round_trip.exact" not in {check["name"] for check in wrong["not_passed"]}
    assert "Proven" in (place / ".scaffold" / "tilted" / "checklist.md").read_text()
    refused = run("agent", model, "--trust-remote-code", cwd=place)
    assert refused.code == 4
    assert "--resume" in refused.err
    assert run("undo", cwd=place).code == 0
    assert not (place / "scaffold_quarry").exists()
