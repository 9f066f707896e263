"""Speed, streams, signals: how every command behaves."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scaffold import cli, progress, run_folder
from scaffold_tools.errors import BadInput, CheckFailed, EnvironmentLacks, GapsRemain, Refused
from support.processor_time import stays_below

from .conftest import Scaffold, heed_interrupts, spawn

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "transformers", "pydantic", "jinja2", "libcst", "huggingface_hub", "httpx2", "rich", "numpy", "yaml"}
HEAVY |= {"anthropic", "mcp", "anyio"}
NAMES = [str(command.name) for command in cli.app.registered_commands]


def imported(*args: str) -> set[str]:
    """Top-level packages that `scaffold ARGS` imports."""
    code = (
        "import sys; from scaffold import cli; cli.run(sys.argv[1:]);"
        "print('\\n'.join({n.split('.')[0] for n in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_imports_nothing_heavy(name: str) -> None:
    """The import set bounds the time without measuring a busy machine."""
    assert imported(*filter(None, [name]), "--help") & HEAVY == set()


def test_help_takes_under_a_fifth_of_a_second() -> None:
    assert stays_below(0.2, "from scaffold.cli import main\nmain(['--help'])")


def test_every_command_has_help_and_an_option_for_json(scaffold: Scaffold) -> None:
    for name in NAMES:
        ran = scaffold(name, "--help")
        assert ran.code == 0
        assert "--json" in ran.out or name == "mcp"  # there stdout is a protocol
        assert ran.err == ""


def test_no_command_asks_anything() -> None:
    for path in (ROOT / "scaffold").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not [word for word in ("input(", "typer.prompt", "typer.confirm", "prompt=") if word in text], path


@pytest.mark.parametrize("kind", [BadInput, CheckFailed, EnvironmentLacks, GapsRemain, Refused])
def test_an_error_is_a_line_a_hint_and_its_exit_code(
    kind: type[BadInput], scaffold: Scaffold, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: str | None) -> None:
        raise kind("this\nis wrong \x1b[31m", hint="do that")

    monkeypatch.setattr("scaffold.run_folder.find", fail)
    ran = scaffold("status")
    assert ran.code == kind.exit_code
    assert ran.err == "error: this is wrong \N{REPLACEMENT CHARACTER}[31m\nhint: do that\n"
    assert ran.out == ""


def test_a_fault_of_ours_is_one_line_and_a_traceback_only_on_request(
    scaffold: Scaffold, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: str | None) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("scaffold.run_folder.find", fail)
    ran = scaffold("status")
    assert (ran.code, ran.error()) == (1, "error: ZeroDivisionError: oops")
    assert "Traceback" not in ran.err
    monkeypatch.setenv("SCAFFOLD_DEBUG", "1")
    assert "Traceback" in scaffold("status").err


def test_a_reader_that_goes_away_is_no_error(workdir: Path) -> None:
    process = spawn("--help", cwd=workdir)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(60) in (0, cli.BROKEN_PIPE)
    assert process.stderr.read() == ""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_one_line_and_exit_code_130(workdir: Path, sent: signal.Signals) -> None:
    code = (
        "import sys, time; from scaffold import cli, run_folder;"
        "run_folder.find = lambda run: (print('here', flush=True), time.sleep(60));"
        "cli.main(['status'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=workdir,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(sent)
    assert process.wait(60) == 130
    assert process.stderr.read().splitlines() == ["interrupted; nothing is left half done"]


def test_progress_on_a_pipe_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Progress() as shown, shown.stage("source") as stage:
        stage.note("reading [bold]x[/bold]")
        stage.result = "2 tensors"
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b" not in err
    assert "reading [bold]x[/bold]" in err
    assert "2 tensors" in err


def test_progress_on_a_terminal_shows_hostile_text_as_text() -> None:
    import pty

    main, side = pty.openpty()
    with os.fdopen(side, "w") as stream:
        shown = progress.Progress(stream=stream)
        with shown, shown.stage("source") as stage:
            stage.note("reading [link=file:///etc/passwd]x[/link]")
            seen, deadline = "", time.monotonic() + 20
            while "[link=file:///etc/passwd]x" not in seen:
                assert time.monotonic() < deadline, seen
                if select.select([main], [], [], 1)[0]:
                    seen += os.read(main, 1 << 16).decode()
    os.close(main)


def test_run_folders_of_hostile_names_stay_inside(tmp_path: Path) -> None:
    for name in ("../../etc/passwd", "a/../../b", "/etc", "..", ".", "", "a\x00b", "-rf", "x" * 5000, "CON\n"):
        path = run_folder.for_model(name, tmp_path).path
        assert path.parent == tmp_path / run_folder.HOME
        assert path.name not in ("", ".", "..")
        path.mkdir(parents=True, exist_ok=True)


def test_a_value_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = run_folder.for_model("org/model", tmp_path)
    folder.save("checklist", "one")

    class Unwritable:
        pass

    with pytest.raises(TypeError):
        folder.save("checklist", {"value": Unwritable()})
    assert folder.file("checklist").read_text() == "one"
    assert [path.name for path in folder.path.iterdir()] == ["checklist.md"]


def test_an_edit_that_does_not_fit_is_named(tmp_path: Path, scaffold: Scaffold) -> None:
    folder = run_folder.for_model("org/model")
    folder.save("plan", {"target": 3})
    ran = scaffold("diff")
    assert ran.code == 2
    assert "plan.json" in ran.error()
    folder.file("plan").write_text("{")
    assert scaffold("diff").code == 2


def test_several_runs_have_to_be_named(scaffold: Scaffold) -> None:
    for name in ("a/one", "a/two"):
        run_folder.for_model(name).save("plan", {})
    ran = scaffold("status")
    assert ran.code == 2
    assert "a--one, a--two" in ran.error()


def test_doctor_tells_what_is_missing_and_what_adds_it(
    scaffold: Scaffold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCAFFOLD_LANE_PYTHON", raising=False)
    monkeypatch.setenv("SCAFFOLD_CACHE", str(tmp_path / "cache"))
    ran = scaffold("doctor")
    assert ran.code == 5
    assert "scaffold doctor --install cpu" in ran.out
    answer = scaffold("doctor", "--json")
    assert answer.code == answer.json["exit_code"] == 5
    assert answer.json["lanes"] == []
    assert json.dumps(answer.json)
    monkeypatch.setenv("SCAFFOLD_LANE_PYTHON", sys.executable)
    ran = scaffold("doctor")
    assert ran.code == 5
    assert "torch" in ran.out
