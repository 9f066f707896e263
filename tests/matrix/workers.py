"""Workers that misbehave, to test the pool; functions of a module, so that a spawned process can import them."""

from __future__ import annotations

import os
import time
from multiprocessing.connection import Connection

from scaffold.matrix.values import Finished, Row


def _row(case_type: str, variant: str) -> Finished:
    row = Row(case_type, variant, "TestForCausalLM", "proven", "", seconds=0.1, peak_mb=1)
    return Finished(row, {"architectures": ["TestForCausalLM"], "tie_word_embeddings": False})


def misbehave(pipe: Connection, log: str) -> None:
    """Dies at `dies`, hangs at `hangs`, answers everything else."""
    while True:
        try:
            case, _ = pipe.recv()
        except EOFError:
            return
        if case.model_type == "dies":
            os._exit(9)
        if case.model_type == "hangs":
            time.sleep(60)
        with open(log, "a", encoding="utf-8") as file:
            file.write(case.name + "\n")
        pipe.send(_row(case.model_type, case.variant))
