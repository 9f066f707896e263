"""Loads a model as ROLL's trainers do, `AutoModel.from_pretrained`, and watches what becomes of every tensor."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mcore.build import fill_with_nan
from mcore.no_cuda import OnCpu

ABSENT = "not exists in hf_config"
"""What ROLL says of a key that the config does not have: it is for another version, or a slip."""

TELLING = ("mcore_adapter.models.converter", "mcore_adapter.models.auto")
"""Modules whose warnings are about this model's weights and registrations."""


@dataclass
class Seen:
    """What happened while a model was loaded or saved."""

    built: bool = False
    count: int = 0
    """Parameters and buffers that were made NaN before the import; 0 where it did not come so far."""
    read: set[str] = field(default_factory=set)
    """Tensors of the checkpoint that the template was given."""
    asked: dict[str, set[str]] = field(default_factory=dict)
    """Names, without prefixes, for which a converter was looked for: `hf` and `mca`."""
    left: tuple[str, ...] = ()
    """Tensors that a converter still waits to have the others of."""
    missing: tuple[str, ...] = ()
    """Parameters that nothing was loaded into."""
    unexpected: tuple[str, ...] = ()
    """What was loaded for parameters that the model does not have."""
    warned: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    """Keys that the config does not have."""


@dataclass
class Loaded:
    """A model in mcore_adapter."""

    models: Any
    """`VirtualModels`."""
    template: Any
    seen: Seen

    @property
    def model(self) -> Any:
        """The only chunk, in eval mode."""
        return self.models.models[0]

    @property
    def config(self) -> Any:
        """`McaModelConfig`, or a class derived from it."""
        return self.model.config


def settings(**changes: Any) -> Any:
    """ROLL's training arguments for a CPU in fp32; all else is as a user who says nothing has it."""
    from mcore_adapter.training_args import TrainingArguments

    return TrainingArguments(output_dir="unused", bf16=False, use_cpu=True, report_to=[], **changes)


def load(folder: Path, model_type: str, seen: Seen, **changes: Any) -> Loaded:
    """Build the model, make it NaN, and import the checkpoint.

    Args:
        folder: a saved Hugging Face model.
        model_type: of its config.
        seen: filled as it goes, so that it is there when something raises, too.
        changes: training arguments, such as `tensor_model_parallel_size`.

    Raises:
        Exception: whatever mcore_adapter raises; `seen.built` tells whether the model was there by then.
    """
    from mcore_adapter.models import AutoModel
    from mcore_adapter.models.converter import template as registry

    template = registry.templates[model_type]
    with watched(template, seen), OnCpu():
        models = AutoModel.from_pretrained(str(folder), settings(**changes), use_cpu_initialization=True)
    models.eval()
    return Loaded(models, template, seen)


@contextmanager
def fresh(model_type: str) -> Iterator[None]:
    """The template as it was registered: its operations keep sizes of the model that they first saw."""
    from mcore_adapter.models.converter import template as registry

    kept = registry.templates[model_type]
    registry.templates[model_type] = copy.deepcopy(kept)
    try:
        yield
    finally:
        registry.templates[model_type] = kept


@contextmanager
def watched(template: Any, seen: Seen) -> Iterator[None]:
    """Records what a template is given and asked for, and what a model is loaded with."""
    from mcore_adapter.models.model_factory import VirtualModels

    given, released, sought = template.add_hf_weight, template.release, template.get_conver_op
    into, make = VirtualModels.load_state_dict, VirtualModels.__init__

    def add_hf_weight(name: str, weight: torch.Tensor) -> Any:
        seen.read.add(name)
        return given(name, weight)

    def release() -> None:
        seen.left = tuple(
            prefix + name for prefix, waiting in template.prefix_name_to_weight.items() for name in waiting
        )
        released()

    def get_conver_op(name: str, table: dict[str, Any]) -> Any:
        side = "hf" if table is template.hf_name_to_converter else "mca"
        seen.asked.setdefault(side, set()).add(name)
        return sought(name, table)

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        seen.built = True
        # Now and not later: what is read from a distributed checkpoint lies in the parameters before it is loaded.
        seen.count = sum(fill_with_nan(model) for model in self.models)

    def load_state_dict(self: Any, state: Any, strict: bool = True) -> Any:
        missing, unexpected = into(self, state, strict=False)
        seen.missing = tuple(name for name in missing if not name.endswith("._extra_state"))
        seen.unexpected = tuple(unexpected)
        return missing, unexpected

    template.add_hf_weight, template.release, template.get_conver_op = add_hf_weight, release, get_conver_op
    VirtualModels.load_state_dict, VirtualModels.__init__ = load_state_dict, init
    try:
        with _warnings(seen):
            yield
    finally:
        VirtualModels.load_state_dict, VirtualModels.__init__ = into, make
        for name in ("add_hf_weight", "release", "get_conver_op"):
            delattr(template, name)


@contextmanager
def _warnings(seen: Seen) -> Iterator[None]:
    """What the converters and registries warn of; the rest of mcore_adapter speaks of training."""

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = " ".join(record.getMessage().split())[:300]
            (seen.absent if ABSENT in text else seen.warned).append(text)

    logger, collector = logging.getLogger("mcore_adapter.models"), Collector(logging.WARNING)
    collector.addFilter(lambda record: record.name.startswith(TELLING))
    logger.addHandler(collector)
    try:
        yield
    finally:
        logger.removeHandler(collector)
