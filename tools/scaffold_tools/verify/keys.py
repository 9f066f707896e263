"""Whether an integration follows the config: keys that the Hugging Face code reads get other values."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaffold_tools.verify.evidence import Check
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.run import Integration


@dataclass(frozen=True)
class Keys:
    """What became of each key."""

    checks: tuple[Check, ...]
    """`config.keys`."""
    keys: dict[str, str]
    """`follows`, `ignored`, `differs`, `refused` by the integration; `still` moves nothing, `tensors` changes them."""


def verify_keys(
    lane: LaneSession,
    integration: Integration,
    *,
    config: dict[str, Any],
    architecture: str,
    model_folder: Path | None = None,
    trust_remote_code: bool = False,
    timeout: float = 600,
    on_progress: Callable[[str], None] | None = None,
) -> Keys:
    """Change the keys of one toy and compare both models each time.

    Args:
        lane: where it runs.
        integration: what is asked.
        config: the model's raw config.json.
        architecture: the Hugging Face class.
        model_folder: the model's own folder, for modeling code that is trusted.
        trust_remote_code: whether that code may run.
        timeout: seconds for all of it.
        on_progress: told in one line what runs.

    Raises:
        LaneJobFailed: the toy does not build as it is.
        EnvironmentLacks: the lane is missing.
    """
    with tempfile.TemporaryDirectory(prefix="scaffold-keys-") as scratch:
        request = {
            "integration": integration.as_request(),
            "config": config,
            "architecture": architecture,
            "variants": ["a"],
            "workdir": scratch,
            "model_folder": str(model_folder.resolve()) if model_folder else None,
            "trust_remote_code": trust_remote_code,
        }
        answer = lane.call("keys", request, timeout=timeout, on_progress=on_progress)
    return Keys(tuple(Check(**check) for check in answer["checks"]), answer["keys"])
