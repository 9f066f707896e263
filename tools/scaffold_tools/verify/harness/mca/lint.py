"""What can be wrong in a template without any number being off: fields, rules of distribution, converters."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from checks.measured import Checks, names

if TYPE_CHECKING:
    from mca.load import Loaded


def lint(loaded: Loaded, checks: Checks) -> None:
    """Records `lint.fields`, `lint.distribution` and `lint.converters`, after an import and an export were seen."""
    fields = unknown_fields(loaded.template, type(loaded.config))
    told = len(set(loaded.template.config_hf_to_mca.values()) | set(loaded.template.constant_mca_config))
    detail = f"no field of {type(loaded.config).__name__}: {names(fields)}" if fields else ""
    checks.add("lint.fields", not fields, value=f"{told - len(fields)}/{told}", threshold="all", detail=detail)
    from mcore_adapter.models.converter.dist_converter import DistConverter

    wrong, total = undistributed(loaded, DistConverter(loaded.config, revert=True), declared_axes(loaded.model))
    checks.add(
        "lint.distribution",
        not wrong,
        value=f"{total - len(wrong)}/{total}",
        threshold="all",
        detail="; ".join(wrong[:6]),
    )
    problems, idle, total = misconverted(loaded)
    rest = f"{idle} operations are for tensors that this model has not" if idle else ""
    checks.add(
        "lint.converters",
        not problems,
        value=f"{total - len(problems)}/{total}",
        threshold="all",
        detail="; ".join(problems[:6]) or rest,
    )


def unknown_fields(template: Any, config_class: type) -> set[str]:
    """Names that a template would set and the config class does not have.

    A key that the Hugging Face config lacks is never looked at, so such a slip stays until somebody's config has it.
    """
    known = {one.name for one in dataclasses.fields(config_class)}
    return (set(template.config_hf_to_mca.values()) | set(template.constant_mca_config)) - known


@dataclass(frozen=True)
class Rule:
    """One way to share a parameter out, in the order in which ROLL looks for them."""

    words: str
    names: Callable[[Any], Any]
    axis: int | None
    """Which axis is split; None: every rank has all of it."""
    applies: Callable[[Any], bool] = lambda config: True


RULES: tuple[Rule, ...] = (
    Rule(
        "grouped, whole", lambda rules: rules.grouped_duplicated_weights, None, lambda config: config.moe_grouped_gemm
    ),
    Rule("grouped, by columns", lambda rules: rules.grouped_column_weights, 0, lambda config: config.moe_grouped_gemm),
    Rule("grouped, by rows", lambda rules: rules.grouped_row_weights, 1, lambda config: config.moe_grouped_gemm),
    Rule("gate and up", lambda rules: rules.swiglu_weights, 0, lambda config: config.swiglu),
    Rule("gated delta net", lambda rules: rules.gdn_weights, 0),
    Rule("whole", lambda rules: rules.duplicated_weights, None),
    Rule("by columns", lambda rules: rules.column_parallel_weights, 0),
    Rule("by rows", lambda rules: rules.row_parallel_weights, 1),
)


def undistributed(loaded: Loaded, converter: Any, declared: Mapping[str, int]) -> tuple[list[str], int]:
    """What is wrong with the rules of this model's parameters, and how many parameters there are.

    Args:
        loaded: the model.
        converter: ROLL's `DistConverter` for its config, on the way back.
        declared: axes that parameters without a mark are split on, from `declared_axes`.
    """
    found: dict[str, None] = {}
    count = 0
    for name, parameter, owner in _parameters(loaded.model):
        count += 1
        pure = converter.get_pure_name(name)
        weight = pure.removesuffix(".bias") + ".weight" if pure.endswith(".bias") else pure
        rule = next((one for one in RULES if one.applies(loaded.config) and _meets(converter, one, weight)), None)
        if rule is None:
            found[f"no rule for {pure}"] = None
            continue
        axis = declared.get(name) if _axis(parameter, owner) is None else _axis(parameter, owner)
        if rule.axis != axis:
            found[f"{pure} is shared out {rule.words}, its module splits {_words(axis)}"] = None
        if pure == name and not _placed(converter, name):
            found[f"{name} belongs to no stage of a pipeline"] = None
    return list(found), count


def declared_axes(model: Any) -> dict[str, int]:
    """Axes by parameter, as `sharded_state_dict` tells them to checkpoints.

    Some of what is split over tensor ranks has no mark: offsets of softmax, and every buffer.
    """
    from megatron.core import parallel_state
    from megatron.core.transformer import utils

    found: dict[str, int] = {}
    metadata = {"dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True)}
    write = utils.make_sharded_tensors_for_checkpoint.__globals__
    kept = write["make_tp_sharded_tensor_for_checkpoint"]

    def noted(*args: Any, **kwargs: Any) -> Any:
        told = inspect.signature(kept).bind(*args, **kwargs).arguments
        found[told["key"]] = told.get("tp_axis", 0)
        return kept(*args, **kwargs)

    write["make_tp_sharded_tensor_for_checkpoint"] = noted
    try:
        for prefix, module in model.named_modules():
            if hasattr(module, "sharded_state_dict") and any(True for _ in _unmarked(module)):
                with contextlib.suppress(Exception):  # one that tells nothing here is taken for whole, and so named
                    module.sharded_state_dict(prefix=f"{prefix}." if prefix else "", metadata=metadata)
    finally:
        write["make_tp_sharded_tensor_for_checkpoint"] = kept
    return found


def _unmarked(module: Any) -> Iterator[Any]:
    """A module's own tensors of floats that say nothing about ranks."""
    for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
        if tensor.is_floating_point() and not getattr(tensor, "tensor_model_parallel", False):
            yield tensor


