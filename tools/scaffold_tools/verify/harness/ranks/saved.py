"""A Megatron checkpoint: written by one process or by several, read by another that has never seen the model."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import torch
from checks.weights import load_saved
from mcore.absent import absent_packages
from mcore.no_cuda import OnCpu

from ranks.layouts import Layout
from ranks.part import Batch, Part, export, join, whole_logits
from ranks.processes import Say
from ranks.subject import Subject, largest, ready, unequal

LOGITS = "written.pt"


def work_write(subject: Subject, layout: Layout, rank: int, say: Say) -> dict[str, Any]:
    """Import, and write as `AutoBridge.save_megatron_model` does; one process keeps the logits of what was written."""
    part, batch = ready(subject, layout, rank, say, "saved"), Batch.of(subject.tokens)
    say("saved.exact")
    if layout.processes == 1:
        torch.save(whole_logits(part, batch, subject.vocabulary), subject.folder.parent / LOGITS)
    folder = written(subject, layout)
    folder.mkdir(parents=True, exist_ok=True)
    with OnCpu(), absent_packages():
        _queue_without_a_process()
        part.auto_bridge.save_megatron_model(part.inner(), str(folder))
    torch.distributed.barrier()
    return {}


def _queue_without_a_process() -> None:
    """megatron-core hears of what it wrote through a process of its own, which would outlive this one."""
    from megatron.core.dist_checkpointing.strategies import filesystem_async

    if getattr(filesystem_async, "_results_queue", "another release") is None:
        filesystem_async._results_queue = queue.Queue()


def written(subject: Subject, layout: Layout) -> Path:
    """Where the checkpoint of a layout lies."""
    return subject.folder.parent / f"megatron-{layout.name.replace(' ', '-')}"


def work_read(subject: Subject, layout: Layout, rank: int, say: Say) -> dict[str, Any]:
    """Read, on one process, what a layout wrote, with nothing but its own config; export it and compute.

    Returns:
        `wrong`, `exported`: of the export against the checkpoint that was imported first; `logits`: whether they are
        those of the process that wrote.
    """
    say("saved.exact")
    join(Layout(), rank, subject.meeting("read", layout), subject.timeout)
    auto_bridge = subject.bridge()
    with OnCpu(), absent_packages():
        chunks = auto_bridge.load_megatron_model(str(written(subject, layout)))
    for chunk in chunks:
        chunk.eval()
    part = Part(chunks, chunks[0].config, Layout(), auto_bridge)
    saved = load_saved(subject.folder)
    wrong = unequal(export(part), saved)
    say("saved.logits")
    logits = whole_logits(part, Batch.of(subject.tokens), subject.vocabulary)
    before = torch.load(subject.folder.parent / LOGITS, weights_only=True)
    assert logits is not None
    return {"wrong": wrong, "exported": len(saved), "logits": largest(logits, before)}
