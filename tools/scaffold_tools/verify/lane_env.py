"""The Python that verification runs in: torch, transformers and Megatron, apart from the tool's own environment.

One environment a machine and requirement list, shared by every clone:
`${SCAFFOLD_CACHE:-~/.cache/scaffold}/lane-cpu-<hash>`. `SCAFFOLD_LANE_PYTHON` names another one to use instead.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scaffold_tools.errors import EnvironmentLacks

PYTHON = (3, 12)
"""megatron-bridge requires exactly this."""

REQUIREMENTS = (
    "torch>=2.8,<3",  # from PyPI it brings CUDA libraries along; it runs without a GPU all the same
    "transformers>=5.12,<5.13",
    "megatron-core>=0.19,<0.20",
    # What `import megatron.bridge` cannot do without.
    "einops",
    "omegaconf>=2.3",
    "pillow",
    "pyyaml",
    "regex",
    "rich",
    # What it imports when asked for a recipe, an adapter or a device map.
    "accelerate",
    "hydra-core>=1.3,<=1.3.2",
    "peft",
    "tqdm",
    # What its own unit tests need, and with them the tests that are generated into a checkout.
    "datasets",
    "pytest>=8.3",
)
WITHOUT_DEPENDENCIES = ("megatron-bridge>=0.6,<0.7",)
"""Its own list has transformer-engine, mamba-ssm and others that need CUDA to build; stand-ins take their place."""

INSTALL_COMMAND = "scaffold doctor --install cpu"
STAMP = ".complete"


@dataclass(frozen=True)
class LanePython:
    """An interpreter that jobs can run in."""

    python: Path
    origin: str
    """`SCAFFOLD_LANE_PYTHON`, or the folder of the shared environment."""


def lane_dir() -> Path:
    """Where the shared environment is, or would be."""
    cache = Path(os.environ.get("SCAFFOLD_CACHE") or Path.home() / ".cache" / "scaffold")
    text = "\n".join((*REQUIREMENTS, "--no-deps", *WITHOUT_DEPENDENCIES, ".".join(map(str, PYTHON))))
    return cache.expanduser() / f"lane-cpu-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def find_lane() -> LanePython | None:
    """The environment, if it is there and whole; starts nothing.

    Raises:
        EnvironmentLacks: `SCAFFOLD_LANE_PYTHON` names something that is no executable.
    """
    override = os.environ.get("SCAFFOLD_LANE_PYTHON")
    if override:
        if not os.access(override, os.X_OK) or Path(override).is_dir():
            raise EnvironmentLacks(
                f"SCAFFOLD_LANE_PYTHON={override} cannot be run", hint=f"unset it, then: {INSTALL_COMMAND}"
            )
        return LanePython(Path(override).absolute(), "SCAFFOLD_LANE_PYTHON")
    folder = lane_dir()
    python = folder / "bin" / "python"
    if (folder / STAMP).is_file() and os.access(python, os.X_OK):
        return LanePython(python, str(folder))
    return None


def ensure_lane(install: bool, on_progress: Callable[[str], None] | None = None) -> LanePython:
    """Find the environment, or create it.

    Args:
        install: create it when it is missing (several minutes, about 6 GB); else a missing one is an error.
        on_progress: told in one line what happens.

    Raises:
        EnvironmentLacks: it is missing and `install` is false, or its installation failed.
    """
    found = find_lane()
    if found is not None:
        return found
    if not install:
        raise EnvironmentLacks("the CPU lane (torch, transformers, megatron) is not installed", hint=INSTALL_COMMAND)
    from filelock import FileLock

    folder = lane_dir()
    folder.parent.mkdir(parents=True, exist_ok=True)
    say = on_progress or (lambda text: None)
    say("waiting for another installation of the lane")
    with FileLock(f"{folder}.lock"):
        found = find_lane()
        if found is None:
            _create(folder, say)
            found = LanePython(folder / "bin" / "python", str(folder))
    return found


def _create(folder: Path, say: Callable[[str], None]) -> None:
    if sys.version_info[:2] != PYTHON:
        wanted = ".".join(map(str, PYTHON))
        raise EnvironmentLacks(f"the CPU lane needs Python {wanted}", hint=f"run scaffold with python{wanted}")
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted installation left
    log = folder.with_suffix(".log")
    python = folder / "bin" / "python"
    say(f"creating {folder}")
    log.write_text("")
    _run([sys.executable, "-m", "venv", str(folder)], log)
    say(f"installing torch, transformers and megatron (several minutes; log: {log})")
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    _run([*pip, *REQUIREMENTS], log)
    _run([*pip, "--no-deps", *WITHOUT_DEPENDENCIES], log)
    say("checking what was installed")
    listed = _run([str(python), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"], log)
    stamp = folder / f"{STAMP}.new"
    stamp.write_text(json.dumps({item["name"]: item["version"] for item in json.loads(listed)}, indent=1))
    stamp.replace(folder / STAMP)


def _run(command: list[str], log: Path) -> str:
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    with log.open("a") as out:
        out.write(f"$ {' '.join(command)}\n{result.stdout}{result.stderr}\n")
    if result.returncode != 0:
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no output"]
        raise EnvironmentLacks(
            f"installing the CPU lane failed: {lines[-1]}", hint=f"see {log}, then: {INSTALL_COMMAND}"
        )
    return result.stdout
