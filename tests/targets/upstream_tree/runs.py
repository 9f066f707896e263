"""Runs pytest of a checkout in the lane's Python, and reads what came out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scaffold_tools.errors import EnvironmentLacks
from scaffold_tools.paths import harness_dir
from scaffold_tools.verify.lane_env import find_lane

LANE = Path(__file__).parent / "lane"
ABSENT = Path(__file__).parents[2] / "support" / "absent_packages"
SECONDS = 1500


@dataclass(frozen=True)
class Outcome:
    """One test of upstream's."""

    status: str
    """`passed`, `failed`, `skipped`."""
    said: str = ""
    """First line of why it failed."""


def run_tests(root: Path, tests: Sequence[str], *, completing: Mapping[str, str] | None = None) -> dict[str, Outcome]:
    """Run tests of a checkout on this machine, `{module::Class::test: outcome}`.

    Stand-ins for Transformer Engine and the like are on the path, as when `scaffold verify` runs.

    Args:
        tests: paths, or `path::Class::test`.
        completing: `module`, `bridge` and `model_type`: complete the configs that tests write by hand.

    Raises:
        EnvironmentLacks: no lane.
    """
    lane = find_lane()
    if lane is None:
        raise EnvironmentLacks("upstream's tests need the CPU lane", hint="scaffold doctor --install cpu")
    if not tests:
        return {}
    megatron = root / "3rdparty" / "Megatron-LM"
    path = [
        root / "src",
        *([megatron] if (megatron / "megatron").is_dir() else []),
        harness_dir() / "standins",
        LANE,
        ABSENT,
    ]
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "SCAFFOLD_UPSTREAM": json.dumps(dict(completing or {})),
    }
    plugin = ["-p", "upstream_configs"] if completing else []
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [
            lane.python,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-o",
            "addopts=",
            "--tb=short",
            *plugin,
        ]
        done = subprocess.run(
            [*map(str, command), f"--junitxml={report}", *tests],
            cwd=root,
            env=environ,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        if not report.is_file():
            raise EnvironmentLacks(f"pytest did not run: {(done.stdout + done.stderr)[-400:]}")
        return _read(report)


def _read(report: Path) -> dict[str, Outcome]:
    found = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        place = case.get("classname", "")
        module = re.sub(r"\.Test\w+$", "", place)
        name = "::".join(filter(None, (module, place[len(module) + 1 :], case.get("name", ""))))
        bad = next((case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None), None)
        if bad is not None:
            found[name] = Outcome("failed", _line(bad))
        elif case.find("skipped") is not None:
            found.setdefault(name, Outcome("skipped"))
        else:
            found.setdefault(name, Outcome("passed"))
    return found


def short(name: str) -> str:
    """`test_x::Class::test` of a test's whole name."""
    module, separator, rest = name.partition("::")
    return f"{module.rpartition('.')[2]}{separator}{rest}"


def module_of(path: str) -> str:
    """The module that a test file is to pytest."""
    return path.removesuffix(".py").replace("/", ".")


def _line(bad: ET.Element) -> str:
    """The assertion and what it found, in one line without this machine's paths."""
    told = [line[1:].strip() for line in (bad.text or "").splitlines() if line.startswith("E  ")]
    said = " | ".join(told[:2]) or (bad.get("message") or "").splitlines()[0]
    said = re.sub(r"<(\w[\w.]*)[^<>]* at 0x[0-9a-f]+>", r"<\1>", said)
    return re.sub(r"/\S*/", "", " ".join(said.split()))[:300]
