"""A toy in mcore_adapter, for what every target's processes do: written and read again, trained, held against one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from checks.logits import FUSIONS
from checks.weights import load_saved
from mcore.no_cuda import OnCpu
from ranks.layouts import Layout
from ranks.part import Part
from ranks.subject import Subject

from mca.limits import limit_of
from mca.load import Seen, load

UNFUSED = ("cross_entropy_loss_fusion", *FUSIONS)
"""As `split` of the first target has it: the first rounds what flows back, others work in place."""


def training_arguments(layout: Layout) -> dict[str, Any]:
    """What ROLL is told of a layout."""
    return {
        "tensor_model_parallel_size": layout.tp,
        "pipeline_model_parallel_size": layout.pp,
        "virtual_pipeline_model_parallel_size": layout.vpp if layout.vpp > 1 else None,
        "context_parallel_size": layout.cp,
        "expert_model_parallel_size": layout.ep,
        "expert_tensor_parallel_size": layout.tp_of_experts,
        "sequence_parallel": layout.sp,
    }


@dataclass
class Adapter:
    """mcore_adapter's ways in and out, under the names that AutoBridge has for them."""

    model_type: str
    layout: Layout
    models: Any = None
    """`VirtualModels`; None before anything was loaded."""

    def load(self, folder: Path) -> list[Any]:
        """A Hugging Face model or a checkpoint of ROLL's own, wrapped as ROLL's trainer wraps a model."""
        from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig

        self.models = load(folder, self.model_type, Seen(), **training_arguments(self.layout)).models
        for part in (part for model in self.models.models for part in model.modules() if hasattr(part, "config")):
            for name in UNFUSED:
                if getattr(part.config, name, None):
                    setattr(part.config, name, False)
        settings = DistributedDataParallelConfig(use_distributed_optimizer=False, overlap_grad_reduce=False)
        for model in self.models.models:
            model.compute_language_model_loss = partial(_loss_of_a_copy, model.compute_language_model_loss)
        with OnCpu():
            chunks = [DistributedDataParallel(self.models.config, settings, model) for model in self.models.models]
        return [chunk.eval() for chunk in chunks]

    def export_hf_weights(self, chunks: list[Any], **options: Any) -> Iterator[tuple[str, torch.Tensor]]:
        """Names and tensors of `save_pretrained_as_hf`."""
        with tempfile.TemporaryDirectory(prefix="scaffold-export-") as folder:
            self.models.save_pretrained_as_hf(folder)
            yield from load_saved(Path(folder)).items()

    def save_megatron_model(self, chunks: list[Any], folder: str) -> None:
        """`save_pretrained`, in ROLL's usual format; where several processes write, in the other one."""
        form = "legacy" if self.layout.processes == 1 else "torch_dist"
        self.models.save_pretrained(folder, ckpt_format=form)

    def load_megatron_model(self, folder: str) -> list[Any]:
        """What `save_pretrained` wrote, on one process."""
        return self.load(Path(folder))


def _loss_of_a_copy(loss: Callable[..., torch.Tensor], labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """The loss of logits that it may write over: of bfloat16 it makes a copy itself, and ROLL's hook makes none."""
    return loss(labels, logits.clone())


@dataclass(frozen=True)
class RollSubject(Subject):
    """A toy whose model type is registered with mcore_adapter."""

    model_type: str = ""

    def bridge(self) -> Adapter:
        """One that has loaded nothing."""
        return Adapter(self.model_type, Layout())

    def named_limit(self, message: str) -> str:
        """What ROLL's own code does not do."""
        return limit_of(message)

    def part(self, layout: Layout, say_import: Callable[[], None]) -> Part:
        """One rank's part of the model, loaded from the toy."""
        say_import()  # ROLL builds and imports in one call
        adapter = Adapter(self.model_type, layout)
        return Part(adapter.load(self.folder), adapter.models.config, layout, adapter)
