"""Forked processes that go wrong in the ways in which ranks do; what is said of it, and what is left of them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from ranks.layouts import Layout
from ranks.processes import RankFailed, Say, run_ranks


def run(request: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for fault in request["faults"]:
        pids = Path(request["folder"]) / f"pids-{fault}"
        started = time.monotonic()
        try:
            seconds = 2.5 if fault in ("hangs", "mismatch") else 50.0
            found[fault] = {"result": run_ranks(2, lambda rank, say, f=fault, p=pids: work(f, p, rank, say), seconds)}
        except RankFailed as failed:
            found[fault] = {"reason": failed.reason, "message": failed.message}
        found[fault]["seconds"] = time.monotonic() - started
        found[fault]["left"] = [pid for pid in pids.read_text().split() if Path(f"/proc/{pid}").exists()]
    return found


def work(fault: str, pids: Path, rank: int, say: Say) -> dict[str, Any]:
    with pids.open("a") as file:
        file.write(f"{os.getpid()}\n")
    if fault in ("mismatch", "collective"):
        _join(pids.parent / fault, rank)
    say("sharded.logits")
    if fault == "raises" and rank == 1:
        raise ValueError("this rank\ncannot")
    if fault == "refuses":
        raise NotImplementedError("this block takes whole sequences")
    if fault == "dies" and rank == 0:
        os.kill(os.getpid(), 9)
    if fault in ("raises", "dies", "hangs"):
        time.sleep(60)
    if fault == "mismatch":
        say("sharded.export" if rank else "sharded.gradients")
        torch.distributed.broadcast(torch.zeros(3), src=rank)  # each waits for nobody, or for ever
        torch.distributed.all_reduce(torch.zeros(2 + rank))
        torch.distributed.barrier()
    if fault == "collective":
        total = torch.full((2,), float(rank))
        torch.distributed.all_reduce(total)
        return {"sum": total.tolist()}
    return {"rank": rank}


def _join(folder: Path, rank: int) -> None:
    from datetime import timedelta

    store = torch.distributed.FileStore(str(folder), 2)
    timeout = timedelta(seconds=2 if folder.name == "mismatch" else 50)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timeout)
    assert Layout().processes == 1
