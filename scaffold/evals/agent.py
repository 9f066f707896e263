"""Runs any coding agent that takes a prompt and works in the current folder; counts its tokens where it says them."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaffold.evals.values import Timing
from scaffold_tools.errors import BadInput

PROMPT = "{prompt}"
"""Where it stands in the command the prompt is put; otherwise the prompt is the agent's stdin."""

_USAGE = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


@dataclass(frozen=True)
class Said:
    """What an agent left behind."""

    answer: str
    """Its closing words, or all that it wrote where they cannot be told apart."""
    transcript: str
    timing: Timing


def split_command(command: str) -> tuple[str, ...]:
    """The words of `--agent-cmd`; the first must be something that runs.

    Raises:
        BadInput: empty, or quotes that do not close.
    """
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise BadInput(f"--agent-cmd cannot be read: {error}") from error
    if not words:
        raise BadInput("--agent-cmd is empty", hint="--agent-cmd 'claude -p --output-format json'")
    return words


def run_agent(command: Sequence[str], prompt: str, *, cwd: Path, timeout: float) -> Said:
    """Run it to its end, or end it and its children.

    Raises:
        BadInput: there is no such program.
    """
    words = [word.replace(PROMPT, prompt) for word in command]
    stdin = None if words != list(command) else prompt
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env=_environment(),
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise BadInput(f"--agent-cmd: {words[0]}: {error.strerror}") from error
    try:
        output, _ = process.communicate(stdin, timeout=timeout)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        code = None
    duration = round((time.monotonic() - started) * 1000)
    return Said(answer_of(output), output, Timing(tokens_of(output), duration, code))


def tokens_of(output: str) -> int | None:
    """Tokens that the agent says it used; None where it does not say.

    Known are the closing object of Claude Code (`--output-format json` or `stream-json`), whose figure is the whole
    run, and the turns of Codex (`exec --json`), which are added up.
    """
    objects = tuple(_objects(output))
    last = [_usage(one) for one in objects if one.get("type") == "result" and "usage" in one]
    turns = [_usage(one) for one in objects if one.get("type") == "turn.completed"]
    if last:
        return last[-1]
    return sum(turns) if turns else None


def answer_of(output: str) -> str:
    """The closing words."""
    for one in reversed(tuple(_objects(output))):
        if one.get("type") == "result" and isinstance(one.get("result"), str):
            return str(one["result"])
        item = one.get("item")
        if isinstance(item, dict) and item.get("type") == "agent_message":
            return str(item.get("text", ""))
    return output


def _objects(output: str) -> Iterator[dict[str, Any]]:
    for line in output.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(line)
            if isinstance(value, dict):
                yield value


def _usage(one: dict[str, Any]) -> int:
    usage = one.get("usage")
    counted = [usage.get(name) for name in _USAGE] if isinstance(usage, dict) else []
    return sum(number for number in counted if isinstance(number, int))


def _environment() -> dict[str, str]:
    """The agent finds the same `scaffold` that grades it."""
    here = Path(sys.executable).parent
    return {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}"}
