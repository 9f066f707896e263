"""The tools as the SDK's own client sees them, in memory: types, borders, errors."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp_types import CallToolResult

from cli.conftest import bytes_in
from scaffold.mcp.server import build_server
from scaffold.toolbox.border import Border
from scaffold.toolbox.table import TOOLS
from scaffold_tools.jsonio import to_jsonable
from scaffold_tools.source.read import read_inventory
from support.runs import GAP, planned_run

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MODEL = str(EXAMPLES / "Qwen--Qwen3-8B")


def with_client[T](root: Path, use: Callable[[Client], Awaitable[T]]) -> T:
    async def main() -> T:
        async with Client(build_server(Border.of(root, models=[EXAMPLES]))) as client:
            return await use(client)

    return anyio.run(main)


def call(root: Path, name: str, **arguments: Any) -> CallToolResult:
    return with_client(root, lambda client: client.call_tool(name, arguments))


def text_of(result: CallToolResult) -> str:
    return str(getattr(result.content[0], "text", ""))


def answer(root: Path, name: str, **arguments: Any) -> dict[str, Any]:
    result = call(root, name, **arguments)
    assert not result.is_error, text_of(result)
    assert isinstance(result.structured_content, dict)
    return result.structured_content


def error(root: Path, name: str, **arguments: Any) -> dict[str, Any]:
    """The JSON object of a tool error."""
    result = call(root, name, **arguments)
    assert result.is_error
    found: dict[str, Any] = json.loads(text_of(result))
    assert set(found) == {"error", "hint", "exit_code"}
    return found


def test_every_row_of_the_table_is_served_with_types_on_both_sides(tmp_path: Path) -> None:
    async def listed(client: Client) -> Any:
        return (await client.list_tools()).tools

    tools = {tool.name: tool for tool in with_client(tmp_path, listed)}
    assert set(tools) == {row.name for row in TOOLS}
    page = (EXAMPLES.parent / "docs" / "mcp.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) == [row.name for row in TOOLS]
    for row in TOOLS:
        tool = tools[row.name]
        assert tool.description
        assert tool.input_schema["additionalProperties"] is False
        assert "work" not in tool.input_schema["properties"]
        assert tool.output_schema is not None
        assert tool.output_schema["type"] == "object"
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint == (not row.writes)


def test_inspect_says_what_the_command_line_says(tmp_path: Path) -> None:
    found = answer(tmp_path, "inspect", link=MODEL)
    assert found["summary"].startswith("llm, dense")
    from scaffold_tools.classify.model import classify

    assert found["classification"] == json.loads(json.dumps(to_jsonable(classify(read_inventory(MODEL)))))
    assert list(tmp_path.iterdir()) == []


def test_diff_apply_and_diff_again(tmp_path: Path) -> None:
    planned_run(tmp_path)
    before = answer(tmp_path, "diff")
    assert {file["status"] for file in before["files"]} == {"create"}
    assert "+class Qwen3Bridge" in before["diff"]
    done = answer(tmp_path, "apply", run="Qwen/Qwen3-8B")
    assert done["exit_code"] == 0
    assert (tmp_path / "scaffold_qwen3" / "scaffold_qwen3" / "qwen3_bridge.py").is_file()
    after = answer(tmp_path, "diff")
    assert after["diff"] == ""
    assert {file["status"] for file in after["files"]} == {"identical"}


@pytest.mark.lane  # what is generated today depends on the target that is installed there
def test_an_update_is_told_by_check_and_then_merged(tmp_path: Path) -> None:
    folder = planned_run(tmp_path)
    for name in ("apply", "update"):
        assert answer(tmp_path, name)["exit_code"] == 0
    bridge = tmp_path / "scaffold_qwen3" / "scaffold_qwen3" / "qwen3_bridge.py"
    bridge.write_text(bridge.read_text() + "MINE = 1\n")
    blueprint = folder.file("blueprint")
    blueprint.write_text(blueprint.read_text().replace("Qwen3ForCausalLM", "Qwen3NewForCausalLM"))
    before = bytes_in(tmp_path)
    told = answer(tmp_path, "update", check=True)
    assert (told["exit_code"], told["next_steps"]) == (1, ["update"])
    assert "+" in told["diff"] and "Qwen3NewForCausalLM" in told["diff"]
    assert bytes_in(tmp_path) == before
    done = answer(tmp_path, "update")
    assert (done["exit_code"], done["diff"], done["next_steps"]) == (0, "", ["verify"])
    assert "Qwen3NewForCausalLM" in bridge.read_text() and bridge.read_text().endswith("MINE = 1\n")


def test_an_update_stays_inside_the_border(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    folder = planned_run(root)
    assert error(root, "update")["exit_code"] == 2, "nothing is applied"
    assert answer(root, "apply")["exit_code"] == 0
    source = folder.file("inventory")
    source.write_text(source.read_text().replace('"Qwen/Qwen3-8B"', '"/etc"'))
    assert error(root, "update", reread=True)["exit_code"] == 4
    applied = folder.file("applied")
    applied.write_text(applied.read_text().replace(str(root), str(tmp_path / "victim")))
    assert error(root, "update")["exit_code"] == 4
    assert not (tmp_path / "victim").exists()


def test_gaps_say_what_to_write_and_where(tmp_path: Path) -> None:
    planned_run(tmp_path, gaps=(GAP,))
    assert answer(tmp_path, "apply")["exit_code"] == 3
    found = answer(tmp_path, "gaps")
    assert [gap["subject"] for gap in found["gaps"]] == ["mlp.activation"]
    assert found["write_in"] == str(tmp_path / "scaffold_qwen3" / "scaffold_qwen3")
    stub = Path(found["stub"])
    stub.write_text("OPEN_GAPS = ()\n")
    assert answer(tmp_path, "gaps")["gaps"] == []


def test_a_fact_is_explained_with_its_evidence_and_its_expression(tmp_path: Path) -> None:
    planned_run(tmp_path)
    found = answer(tmp_path, "explain_fact", fact="norm.eps")
    assert found["certainty"] == "measured"
    assert found["value"] == 1e-6
    assert found["expression"]["terms"][0]["key"] == "rms_norm_eps"
    assert "epsilon" in found["meaning"]
    wrong = error(tmp_path, "explain_fact", fact="norm.epsi")
    assert wrong["exit_code"] == 2
    assert "norm.eps" in wrong["hint"]


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("inspect", {"link": "/etc"}, 4),
        ("inspect", {"link": "../../../etc/passwd"}, 2),
        ("inspect", {"link": "~/.ssh"}, 4),
        ("inspect", {"link": "a\x1b[2Jb"}, 2),
        ("plan", {"link": "/etc"}, 4),
        ("plan", {"link": MODEL, "out": "../elsewhere"}, 4),
        ("diff", {"run": "../../etc"}, 4),
        ("diff", {"run": "nobody/nothing"}, 2),
        ("apply", {"run": "/etc"}, 4),
        ("update", {"run": "/etc"}, 4),
        ("verify", {"run": "\x00"}, 2),
        ("gaps", {}, 2),
        ("explain_fact", {"fact": "x", "run": "a/../.."}, 4),
    ],
)
def test_hostile_words_are_tool_errors_with_exit_code_and_next_step(
    tmp_path: Path, name: str, arguments: dict[str, Any], code: int
) -> None:
    found = error(tmp_path, name, **arguments)
    assert found["exit_code"] == code
    assert found["error"].isprintable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [{"link": "x" * 5_000_000}, {"link": 3}, {}, {"link": MODEL, "trust_remote_code": True}, {"link": ["a"]}],
    ids=["huge", "number", "nothing", "more than is allowed", "list"],
)
def test_arguments_of_another_shape_are_refused_in_few_words(tmp_path: Path, arguments: dict[str, Any]) -> None:
    result = call(tmp_path, "inspect", **arguments)
    assert result.is_error
    assert len(text_of(result)) < 1000


def test_code_of_the_model_runs_only_where_the_user_said_so_at_start(tmp_path: Path) -> None:
    model = tmp_path / "own"
    model.mkdir()
    config = {"architectures": ["OwnForCausalLM"], "model_type": "own", "auto_map": {"AutoConfig": "code.Config"}}
    (model / "config.json").write_text(json.dumps(config))
    (model / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert answer(tmp_path, "inspect", link="own")["model"] == "own"
    assert not (tmp_path / "ran").exists()


def test_a_plan_that_somebody_edited_to_point_elsewhere_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    planned_run(root, root=tmp_path / "victim")
    for name in ("diff", "apply", "verify", "gaps"):
        assert error(root, name)["exit_code"] == 4
    assert not (tmp_path / "victim").exists()


def test_a_planned_path_that_climbs_is_refused(tmp_path: Path) -> None:
    folder = planned_run(tmp_path)
    text = folder.file("plan").read_text()
    folder.file("plan").write_text(text.replace('"path": "README.md"', '"path": "../../evil.md"'))
    assert error(tmp_path, "apply")["exit_code"] == 4
    assert not (tmp_path.parent / "evil.md").exists()


def test_files_that_somebody_changed_are_a_conflict_and_stay(tmp_path: Path) -> None:
    planned_run(tmp_path)
    mine = tmp_path / "scaffold_qwen3" / "README.md"
    mine.parent.mkdir()
    mine.write_text("mine")
    assert error(tmp_path, "apply")["exit_code"] == 4
    assert mine.read_text() == "mine"
    assert [path.name for path in mine.parent.iterdir()] == ["README.md"]


def test_a_fault_of_ours_tells_the_client_nothing_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scaffold import look

    def broken(folder: Any) -> Any:
        raise RuntimeError("/home/secret")

    planned_run(tmp_path)
    monkeypatch.setattr(look, "load_plan", broken)
    result = call(tmp_path, "diff")
    assert result.is_error
    assert "secret" not in text_of(result)


def test_calls_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scaffold import look

    planned_run(tmp_path)
    inside, most, real = [0], [0], look.diff

    def slow(folder: Any) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.01)  # long enough for another one to come in
        try:
            return real(folder)
        finally:
            inside[0] -= 1

    monkeypatch.setattr(look, "diff", slow)

    async def many(client: Client) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(client.call_tool, "diff", {})

    with_client(tmp_path, many)
    assert most == [1]
