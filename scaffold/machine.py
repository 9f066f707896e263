"""What this machine can verify, and the one command that adds what is missing."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaffold_tools.errors import EnvironmentLacks


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    fix: str | None = None
    """The command that adds it; None when there is nothing to add."""
    needed: bool = True
    """False for what only widens the proof."""


@dataclass(frozen=True)
class Machine:
    """The report of `doctor`."""

    findings: tuple[Finding, ...]
    lanes: tuple[str, ...]
    """Lanes that can run here."""

    @property
    def exit_code(self) -> int:
        """5 when something is missing without which nothing can be proven."""
        return EnvironmentLacks.exit_code if any(item.needed and not item.ok for item in self.findings) else 0


def examine(repo: Path | None, target: str) -> Machine:
    """Look at this machine; starts the lane's Python once to see that it really imports."""
    lane = _lane()
    findings = [_python(), lane, _gpu()]
    if repo is not None:
        findings.append(_checkout(repo, target))
    return Machine(tuple(findings), ("cpu",) if lane.ok else ())


def _python() -> Finding:
    return Finding("python", True, platform.python_version())


def _lane() -> Finding:
    from scaffold_tools.verify.lane_env import INSTALL_COMMAND, find_lane

    try:
        lane = find_lane()
    except EnvironmentLacks as error:
        return Finding("lane cpu", False, error.what, error.hint)
    if lane is None:
        return Finding("lane cpu", False, "not installed", INSTALL_COMMAND)
    try:
        versions = _versions(lane.python)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return Finding("lane cpu", False, f"{lane.python} does not answer: {error}", INSTALL_COMMAND)
    missing = [name for name, version in versions.items() if version is None]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    if missing:
        return Finding("lane cpu", False, f"{lane.python} lacks {', '.join(missing)}", INSTALL_COMMAND)
    return Finding("lane cpu", True, f"{lane.python}: {listed}")


_ASK_VERSIONS = """
import importlib.metadata as m, json
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return None
print(json.dumps({n: version(n) for n in ("torch", "transformers", "megatron-core", "megatron-bridge")}))
"""


def _versions(python: Path) -> dict[str, Any]:
    """Installed versions, read from metadata: importing torch to ask it takes seconds."""
    done = subprocess.run([str(python), "-c", _ASK_VERSIONS], capture_output=True, text=True, check=True, timeout=60)
    versions: dict[str, Any] = json.loads(done.stdout)
    return versions


def _gpu() -> Finding:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Finding("gpu", False, "none (the CPU lane needs none)", needed=False)
    try:
        done = subprocess.run(
            [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("gpu", False, f"nvidia-smi does not answer: {error}", needed=False)
    return Finding("gpu", True, "; ".join(done.stdout.strip().splitlines()), needed=False)


def _checkout(repo: Path, target_name: str) -> Finding:
    from scaffold.targets import find_target
    from scaffold_tools.errors import BadInput

    target = find_target(target_name)
    try:
        profile = target.read_profile(repo, site_packages())
    except BadInput as error:
        return Finding("checkout", False, error.what, error.hint)
    return Finding("checkout", True, f"{repo}: {target.describe(profile)}")


def site_packages() -> Path | None:
    """The lane's site-packages, where the released Megatron-Bridge lies; None without a lane."""
    from scaffold_tools.verify.lane_env import find_lane

    lane = find_lane()
    if lane is None:
        return None
    # Not resolved: the interpreter is a symbolic link out of the environment that holds the packages.
    candidates = sorted((lane.python.parent.parent / "lib").glob("python3.12/site-packages"))
    return candidates[0] if candidates else _asked_site_packages(lane.python)


def _asked_site_packages(python: Path) -> Path | None:
    """For a Python that is no virtual environment, such as a container's."""
    code = "import importlib.util as u; print(u.find_spec('megatron.bridge').submodule_search_locations[0])"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False, timeout=120)
    return Path(done.stdout.strip()).parent.parent if done.returncode == 0 else None
