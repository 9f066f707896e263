"""Runs verification in a lane and returns what it measured."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scaffold_tools.blueprint.facts import Stored
from scaffold_tools.verify.evidence import Check, Evidence
from scaffold_tools.verify.jobs import USUAL_JOBS, Jobs
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.stored import coverage, stored_request


@dataclass(frozen=True)
class Integration:
    """What is verified, and how the target gets to know it."""

    kind: Literal["installed", "package", "checkout"]
    """installed: what the lane's target has. package: a module registers something. checkout: a tree of the target."""
    path: Path | None = None
    """The folder that goes first on the path: the one that holds the package, or the checkout."""
    module: str | None = None
    """The module whose import registers the integration (a checkout needs none)."""
    bridge: str | None = None
    """`module:Class` that AutoBridge has to pick; None: any class of the package or checkout."""
    jobs: Jobs = USUAL_JOBS
    """How it is measured: the target says it."""
    framework: Path | None = None
    """A checkout of the target, where no package of it can be installed; None: it is in the lane."""

    @classmethod
    def of(cls, value: Integration | Mapping[str, Any]) -> Integration:
        """From `{"kind", "path", "module", "bridge"}`, as the run folder stores it."""
        if isinstance(value, Integration):
            return value
        path = value.get("path")
        return cls(value["kind"], Path(path) if path else None, value.get("module"), value.get("bridge"))

    def as_request(self) -> dict[str, str | None]:
        """As jobs of the lane take it."""
        path = str(self.path.resolve()) if self.path else None
        framework = str(self.framework.resolve()) if self.framework else None
        told = {"kind": self.kind, "path": path, "module": self.module, "bridge": self.bridge}
        return told | {"framework": framework}

    def __post_init__(self) -> None:
        if self.kind != "installed" and self.path is None:
            raise ValueError(f"a {self.kind} integration needs a path")
        if self.kind == "package" and not self.module:
            raise ValueError("a package integration needs the module to import")


def verify_integration(
    lane: LaneSession,
    integration: Integration | Mapping[str, Any],
    *,
    config: dict[str, Any],
    architecture: str,
    workdir: Path | None = None,
    variants: Sequence[str] = ("a", "b", "square"),
    seed: int = 0,
    model_folder: Path | None = None,
    trust_remote_code: bool = False,
    timeout: float = 300,
    on_progress: Callable[[str], None] | None = None,
    command: str = "",
    stored: Stored | None = None,
    script: Path | None = None,
    own_scalars: bool = False,
    switched: Mapping[str, bool] | None = None,
) -> Evidence:
    """Verify an integration on toys of a model; a check that fails is a result, not an exception.

    Args:
        lane: where it runs.
        integration: what is verified (or the mapping of its fields).
        config: the model's raw config.json.
        architecture: the Hugging Face class, as the config's `architectures` names it.
        workdir: the toys are saved here, in `toy-<variant>`, and stay for whoever looks into a failure;
            a temporary folder when None.
        variants: toys: `a` and `b`, each with other sizes and canary values; `square`, whose sizes coincide.
        seed: of weights and tokens.
        model_folder: the model's own folder, for modeling code that is trusted.
        trust_remote_code: whether that code may run.
        timeout: seconds for all of it.
        on_progress: told in one line what runs.
        command: what repeats this verification; goes into the evidence.
        stored: how the real checkpoint stores its weights; None where they are not quantised.
        script: the generated script that writes an unquantised copy, where there is one.
        own_scalars: toys keep the model's own scalars; that shows what a mistake means for them, and proves nothing.
        switched: flags that other sizes of the family have the other way round: one more toy has them so.

    Raises:
        LaneJobFailed: the job itself broke (a package that does not import, a crash, a timeout).
        EnvironmentLacks: the lane is missing.
    """
    if workdir is None:
        with tempfile.TemporaryDirectory(prefix="scaffold-verify-") as scratch:
            return verify_integration(
                lane,
                integration,
                config=config,
                architecture=architecture,
                workdir=Path(scratch),
                variants=variants,
                seed=seed,
                model_folder=model_folder,
                trust_remote_code=trust_remote_code,
                timeout=timeout,
                on_progress=on_progress,
                command=command,
                stored=stored,
                script=script,
                own_scalars=own_scalars,
                switched=switched,
            )
    integration = Integration.of(integration)
    started = time.monotonic()
    request = {
        "integration": integration.as_request(),
        "config": config,
        "architecture": architecture,
        "variants": list(variants),
        "seed": seed,
        "workdir": str(workdir.resolve()),
        "model_folder": str(model_folder.resolve()) if model_folder else None,
        "trust_remote_code": trust_remote_code,
        "stored": stored_request(stored, config),
        "own_scalars": own_scalars,
        "switched": dict(switched or {}),
        "script": str(script.resolve()) if script is not None and script.is_file() else None,
    }
    answer = lane.call(integration.jobs.verify, request, timeout=timeout, on_progress=on_progress)
    return Evidence(
        lane="cpu",
        bridge=answer["bridge"],
        replaced=answer["replaced"],
        checks=(*(Check(**check) for check in answer["checks"]), *coverage(stored)),
        environment=answer["environment"],
        seconds=round(time.monotonic() - started, 3),
        command=command,
    )
