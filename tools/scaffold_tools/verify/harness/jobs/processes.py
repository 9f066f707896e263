"""The job that takes a toy through processes of their own: split, saved and loaded, trained. In the lane's Python."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import progress
import torch
from checks.measured import Broken, Checks, Clock, names
from checks.reference import make_reference
from checks.tolerances import GRADIENTS
from echo import versions
from mcore.absent import absent_packages
from mcore.integration import register
from mcore.no_cuda import neutralise
from ranks.layouts import LAYERS_MULTIPLE, Layout, Numbers, chosen, fitted, hindrance
from ranks.processes import RankFailed, Work, run_ranks
from ranks.saved import work_read, work_write
from ranks.sharded import work, work_alone
from ranks.subject import Subject
from ranks.trained import work_train

from verify import preload as preload_megatron

__all__ = ["preload", "run"]

SHARDED = ("sharded.build", "sharded.import", "sharded.logits", "sharded.export", "sharded.gradients")
"""Every check of one layout, in the order in which they run."""
SAVED = ("saved.exact", "saved.logits")
RESHARDED = ("saved.resharded",)
SAVING = Layout(tp=2, sp=True)
"""What a checkpoint is written by that one process has to put together."""
TRAINED = ("trained.gradients", "trained.loss", "trained.logits")
CHECKPOINTING = "megatron.bridge.training.model_load_save"
VARIANT = "a"
SECONDS = 120.0
"""What one kind of work may take on a busy machine; it takes one to three."""


def preload(request: dict[str, Any]) -> None:
    """What every process would import for itself."""
    preload_megatron(request)
    for module in ("megatron.core.distributed", "megatron.core.pipeline_parallel"):
        importlib.import_module(module)
    if request["integration"]["kind"] != "checkout":
        with absent_packages(), contextlib.suppress(ImportError):  # what is missing, the job will say
            importlib.import_module(CHECKPOINTING)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Take one integration through processes of their own.

    Args:
        request: as for the `verify` job; `layouts`: `few`, `all`, or a list of the fields of `Layout`; `saved` and
            `trained`: whether that is done; `seconds` that one kind of work may take.

    Returns:
        `checks`, whose toy is the name of the layout, and `environment`.
    """
    neutralise()
    workdir = Path(request["workdir"])
    workdir.mkdir(parents=True, exist_ok=True)
    checks = Checks("one process")
    try:
        with checks.guard("sharded.build"):
            progress.say("processes: reference")
            register(request["integration"], request["architecture"])
            subject = _subject(request, workdir)
            toy, own = _numbers(request, subject)
    except Broken:
        return {"checks": checks.done, "environment": versions()}
    if request["layouts"]:
        checks.done += _sharded(_layouts(request["layouts"], own or toy), toy, own or toy, subject)
    if request.get("saved"):
        saved(subject, checks)
        if not (hindrance(SAVING, toy) or (own and hindrance(SAVING, own))):
            resharded(subject, fitted(SAVING, toy), checks)
    if request.get("trained"):
        trained(subject, checks)
    return {"checks": checks.done, "environment": versions()}


def _subject(request: dict[str, Any], workdir: Path) -> Subject:
    asked = request | {"layers_multiple": LAYERS_MULTIPLE}
    reference = make_reference(asked, VARIANT, workdir / "toy-processes", Checks(""))
    return Subject(
        folder=reference.folder,
        model=reference.model,
        tokens=unpadded(reference.tokens, reference.model),
        vocabulary=reference.logits.shape[-1],
        limit=reference.limit,
        trust_remote_code=bool(request.get("trust_remote_code")),
        timeout=float(request.get("seconds") or SECONDS),
    )


def unpadded(tokens: torch.Tensor, model: Any) -> torch.Tensor:
    """Tokens without those that torch's embeddings take for padding, to which nothing flows back."""
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
            another = (tokens + 1) % module.num_embeddings
            tokens = torch.where(tokens == module.padding_idx, another, tokens)
    return tokens


def _numbers(request: dict[str, Any], subject: Subject) -> tuple[Numbers, Numbers | None]:
    """What has to be divided: of the toy, and of the model at its own size where a provider can be asked."""
    from megatron.bridge import AutoBridge
    from toys.toy import load_config

    toy = Numbers.of(subject.bridge().to_megatron_provider(load_weights=False))
    try:
        hf_config = load_config(request["config"])
        hf_config.architectures = [request["architecture"]]
        own = AutoBridge.from_hf_config(hf_config).to_megatron_provider(load_weights=False)
    except Exception:  # code of the model's own; the toy has the same structure
        return toy, None
    return toy, Numbers.of(own)


def _layouts(asked: str | list[dict[str, Any]], numbers: Numbers) -> list[Layout]:
    if isinstance(asked, str):
        return chosen(numbers, few=asked == "few")
    return [Layout(**fields) for fields in asked]


def _sharded(layouts: list[Layout], toy: Numbers, own: Numbers, subject: Subject) -> list[dict[str, Any]]:
    """One process, then each layout."""
    alone = Checks("one process")
    if _ran(partial(work_alone, subject), 1, SHARDED, subject, alone) is None:
        return alone.done
    found = []
    for layout in layouts:
        progress.say(f"processes: {layout.name}")
        checks = Checks(layout.name)
        why = hindrance(layout, own) or hindrance(layout, toy)
        if why:
            checks.skip(SHARDED[:1], f"the model cannot be split so: {why}")
        else:
            _split(fitted(layout, toy), subject, checks)
        found += checks.done
    return found


