"""`./bootstrap` finds a Python 3.12 that runs, however the machine has it, and says in one line when there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FAILING_SHIM = "#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone that the script can work in; its pip is never reached."""
    folder = tmp_path / "clone with a space"
    folder.mkdir()
    shutil.copy(ROOT / "bootstrap", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def script(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def found(clone: Path, path: str, **environ: str) -> str | None:
    """What find_python prints."""
    functions = (clone / "bootstrap").read_text()
    start, end = functions.index("try()"), functions.index("if fresh dev")
    code = functions[start:end] + "find_python"
    done = subprocess.run(
        ["/bin/sh", "-c", code], env={"PATH": path, "HOME": str(clone), **environ}, capture_output=True, text=True
    )
    return done.stdout.strip() or None


@pytest.fixture
def real(tmp_path: Path) -> str:
    """A script that behaves like Python 3.12."""
    return f'#!/bin/sh\nexec {sys.executable} "$@"\n'


def test_a_shim_that_exists_and_fails_is_passed_over(clone: Path, tmp_path: Path, real: str) -> None:
    shims = tmp_path / "shims"
    script(shims, "python3.12", FAILING_SHIM)
    assert found(clone, f"{shims}:/usr/bin:/bin", HOME="/nonexistent") != sys.executable
    script(shims, "python3", real)
    assert found(clone, f"{shims}:/usr/bin:/bin") == sys.executable


def test_pyenv_is_asked_for_the_versions_that_it_has(clone: Path, tmp_path: Path) -> None:
    shims = tmp_path / "shims"
    script(shims, "pyenv", "#!/bin/sh\n[ \"$*\" = 'versions --bare' ] && printf '3.11.7\\n3.12.1\\n'\n")
    script(
        shims,
        "python3.12",
        f'#!/bin/sh\n[ "${{PYENV_VERSION:-}}" = 3.12.1 ] || exit 127\nexec {sys.executable} "$@"\n',
    )
    assert found(clone, f"{shims}:/usr/bin:/bin") == sys.executable


def test_pyenv_without_its_command_on_the_path(clone: Path, real: str) -> None:
    script(clone / ".pyenv" / "versions" / "3.12.9" / "bin", "python3.12", real)
    assert found(clone, "/usr/bin:/bin") == sys.executable


def test_uv_is_asked(clone: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    script(tools, "uv", f"#!/bin/sh\n[ \"$*\" = 'python find 3.12' ] && echo {sys.executable}\n")
    assert found(clone, f"{tools}:/usr/bin:/bin") == sys.executable


def test_PYTHON_comes_first_and_another_version_is_passed_over(clone: Path, tmp_path: Path, real: str) -> None:
    chosen = script(tmp_path / "own", "py", real)
    assert found(clone, "/usr/bin:/bin", PYTHON=str(chosen)) == sys.executable
    other = script(tmp_path / "own", "old", "#!/bin/sh\nexit 1\n")
    assert found(clone, "/usr/bin:/bin", PYTHON=str(other)) != str(other)


@pytest.mark.skipif(os.path.exists("/usr/bin/python3.12"), reason="this system has one in a fixed place")
def test_without_any_it_says_in_one_line_what_to_install(clone: Path) -> None:
    done = subprocess.run(
        [clone / "bootstrap"], env={"PATH": "/usr/bin:/bin", "HOME": str(clone)}, capture_output=True, text=True
    )
    assert done.returncode == 5
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "install" in done.stderr
    assert not (clone / ".venv").exists()


def test_a_second_call_is_free_and_a_changed_requirement_is_not(clone: Path, tmp_path: Path) -> None:
    """pip is replaced by a script that counts; everything else is the real thing."""
    log = tmp_path / "log"
    fake = f'#!/bin/sh\ncase "$*" in *"-m pip"*) echo "$*" >>{log};; *) exec {sys.executable} "$@";; esac\n'
    script(clone / ".venv" / "bin", "python", fake)

    def bootstrap(*args: str) -> str:
        done = subprocess.run([clone / "bootstrap", *args], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def installs() -> int:
        return len(log.read_text().splitlines()) if log.exists() else 0

    assert bootstrap() == f"{clone}/.venv/bin/python"
    assert installs() == 1
    bootstrap()
    assert installs() == 1
    bootstrap("mcp")
    bootstrap("mcp")
    assert installs() == 2
    bootstrap("dev")
    assert installs() == 3
    bootstrap()
    bootstrap("mcp")  # what development needs has it
    bootstrap("dev")
    assert installs() == 3
    with (clone / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    bootstrap()
    assert installs() == 4
