"""The job that holds a template of ROLL against a checkpoint of full size, without a single weight.

The model is built on the meta device with every layer and expert; the tensors of the checkpoint's own table go through
the template and the rules of distribution as meta tensors, by ROLL's own code.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import progress
import torch
from checks.measured import Checks, Clock, names
from echo import versions
from mca.checkout import Registered, loaded_type, register, use_checkout
from mca.load import settings
from mcore.build import prepare_process
from mcore.no_cuda import OnMeta, neutralise
from ranks.layouts import Layout, Numbers, hindrance
from static import DTYPES, PREDICTION_LAYERS
from verify_roll import preload

__all__ = ["preload", "run"]

NUMBER = re.compile(r"\d+")


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Check names, shapes and layouts.

    Args:
        request: as for the job `static`; `integration` also has `framework`.

    Returns:
        As of the job `static`.
    """
    neutralise()
    workdir = Path(request["workdir"])
    use_checkout(request["integration"], workdir)
    registered = register(request["integration"], loaded_type(request["config"]))
    prepare_process(workdir)
    checks, clock = Checks("full-size"), Clock()
    progress.say("building on the meta device")
    model = _build(request, workdir)
    checks.add("static.build", registered.whole, value=_value(registered), threshold="all four", seconds=clock.lap())
    progress.say("converting every tensor")
    wanted = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("_extra_state")}
    found = _convert(request["tensors"], model.config, set(wanted))
    total = len(wanted)
    unfilled = wanted.keys() - found.made.keys() - _shared(model, wanted)
    detail = f"nothing makes: {names(unfilled)}" if unfilled else ""
    value = f"{total - len(unfilled)}/{total}"
    checks.add("static.produced", not unfilled, value=value, threshold="all", detail=detail, seconds=clock.lap())
    unread, table = found.unread(), len(request["tensors"])
    detail = "; ".join(f"{kind}: {names(bad)}" for kind, bad in found.left.items() if bad)
    checks.add(
        "static.consumed", not unread, value=f"{table - len(unread)}/{table}", threshold="all, once", detail=detail
    )
    wrong = [
        f"{name}: {tuple(shape)} after conversion, {tuple(wanted[name].shape)} wanted"
        for name, shape in found.made.items()
        if name in wanted and tuple(shape) != tuple(wanted[name].shape)
    ]
    problems = [*wrong, *found.problems]
    checks.add("static.shapes", not problems, value=len(problems), threshold=0, detail="; ".join(problems[:6]))
    for layout in request.get("layouts") or []:
        sizes = Layout(**{key: int(layout.get(key, 1)) for key in ("tp", "pp", "ep", "cp", "vpp")})
        sizes = replace(sizes, sp=sizes.tp > 1)  # mcore_adapter turns it on where experts need it
        _layout(model, sizes, bool(layout.get("asked", True)), checks)
    numbers = sum(parameter.numel() for parameter in wanted.values())
    return {
        "bridge": registered.name,
        "checks": checks.done,
        "parameters": {"count": total, "numbers": numbers},
        "environment": versions(),
    }


def _value(registered: Registered) -> str:
    return registered.name + (f"; never called: {', '.join(registered.missing)}" if registered.missing else "")


def _build(request: dict[str, Any], workdir: Path) -> Any:
    """The model without storage, from the config as it lies beside the checkpoint."""
    from mcore_adapter.models.auto.config_auto import AutoConfig
    from mcore_adapter.models.auto.modeling_auto import get_model_cls

    config = request["config"]
    if request.get("derived"):
        config = config | {key: 0 for key in PREDICTION_LAYERS if config.get(key)}
    ahead = next((config[key] for key in PREDICTION_LAYERS if config.get(key)), 0)
    config = {key: value for key, value in config.items() if key not in ("auto_map", "quantization_config")}
    folder = workdir / "full-size"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config | {"architectures": [request["architecture"]]}))
    mca_config = AutoConfig.from_pretrained(str(folder), settings(mtp_num_layers=ahead))
    mca_config.perform_initialization, mca_config.init_model_with_meta_device = False, True
    with torch.device("meta"), OnMeta():
        return get_model_cls(loaded_type(config))(mca_config)


@dataclass
class _Converted:
    """What came of the tensors of the checkpoint."""

    made: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Shapes by name in the model."""
    left: dict[str, set[str]] = field(default_factory=dict)
    """Tensors that nothing came of, by reason."""
    problems: list[str] = field(default_factory=list)

    def unread(self) -> set[str]:
        return set().union(*self.left.values())


def _convert(rows: list[dict[str, Any]], config: Any, wanted: set[str]) -> _Converted:
    from mcore_adapter.models.converter.model_converter import ModelConverter

    converter, found = ModelConverter(config), _Converted()
    template = converter.template
    for row in rows:
        name = row["name"]
        tensor = torch.empty(row["shape"], dtype=DTYPES.get(row["dtype"], torch.uint8), device="meta")
        try:
            if not converter.is_needed_hf_name(name, vp_stage=0):
                found.left.setdefault("declared of no use", set()).add(name)
                continue
            for mca_name, weight in (template.add_hf_weight(name, tensor) or {}).items():
                made = converter.dist_converter.dist_convert(mca_name, weight, vp_stage=0) or {}
                found.made |= {one: tuple(part.shape) for one, part in made.items()}
                if stray := [one for one in made if one not in wanted and not one.endswith("output_layer.weight")]:
                    found.left.setdefault(f"for {names(stray)}, which is not there", set()).add(name)
        except Exception as error:
            found.problems.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:160]}")
    waiting = template.prefix_name_to_weight.items()
    stuck = {prefix + name for prefix, parts in waiting for name in parts}
    if stuck:
        found.left["waits for others of its kind"] = stuck
    template.release()
    return found


def _shared(model: Any, wanted: dict[str, torch.Tensor]) -> set[str]:
    """The output matrix that is the embedding."""
    if not getattr(model, "share_embeddings_and_output_weights", False):
        return set()
    return {name for name in wanted if name.endswith("output_layer.weight")}


def _layout(model: Any, layout: Layout, asked: bool, checks: Checks) -> None:
    """Whether the model can be split so: records `static.layout`, unless unasked and the model's numbers forbid it."""
    config = model.config
    heads, layers = config.num_attention_heads, config.num_layers
    numbers = Numbers(heads, config.num_query_groups or heads, config.num_moe_experts or 0, layers)
    chunks = layout.pp * layout.vpp
    uneven = f"{layers} layers over {chunks} stages of the same length" if layers % chunks else ""
    wrong = [why for why in (hindrance(layout, numbers), uneven) if why]
    if wrong and not asked:
        return
    for name, parameter in model.named_parameters():
        if getattr(parameter, "tensor_model_parallel", False) and layout.tp > 1:
            axis = getattr(parameter, "partition_dim", 0)
            if parameter.shape[axis] % layout.tp:
                wrong.append(f"{NUMBER.sub('*', name)} has {parameter.shape[axis]} on axis {axis}")
    detail = f"cannot be split: {names(set(wrong))}" if wrong else ""
    value = f"tp{layout.tp} pp{layout.pp} ep{layout.ep}"
    checks.add("static.layout", not wrong, value=value, detail=detail)
