"""What a measurement depends on, as one hash: figures are reused only where it is equal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scaffold_tools.jsonio import dumps
from scaffold_tools.paths import harness_dir


def fingerprint(config: dict[str, Any], roots: Iterable[Path], lane: Path, integration: dict[str, Any]) -> str:
    """Hash of the config, the code under test, the checks themselves and the lane's packages.

    Args:
        config: config.json, raw.
        roots: folders whose Python files are under test.
        lane: site-packages of the lane; the names of its `.dist-info` folders carry the versions.
        integration: what the verification was asked to load.
    """
    digest = hashlib.sha256(dumps({"config": config, "integration": integration}).encode())
    for root in (*roots, harness_dir()):
        for path in _python_files(root):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    for name in sorted(path.name for path in lane.glob("*.dist-info")):
        digest.update(name.encode() + b"\0")
    return digest.hexdigest()


def _python_files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.py") if ".git" not in path.parts and path.is_file())
