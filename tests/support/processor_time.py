"""Processor time of a process, in seconds of a machine that nobody else uses.

Even processor time grows when others are at work: caches, hyperthreads and the clock of the processor are shared. So
each measurement stands beside a process that imports a fixed part of the standard library, and counts in units of it.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable

_YARDSTICK = "import asyncio, email.message, http.client, unittest, xml.dom.minidom"
_YARDSTICK_SECONDS = 0.1
"""What the yardstick takes on an idle core of the kind that the limits were set on."""


def processor_seconds(code: str, *args: str) -> float:
    """User and system time of `python -c code args`, unscaled.

    Raises:
        subprocess.CalledProcessError: the process failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, *args], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def stays_below(limit: float, code: str, *args: str, tries: int = 20) -> bool:
    """Whether one of `tries` runs takes less than `limit` seconds, at the pace that the yardstick shows beside it."""
    for _ in range(tries):
        spent = processor_seconds(code, *args)
        pace = processor_seconds(_YARDSTICK) / _YARDSTICK_SECONDS
        if spent < limit * max(1.0, pace):
            return True
    return False


def grows_no_faster_than_its_input(work: Callable[[int], None], size: int, *, times: int = 8, tries: int = 5) -> bool:
    """Whether `times` as much input takes this process less than `times ** 1.5` as long, in one of `tries` trials.

    What is linear takes `times` as long and what is quadratic `times ** 2`, on any machine.
    """
    return any(_seconds(work, size * times) < times**1.5 * _seconds(work, size) for _ in range(tries))


def _seconds(work: Callable[[int], None], size: int) -> float:
    started = time.process_time()
    work(size)
    return time.process_time() - started
