"""Worker processes, each with a lane of its own. A worker that dies or hangs costs its case and nothing else."""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.connection import Connection
from pathlib import Path

from scaffold.matrix.values import MEGATRON_BRIDGE, Case, Finished, Subject, failed

Serve = Callable[[Connection, str], None]
"""What a worker process runs: takes (case, folder) from the pipe and answers with what came of it, until the end."""


def serve(pipe: Connection, log: str, subject: Subject = MEGATRON_BRIDGE) -> None:
    """The real worker. It ends when its pipe does."""
    from scaffold.lane import EarlyLane
    from scaffold.matrix.case import run_case

    with contextlib.suppress(KeyboardInterrupt, EOFError, BrokenPipeError), EarlyLane() as lane:
        lane.start(Path(log))
        while True:
            case, folder = pipe.recv()
            pipe.send(run_case(case, lane, Path(folder), subject))


class _Worker:
    """The parent's side of one process, started when first needed and again after each death."""

    def __init__(self, work: Serve, folder: Path) -> None:
        self._work = work
        self._folder = folder
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._starting = threading.Lock()
        self._stopped = False

    def run(self, case: Case, timeout: float) -> Finished:
        pipe = self._ready()
        if pipe is None:
            return failed(case, "the run was stopped")
        with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as folder:
            try:
                pipe.send((case, folder))
                if not pipe.poll(timeout):
                    self.kill()
                    return failed(case, f"no result within {timeout:g} seconds", seconds=timeout)
                finished: Finished = pipe.recv()
            except (EOFError, OSError):
                process = self._process
                if process is not None:
                    process.join(10)  # its pipe ends before it does
                code = process.exitcode if process is not None else None
                self.kill()
                return failed(case, f"its worker died (exit code {code})")
            return finished

    def kill(self) -> None:
        """End the process; its lane ends with it, because the lane reads from it. Any thread may call this."""
        process, self._process = self._process, None
        pipe, self._pipe = self._pipe, None
        if process is not None:
            process.kill()
            process.join(10)
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()

    def stop(self) -> None:
        """End the process and start no other. Any thread may call this, also while another one starts it."""
        with self._starting:
            self._stopped = True
        self.kill()

    def _ready(self) -> Connection | None:
        """The pipe of a process that runs; None once the worker is stopped."""
        with self._starting:
            if self._stopped:
                return None
            if self._process is None or not self._process.is_alive():
                self._start()
            return self._pipe

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # a forked child would inherit locks of our threads
        self._pipe, theirs = context.Pipe()
        log = str(self._folder / f"lane-{id(self)}.log")
        self._process = context.Process(target=self._work, args=(theirs, log), daemon=True)
        self._process.start()
        theirs.close()


def run_cases(
    cases: Sequence[Case], *, jobs: int, timeout: float, work: Serve = serve
) -> Iterator[tuple[Case, Finished]]:
    """Run all cases; yields each as it ends.

    Args:
        jobs: workers at a time.
        timeout: seconds for one case, after which its worker is killed.
        work: what a worker process runs.
    """
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="scaffold-matrix-", ignore_cleanup_errors=True) as name:
        workers = [_Worker(work, Path(name)) for _ in range(max(1, min(jobs, len(cases))))]
        idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in workers:
            idle.put(worker)

        def one(case: Case) -> tuple[Case, Finished] | None:
            if stop.is_set():
                return None
            worker = idle.get()
            try:
                return case, worker.run(case, timeout)
            finally:
                idle.put(worker)

        with ThreadPoolExecutor(len(workers)) as pool:
            try:
                for future in as_completed([pool.submit(one, case) for case in cases]):
                    answer = future.result()
                    if answer is not None:
                        yield answer
            finally:
                stop.set()
                for worker in workers:
                    worker.stop()
