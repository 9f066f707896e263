"""What a measurement depends on, as one hash: figures are reused only where it is equal."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaffold_tools.jsonio import dumps
from scaffold_tools.paths import harness_dir

if TYPE_CHECKING:
    from scaffold_tools.blueprint.facts import Stored
    from scaffold_tools.verify.run import Integration


def fingerprint(
    config: dict[str, Any], integration: Integration, site_packages: Path | None, stored: Stored | None = None
) -> str:
    """Hash of the config, the code under test, the checks themselves and the lane's packages.

    Args:
        config: config.json, raw.
        integration: what is verified; the Python files in its folder are under test, and what of the target is no
            package of the lane takes part.
        site_packages: of the lane; the names of its `.dist-info` folders carry the versions.
        stored: how the real checkpoint stores its weights, which headers tell and not the config alone.
    """
    inputs = {"config": config, "integration": integration, **({} if stored is None else {"stored": stored})}
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
