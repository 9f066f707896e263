"""The job that holds an integration against a checkpoint of full size, without a single weight.

The Megatron model is built on the meta device with every layer and expert; each of its parameters asks its mapping for
the tensors of the checkpoint's own table, as meta tensors, through the bridge's own loading hook.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import progress
import torch
from checks.measured import Checks, Clock, names
from echo import versions
from mcore.build import prepare_process
from mcore.integration import class_name, expected, register
from mcore.no_cuda import OnCpu, OnMeta, neutralise
from mcore.providers import apply_overrides

from verify import preload

__all__ = ["preload", "run"]

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Names of safetensors; what is missing here counts as U8."""
PREDICTION_LAYERS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")
NUMBER = re.compile(r"\d+")


class _Table(Mapping[str, torch.Tensor]):
    """The checkpoint's tensors on the meta device; counts who is asked for."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = {row["name"]: (DTYPES.get(row["dtype"], torch.uint8), tuple(row["shape"])) for row in rows}
        self.reads: Counter[str] = Counter()

    def __getitem__(self, name: str) -> torch.Tensor:
        dtype, shape = self.rows[name]
        self.reads[name] += 1
        return torch.empty(shape, dtype=dtype, device="meta")

    def __contains__(self, name: object) -> bool:
        return name in self.rows  # looking is not reading

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.rows[name][1]


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Check names, shapes and layouts.

    Args:
        request: `integration`, `config` (raw, of full size), `architecture`, `tensors` (rows of name, dtype, shape),
            `derived` (the table is what transformers would save, which knows no prediction layers), `layouts` (each
            `{"tp", "pp", "ep", "asked"}`), `workdir`.

    Returns:
        `bridge`, `checks`, `environment`, `parameters` (how many, and how many numbers they hold).
    """
    neutralise()
    prepare_process(Path(request["workdir"]))
    register(request["integration"], request["architecture"])
    checks = Checks("full-size")
    progress.say("building on the meta device")
    clock = Clock()
    bridge, provider, model = _build(request)
    right, wanted = expected(request["integration"], type(bridge))
    checks.add("static.build", right, value=class_name(type(bridge)), threshold=wanted, seconds=clock.lap())
    progress.say("mapping every parameter")
    table = _Table(request["tensors"])
    found = _map(bridge, model, table)
    total = len(found.parameters)
    detail = f"no mapping: {names(found.unmapped)}" if found.unmapped else ""
    mapped = f"{total - len(found.unmapped)}/{total}"
    checks.add(
        "static.produced", not found.unmapped, value=mapped, threshold="all", detail=detail, seconds=clock.lap()
    )
    unread = set(table) - set(table.reads) - _tied(request["config"], model, table)
    twice = {name for name, count in table.reads.items() if count > 1} - found.shared
    problems = {"never read": unread, "read more than once": twice}
    detail = "; ".join(f"{kind}: {names(bad)}" for kind, bad in problems.items() if bad)
    read = f"{len(table) - len(unread)}/{len(table)}"
    checks.add("static.consumed", not detail, value=read, threshold="all, once", detail=detail)
    detail = "; ".join(found.problems[:6])
    checks.add("static.shapes", not found.problems, value=len(found.problems), threshold=0, detail=detail)
    for layout in request.get("layouts") or []:
        _layout(provider, found.parameters, layout, checks)
    numbers = sum(parameter.numel() for parameter in found.parameters.values())
    return {
        "bridge": class_name(type(bridge)),
        "checks": checks.done,
        "parameters": {"count": total, "numbers": numbers},
        "environment": versions(),
    }


