"""The same model on several processes, as ROLL splits it: the logits of one, and an export equal to the file."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import progress
import torch
from checks.measured import Checks, Clock, names
from checks.reference import run_hf
from checks.weights import difference_of, load_saved
from mcore.build import tensors_of
from mcore.no_cuda import OnCpu
from ranks.layouts import Layout, Numbers, chosen, fitted, hindrance
from ranks.part import Batch, Part, join, mine, whole_logits
from ranks.processes import RankFailed, Say, run_ranks

from mca.limits import limit_of
from mca.load import Seen, load
from mca.subject import training_arguments
from mca.toy import Toy

SECONDS = 90.0
"""What one layout may take on a busy machine; it takes one to three."""
SHARDED = ("sharded.build", "sharded.import", "sharded.logits", "sharded.export")
"""Every check of one layout, in the order in which they run; a process says which it is at."""


def spread(toy: Toy, layouts: list[Layout]) -> list[dict[str, Any]]:
    """What several processes find; to be called before this process has a process group, as they are forked from it.

    Returns:
        The checks of `SHARDED` for each layout, whose name is the toy's.
    """
    numbers, vocabulary = numbers_of(toy)
    found = []
    for layout in layouts:
        checks = Checks(layout.name)
        progress.say(f"processes: {layout.name}")
        why = hindrance(layout, numbers) or uneven(layout, numbers, vocabulary)
        if why:
            checks.skip(SHARDED, f"the model cannot be split so: {why}")
        else:
            _measure(toy, fitted(layout, numbers), checks)
        found += checks.done
    return found


def choose(toy: Toy, asked: str | list[dict[str, Any]]) -> list[Layout]:
    """The splits to try: those that were named, or `few` or `all` of the usual ones that this toy can take."""
    if not isinstance(asked, str):
        known = {one.name for one in fields(Layout)}
        return [Layout(**{key: value for key, value in row.items() if key in known}) for row in asked]
    return chosen(numbers_of(toy)[0], few=asked == "few")


def numbers_of(toy: Toy) -> tuple[Numbers, int]:
    """What has to be divided, as the template itself reads the config."""
    from mcore_adapter.models.converter import template as registry
    from transformers import AutoConfig

    hf_config = AutoConfig.from_pretrained(str(toy.folder))
    told = registry.templates[toy.model_type].convert_hf_to_mca_config_kws(hf_config)
    heads = told.get("num_attention_heads") or 1
    experts = told.get("num_moe_experts") or 0
    biases = bool(experts and told.get("add_bias_linear", True))
    numbers = Numbers(heads, told.get("num_query_groups") or heads, experts, told["num_layers"], biases)
    return numbers, told.get("padded_vocab_size") or 0


def uneven(layout: Layout, numbers: Numbers, vocabulary: int) -> str:
    """What ROLL cannot do beyond what no code can: stages of different length, uneven parts of the vocabulary."""
    chunks = layout.pp * layout.vpp
    if numbers.layers % chunks:
        return f"{numbers.layers} layers over {chunks} stages of the same length"
    return f"{vocabulary} rows of the vocabulary over {layout.tp} ranks" if vocabulary % layout.tp else ""


def _measure(toy: Toy, layout: Layout, checks: Checks) -> None:
    clock, reference, folder = Clock(), toy.reference, toy.beside(layout.name.replace(" ", "-"))
    batch = Batch.of(reference.tokens)
    grouped = layout.ep > 1 and one_tensor_of_experts(toy.model_type)
    task = _Task(toy.folder, toy.model_type, layout, batch, run_hf(reference.model, batch.tokens), folder, grouped)
    ranks, limit = _ran(task, checks)
    if ranks is None:
        return
    detail = "experts in one grouped multiplication" if grouped else ""
    checks.add("sharded.build", True, value=f"{layout.processes} processes", detail=detail, seconds=clock.lap())
    empty = {name for rank in ranks for name in rank["empty"]}
    total = sum(rank["parameters"] for rank in ranks)
    filled = total - sum(len(rank["empty"]) for rank in ranks)
    detail = f"not filled: {names(empty)}" if empty else ""
    checks.add("sharded.import", not empty, value=f"{filled}/{total}", threshold="all", detail=detail)
    largest = max(rank["logits"] for rank in ranks if rank["logits"] is not None)
    value = largest if largest != float("inf") else "not finite"
    checks.add("sharded.logits", largest < reference.limit, value=value, threshold=reference.limit)
    if limit:
        checks.skip(SHARDED[-1:], limit)
        return
    exact, detail = difference_of(load_saved(folder), toy.saved)
    checks.add("sharded.export", not detail, value=f"{exact}/{len(toy.saved)}", threshold="all", detail=detail)


def _ran(task: _Task, checks: Checks) -> tuple[list[dict[str, Any]] | None, str]:
    """What each process found, and the limit of ROLL that leaves the export out; None where it did not come so far.

    A refusal on purpose, and a limit of ROLL's own, are neither passed nor failed: they are named.
    """
    task.folder.mkdir(parents=True, exist_ok=True)
    try:
        return run_ranks(task.layout.processes, partial(_one_rank, task), SECONDS), ""
    except RankFailed as failed:
        if failed.reason == "refused":
            checks.skip(SHARDED[:1], f"refused: {failed.message}")
            return None, ""
        broke = next((name for name in SHARDED if name in failed.stages), SHARDED[0])
        limit = limit_of(failed.message)
        if limit and task.export and broke == SHARDED[-1]:
            again = replace(task, export=False, folder=task.folder.with_name(f"{task.folder.name}-kept"))
            return _ran(again, checks)[0], limit  # all but the export, whose error has left no figures
        checks.error(broke, failed.message)
        checks.skip(tuple(name for name in SHARDED if name != broke), f"{broke} broke")
        return None, ""


def one_tensor_of_experts(model_type: str) -> bool:
    """Whether a tensor of the checkpoint has the weights of all experts."""
    from mcore_adapter.models.converter import template as registry

    operations = registry.templates[model_type].weight_converters
    return any(
        ".experts." in mca and "{}" in mca and not any("{}" in hf for hf in operation.hf_names)
        for operation in operations
        for mca in operation.mca_names
    )


@dataclass(frozen=True)
class _Task:
    """What every process is given."""

    source: Path
    model_type: str
    layout: Layout
    batch: Batch
    expected: torch.Tensor
    """What Hugging Face computes of the batch."""
    folder: Path
    """All processes write their part of the export into it."""
    grouped: bool
    """Experts in one grouped multiplication, without which ROLL does not gather those that are one tensor."""
    export: bool = True


def _one_rank(task: _Task, rank: int, say: Say) -> dict[str, Any]:
    """One process: its part of the model, its logits against Hugging Face's, its part of the export."""
    say("sharded.build")
    layout = task.layout
    join(layout, rank, task.folder / f"meeting-{os.getppid()}", SECONDS)
    changes = training_arguments(layout) | ({"moe_grouped_gemm": True} if task.grouped else {})
    say("sharded.import")
    loaded = load(task.source, task.model_type, Seen(), **changes)
    tensors = [item for model in loaded.models.models for item in tensors_of(model).items()]
    empty = [name for name, tensor in tensors if not bool(torch.isfinite(tensor).all())]
    say("sharded.logits")
    part = Part(loaded.models.models, loaded.config, layout, None)
    logits = whole_logits(part, task.batch, task.expected.shape[-1])
    if task.export:
        say("sharded.export")
        with OnCpu(), torch.no_grad():
            loaded.models.save_pretrained_as_hf(str(task.folder))
    torch.distributed.barrier()
    far = None
    if logits is not None:
        difference = (logits - mine(part, task.expected)).abs()
        far = float(difference.nan_to_num(nan=float("inf")).max())
    return {"logits": far, "empty": empty, "parameters": len(tensors)}
