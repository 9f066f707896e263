"""What a split model is held against: one process. Each rank compares its own share, and says how far off it is."""

from __future__ import annotations

from typing import Any

import torch
from checks.weights import load_saved
from mcore.build import tensors_of

from ranks.gradients import furthest
from ranks.layouts import Layout
from ranks.part import Batch, export, exported_gradients, mine, run_schedule, whole_logits
from ranks.processes import Say
from ranks.subject import Subject, largest, ready, unequal

ONE = "one-process.pt"


def work_alone(subject: Subject, rank: int, say: Say) -> dict[str, Any]:
    """The one process that the others are held against; its logits and gradients are kept."""
    part, batch = ready(subject, Layout(), rank, say, "sharded"), Batch.of(subject.tokens)
    say("sharded.logits")
    logits = whole_logits(part, batch, subject.vocabulary)
    say("sharded.gradients")
    run_schedule(part, batch, backward=True)
    torch.save({"logits": logits, "gradients": exported_gradients(part)}, subject.folder.parent / ONE)
    return {}


def work(subject: Subject, layout: Layout, rank: int, say: Say) -> dict[str, Any]:
    """One of several processes: build, import, compute, export, compare.

    Returns:
        `empty`: parameters of this rank that nothing filled, `parameters`: how many it has; `logits`: largest
        difference, None before the last stage; `wrong`, `exported`: of the export; `gradients` (the largest share by
        which one is off), `worst`.
    """
    part, batch = ready(subject, layout, rank, say, "sharded"), Batch.of(subject.tokens)
    one = torch.load(subject.folder.parent / ONE, weights_only=True)
    held = [tensors_of(chunk) for chunk in part.inner()]
    empty = [name for tensors in held for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    say("sharded.logits")
    logits = whole_logits(part, batch, subject.vocabulary)
    say("sharded.export")
    saved = load_saved(subject.folder)
    wrong = unequal(export(part), saved)
    say("sharded.gradients")
    run_schedule(part, batch, backward=True)
    share, worst = furthest(exported_gradients(part), one["gradients"])
    say("the end")
    torch.distributed.barrier()  # one that is through early would take its connections with it
    return {
        "empty": empty,
        "parameters": sum(map(len, held)),
        "logits": None if logits is None else largest(logits, mine(part, one["logits"])),
        "wrong": wrong,
        "exported": len(saved),
        "gradients": share,
        "worst": worst,
    }
