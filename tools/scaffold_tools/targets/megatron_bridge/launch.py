"""Launch scripts of functional tests: CI runs what a script names, so a test that none names never runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from scaffold_tools.targets.megatron_bridge.naming import Names

NewFile = tuple[str, str, str, dict[str, Any]]
"""(path, template, summary, context)."""

_TESTS = "tests/functional_tests"
_GROUP = f"{_TESTS}/test_groups/models"
_LEVEL = "L2"
"""The level of upstream's scripts for most families of models: not a gate of every commit."""


def launch_files(names: Names, words: dict[str, Any], *, root: Path) -> list[NewFile]:
    """One script for each hardware whose scripts do not launch this model's conversion test yet."""
    test = f"{_GROUP}/{names.family}/test_{names.stem}_conversion.py"
    rows: list[NewFile] = []
    for folder in _folders(root):
        path = f"{folder}/{_LEVEL}_Launch_models_{names.stem}.sh"
        others = [one for one in (root / folder).glob("*.sh") if one.name != Path(path).name]
        texts = [one.read_text("utf-8", "replace") for one in others]
        if any(_launches(text, test) for text in texts):
            continue
        shared = any(f"{_GROUP}/{names.family}/" in text for text in texts)
        told = {
            **words,
            "way_up": "/".join([".."] * (folder.count("/") + 1)),
            "launched": test if shared else f"{_GROUP}/{names.family}",
        }
        rows.append((path, "checkout/launch/models.sh.j2", "launches the conversion test", told))
    return rows


def _folders(root: Path) -> list[str]:
    """Where active scripts are: by hardware, or all in one folder; none in a checkout without such scripts."""
    by_hardware = sorted((root / _TESTS / "launch_scripts").glob("*/active"))
    found = by_hardware or [root / _TESTS]
    return [path.relative_to(root).as_posix() for path in found if any(path.glob("L[0-9]_Launch_*.sh"))]


def _launches(text: str, test: str) -> bool:
    """Whether a script names the test or the folder that it is in."""
    folder = test.rsplit("/", 1)[0]
    return any(re.search(rf"(?m)(^|\s){re.escape(name)}/?(\s|$)", text) for name in (test, folder))
