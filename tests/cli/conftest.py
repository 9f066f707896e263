"""Running the command line in this process and in one of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scaffold import cli
from support.loopback_hub import loopback_hub

__all__ = ["loopback_hub"]


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def error(self) -> str:
        """The one error line."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        return lines[0]


class Scaffold:
    """`scaffold ARGS` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *args: str | Path) -> Ran:
        self._capsys.readouterr()
        code = cli.run([str(arg) for arg in args])
        out, err = self._capsys.readouterr()
        return Ran(code, out, err)


@pytest.fixture
def scaffold(capsys: pytest.CaptureFixture[str], workdir: Path) -> Scaffold:
    """The command line, in an empty current folder."""
    return Scaffold(capsys)


def heed_interrupts() -> None:
    """For a child: a shell that runs tests in the background makes its children ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def spawn(*args: str, cwd: Path, **environ: str) -> subprocess.Popen[str]:
    """`scaffold ARGS` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "scaffold.cli", *args],
        cwd=cwd,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        preexec_fn=heed_interrupts,
    )


def files_in(folder: Path) -> set[str]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def run(*args: str | Path, cwd: Path, **environ: str) -> Ran:
    """`scaffold ARGS` in a process of its own, to its end."""
    process = spawn(*map(str, args), cwd=cwd, **environ)
    out, err = process.communicate(timeout=900)
    return Ran(process.returncode, out, err)


def bytes_in(folder: Path, *, without: tuple[str, ...] = (".git",)) -> dict[str, bytes]:
    """Every file below a folder and its bytes."""
    names = {name for name in files_in(folder) if name.split("/")[0] not in without}
    return {name: (folder / name).read_bytes() for name in sorted(names)}