def _split(layout: Layout, subject: Subject, checks: Checks) -> None:
    clock = Clock()
    ranks = _ran(partial(work, subject, layout), layout.processes, SHARDED, subject, checks)
    if ranks is None:
        return
    checks.add("sharded.build", True, value=f"{layout.processes} processes", seconds=clock.lap())
    empty = {name for rank in ranks for name in rank["empty"]}
    total = sum(rank["parameters"] for rank in ranks)
    missing = sum(len(rank["empty"]) for rank in ranks)
    detail = f"not filled: {names(empty)}" if empty else ""
    checks.add("sharded.import", not empty, value=f"{total - missing}/{total}", threshold="all", detail=detail)
    logits = [rank["logits"] for rank in ranks if rank["logits"] is not None]
    checks.add("sharded.logits", **_figure(logits, subject.limit))
    checks.add("sharded.export", **_exact(ranks))
    worst = max(ranks, key=lambda rank: float("inf") if isinstance(rank["gradients"], str) else rank["gradients"])
    detail = f"the furthest is {worst['worst']}"
    checks.add("sharded.gradients", **_figure([worst["gradients"]], GRADIENTS), detail=detail)


def saved(subject: Subject, outer: Checks) -> None:
    """Written by one process, read by another."""
    progress.say("processes: saved and loaded")
    clock, checks = Clock(), Checks("one process")
    if _ran(partial(work_write, subject, Layout()), 1, SAVED, subject, checks) is not None:
        ranks = _ran(partial(work_read, subject, Layout()), 1, SAVED, subject, checks)
        if ranks is not None:
            checks.add("saved.exact", **_exact(ranks), seconds=clock.lap())
            checks.add("saved.logits", **_figure([ranks[0]["logits"]], subject.limit))
    outer.done += checks.done


def resharded(subject: Subject, layout: Layout, outer: Checks) -> None:
    """Written by several processes, read by one."""
    clock, checks = Clock(), Checks(f"{layout.name} to one process")
    if _ran(partial(work_write, subject, layout), layout.processes, RESHARDED, subject, checks) is not None:
        ranks = _ran(partial(work_read, subject, layout), 1, RESHARDED, subject, checks)
        if ranks is not None:
            checks.add("saved.resharded", **_exact(ranks), seconds=clock.lap())
    outer.done += checks.done


def trained(subject: Subject, outer: Checks) -> None:
    """Some steps on one process."""
    progress.say("processes: trained")
    clock, checks = Clock(), Checks("one process")
    ranks = _ran(partial(work_train, subject), 1, TRAINED, subject, checks)
    if ranks is not None:
        found = ranks[0]
        _gradients(found, checks, clock.lap())
        losses = found["losses"]
        value = f"{losses[0]:.4f} to {losses[-1]:.4f} in {len(losses) - 1} steps"
        finite = all(abs(loss) < float("inf") for loss in losses)
        checks.add("trained.loss", finite and losses[-1] < losses[0], value=value, threshold="falls")
        checks.add("trained.logits", **_figure([found["logits"]], subject.limit))
    outer.done += checks.done


def _gradients(found: dict[str, Any], checks: Checks, seconds: float) -> None:
    share, lifeless = found["gradients"], found["lifeless"]
    detail = f"of {found['compared']} the furthest is {found['worst']}"
    if lifeless:
        detail += f"; nothing flows back to {names(lifeless)}"
    passed = not lifeless and isinstance(share, float) and share < GRADIENTS
    checks.add("trained.gradients", passed, value=share, threshold=GRADIENTS, detail=detail, seconds=seconds)


def _exact(ranks: list[dict[str, Any]]) -> dict[str, Any]:
    """Fields of a check: what any rank's export has otherwise than the checkpoint."""
    wrong = sorted({words for rank in ranks for words in rank["wrong"]})
    total = ranks[0]["exported"]
    value = f"{max(0, total - len(wrong))}/{total}"
    return {"passed": not wrong, "value": value, "threshold": "all", "detail": names(wrong)}


def _figure(found: list[float | str], limit: float) -> dict[str, Any]:
    """Fields of a check: the largest difference; words instead of a number fail, and so does nothing at all."""
    words = [one for one in found if isinstance(one, str)]
    largest = words[0] if words else max(found) if found else "no rank has any"
    return {"passed": isinstance(largest, float) and largest < limit, "value": largest, "threshold": limit}


def _ran(
    job: Callable[..., dict[str, Any]], count: int, order: tuple[str, ...], subject: Subject, checks: Checks
) -> list[dict[str, Any]] | None:
    """What each process found; None, and the checks that it leaves open, where they did not come through.

    A refusal on purpose is a named limit: nothing ran, so nothing passed or failed, and one skipped check says why.
    Everything else is an error.
    """
    work: Work = job
    try:
        return run_ranks(count, work, subject.timeout)
    except RankFailed as failed:
        limit = f"refused: {failed.message}" if failed.reason == "refused" else subject.named_limit(failed.message)
        if limit:
            checks.skip(order[:1], limit)
            return None
        reached = [name for name in order if name in failed.stages]
        broke = reached[0] if reached else order[0]
        checks.error(broke, failed.message)
        checks.skip(tuple(name for name in order if name != broke), f"{broke} broke")
        return None