def _meets(converter: Any, rule: Rule, name: str) -> bool:
    return bool(converter.name_match(name, rule.names(converter.config)))


def _placed(converter: Any, name: str) -> bool:
    """Outside of layers a parameter is the first stage's or the last one's; ROLL gives it to all of them otherwise."""
    ends = (converter.config.pre_process_weights, converter.config.post_process_weights)
    return any(converter.name_match(name, end) for end in ends)


def _parameters(model: Any) -> Iterator[tuple[str, Any, Any]]:
    """Names, parameters and modules of all that a checkpoint has to hold."""
    modules = dict(model.named_modules())
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name in model.state_dict_for_save_checkpoint():
        if name in tensors and tensors[name].is_floating_point():
            yield name, tensors[name], modules[name.rpartition(".")[0]]


def _axis(parameter: Any, owner: Any) -> int | None:
    """The axis that the module itself splits over tensor ranks; None where all ranks have all of it."""
    if hasattr(owner, "parallel_mode"):  # a linear layer of Transformer Engine; its norm is whole
        mode = owner.parallel_mode if getattr(parameter, "tensor_model_parallel", False) else None
        return {"column": 0, "row": 1}.get(mode) if mode else None
    if not getattr(parameter, "tensor_model_parallel", False):
        return None
    return int(parameter.partition_dim)


def _words(axis: int | None) -> str:
    return "nothing" if axis is None else f"axis {axis}"


def misconverted(loaded: Loaded) -> tuple[list[str], int, int]:
    """What is wrong, how many converters have nothing to do in this model, and how many names were looked up."""
    template = loaded.template
    asked = loaded.seen.asked
    problems: list[str] = []
    for side, is_mca in (("hf", False), ("mca", True)):
        for name in sorted(asked.get(side, ())):
            takers = [op for op in template.weight_converters if op.is_required_name(name, mca_name=is_mca)]
            if len(takers) != 1:
                which = ", ".join(str(op.mca_names if not is_mca else op.hf_names) for op in takers) or "nothing"
                problems.append(f"{name} is taken by {which}")
    idle = 0
    for op in template.weight_converters:
        if any(op.is_required_name(name, mca_name=False) for name in asked.get("hf", ())):
            continue
        if any(op.is_required_name(name, mca_name=True) for name in asked.get("mca", ())):
            problems.append(
                f"{names(op.mca_names)} is to come from {names(op.hf_names)}, which the checkpoint has not"
            )
        else:
            idle += 1
    return problems, idle, sum(map(len, asked.values()))