def _build(request: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The bridge that is picked, its provider, and the model without storage."""
    from megatron.bridge import AutoBridge
    from megatron.core.process_groups_config import ProcessGroupCollection
    from toys.toy import load_config

    config = request["config"]
    if request.get("derived"):
        config = config | {key: 0 for key in PREDICTION_LAYERS if config.get(key)}
    hf_config = load_config(config)
    hf_config.architectures = [request["architecture"]]
    auto_bridge = AutoBridge.from_hf_config(hf_config)
    provider = auto_bridge.to_megatron_provider(load_weights=False)
    apply_overrides(provider)
    provider.perform_initialization = False
    provider._pg_collection = ProcessGroupCollection.use_mpu_process_groups()
    with OnCpu():
        provider.finalize()
    with torch.device("meta"), OnMeta():
        model = provider.provide()
    return auto_bridge._model_bridge, provider, model


@dataclass
class _Found:
    """What mapping every parameter showed."""

    parameters: dict[str, torch.Tensor] = field(default_factory=dict)
    unmapped: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    shared: set[str] = field(default_factory=set)
    """Tensors that hold what several parameters take a share of: stacked experts."""


def _map(bridge: Any, model: Any, table: _Table) -> _Found:
    found, registry, modules = _Found(), bridge.mapping_registry(), dict(model.named_modules())
    shapes = _Shapes(bridge, table)
    persistent = set(model.state_dict(keep_vars=True))
    buffers = ((name, buffer) for name, buffer in model.named_buffers() if name in persistent)
    for name, parameter in (*model.named_parameters(), *buffers):
        if not parameter.is_floating_point():
            continue
        found.parameters[name] = parameter
        mapping = registry.megatron_to_hf_lookup(name)
        if mapping is None:
            found.unmapped.append(name)
            continue
        problem = shapes.problem(mapping, parameter, modules[name.rpartition(".")[0]])
        if problem:
            found.problems.append(f"{name}: {problem}")
        numbers = len(NUMBER.findall(name.replace("fc1", "").replace("fc2", "")))
        found.shared |= {source for source in _sources(mapping) if numbers > len(NUMBER.findall(source))}
    return found


def _sources(mapping: Any) -> list[str]:
    """Tensors of the checkpoint that a mapping reads."""
    return list(mapping.hf_param.values()) if isinstance(mapping.hf_param, dict) else [mapping.hf_param]


@dataclass
class _Shapes:
    """Shapes after mapping; each kind of mapping is tried once."""

    bridge: Any
    table: _Table
    tried: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def problem(self, mapping: Any, parameter: torch.Tensor, module: Any) -> str:
        """What is wrong with the shape of this parameter; "" where nothing is."""
        sources = _sources(mapping)
        shapes = tuple(self.table.shape(source) for source in sources if source in self.table)
        kind = (type(mapping), NUMBER.sub("*", mapping.megatron_param), shapes, tuple(parameter.shape))
        if kind not in self.tried:
            self.tried[kind] = self._try(mapping, parameter, module)
        else:
            for source in sources:
                self.table.reads[source] += source in self.table
        return self.tried[kind]

    def _try(self, mapping: Any, parameter: torch.Tensor, module: Any) -> str:
        try:
            with OnMeta():
                weights = self.bridge.maybe_modify_loaded_hf_weight(mapping.hf_param, self.table)
                made = mapping.hf_to_megatron(weights, module)
        except KeyError as error:
            return f"not in the checkpoint: {error.args[0]}"
        except Exception as error:
            return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        if made is not None and tuple(made.shape) != tuple(parameter.shape):
            return f"{tuple(made.shape)} after mapping, {tuple(parameter.shape)} wanted"
        return ""


def _tied(config: dict[str, Any], model: Any, table: _Table) -> set[str]:
    """An output matrix that the checkpoint repeats though the model ties it."""
    if not getattr(model, "share_embeddings_and_output_weights", False):
        return set()
    return {name for name in table if name.endswith("lm_head.weight")}


def _layout(provider: Any, parameters: dict[str, torch.Tensor], layout: dict[str, Any], checks: Checks) -> None:
    """Whether the model can be split so: records `static.layout`, unless unasked and the model's numbers forbid it."""
    tp, pp, ep = (int(layout.get(key, 1)) for key in ("tp", "pp", "ep"))
    heads, groups = provider.num_attention_heads, provider.num_query_groups or provider.num_attention_heads
    experts = provider.num_moe_experts or 0
    rules = (
        (heads % tp, f"{heads} heads"),
        (groups % tp and tp % groups, f"{groups} query groups"),
        (experts % ep or (ep > 1 and not experts), f"{experts} experts"),
        (pp > provider.num_layers, f"{provider.num_layers} layers"),
    )
    wrong = [words for bad, words in rules if bad]
    if wrong and not layout.get("asked", True):
        return
    for name, parameter in parameters.items():
        if getattr(parameter, "tensor_model_parallel", False) and tp > 1:
            axis = getattr(parameter, "partition_dim", 0)
            if parameter.shape[axis] % tp and "word_embeddings" not in name and "output_layer" not in name:
                wrong.append(f"{NUMBER.sub('*', name)} has {parameter.shape[axis]} on axis {axis}")
    checks.add(
        "static.layout",
        not wrong,
        value=f"tp{tp} pp{pp} ep{ep}",
        detail=f"cannot be split: {names(set(wrong))}" if wrong else "",
    )
