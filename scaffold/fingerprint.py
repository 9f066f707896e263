"""What a measurement depends on, as one hash: figures are reused only where it is equal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaffold_tools.jsonio import dumps
from scaffold_tools.paths import harness_dir

if TYPE_CHECKING:
    from scaffold_tools.verify.run import Integration


def fingerprint(
    config: dict[str, Any],
    integration: Integration,
    site_packages: Path | None,
    given: Mapping[str, Any] | None = None,
) -> str:
    """Hash of the config, the code under test, the checks themselves and the lane's packages.

    Args:
        config: config.json, raw.
        integration: what is verified; the Python files in its folder are under test, and what of the target is no
            package of the lane takes part.
        site_packages: of the lane; the names of its `.dist-info` folders carry the versions.
        given: what else decides which checks run, and on what: how the real checkpoint stores its weights, flags that
            other sizes have otherwise, whether processes of their own are asked for.
    """
    inputs = {"config": config, "integration": integration, "given": dict(given or {})}
    digest = hashlib.sha256(dumps(inputs).encode())
    for root in dict.fromkeys(filter(None, (integration.path, integration.framework, harness_dir()))):
        for path in _python_files(root):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    for name in sorted(path.name for path in site_packages.glob("*.dist-info")) if site_packages else ():
        digest.update(name.encode() + b"\0")
    return digest.hexdigest()


def _python_files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.py") if ".git" not in path.parts and path.is_file())
