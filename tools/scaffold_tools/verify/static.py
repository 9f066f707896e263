"""An integration held against a checkpoint of full size: names, shapes and layouts, without a single weight."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scaffold_tools.errors import BadInput
from scaffold_tools.source.inventory import TensorTable
from scaffold_tools.verify.evidence import Check
from scaffold_tools.verify.lane import LaneJobFailed, LaneSession
from scaffold_tools.verify.run import Integration


@dataclass(frozen=True)
class Layout:
    """How a model is split over processes."""

    tp: int = 1
    """Tensor parallel."""
    pp: int = 1
    """Pipeline parallel."""
    ep: int = 1
    """Expert parallel."""
    cp: int = 1
    """Context parallel."""
    vpp: int = 1
    """Chunks of layers a stage has; they and context parallel say nothing at full size."""
    sp: bool = False
    """Sequence parallel; says nothing at full size."""
    asked: bool = True
    """False: said where it is possible, and left out where the model's own numbers (heads, experts) forbid it."""

    def check(self) -> None:
        """Raises BadInput for sizes that exclude each other."""
        if self.vpp > 1 and self.pp == 1:
            raise BadInput("--vpp is chunks of each stage of a pipeline", hint="give --pp 2 with it")
        if self.sp and self.tp == 1:
            raise BadInput("--sp splits what --tp leaves whole", hint="give --tp 2 with it")


USUAL_LAYOUTS = (
    Layout(tp=2, asked=False),
    Layout(pp=2, asked=False),
    Layout(ep=2, asked=False),
    Layout(tp=8, pp=4, asked=False),
    Layout(tp=4, pp=2, ep=8, asked=False),
)
"""What is looked at unasked: each way of splitting alone, and two usual ones of large models."""


def build_failed(error: LaneJobFailed) -> Check:
    """The check of a model of full size that could not even be built."""
    return Check("static.build", "error", detail=error.what, toy="full-size")


def verify_static(
    lane: LaneSession,
    integration: Integration,
    *,
    config: dict[str, Any],
    architecture: str,
    tensors: TensorTable,
    layouts: Sequence[Layout] = (),
    timeout: float = 300,
    on_progress: Callable[[str], None] | None = None,
) -> tuple[Check, ...]:
    """Build the Megatron model of full size on the meta device and map every parameter.

    Args:
        lane: where it runs.
        integration: what is checked.
        config: the model's raw config.json; a `quantization_config` in it must describe `tensors`.
        architecture: the Hugging Face class.
        tensors: the checkpoint's own table.
        layouts: splits that have to be possible.
        timeout: seconds.
        on_progress: told in one line what runs.

    Raises:
        LaneJobFailed: the job itself broke (the provider does not build).
        EnvironmentLacks: the lane is missing.
    """
    with tempfile.TemporaryDirectory(prefix="scaffold-static-") as scratch:
        request = {
            "integration": integration.as_request(),
            "config": config,
            "architecture": architecture,
            "tensors": [{"name": one.name, "dtype": one.dtype, "shape": list(one.shape)} for one in tensors.tensors],
            "derived": tensors.origin != "headers",
            "layouts": [vars(layout) for layout in layouts],
            "workdir": scratch,
        }
        answer = lane.call(integration.jobs.static, request, timeout=timeout, on_progress=on_progress)
    return tuple(Check(**check) for check in answer["checks"])
