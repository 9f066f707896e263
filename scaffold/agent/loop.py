"""The conversation: turns of the SDK's tool runner, until proven or until one of the limits says stop."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import anthropic
import httpx2
from anthropic.lib.tools import BetaBuiltinFunctionTool

from scaffold.agent.client import Model
from scaffold.agent.judge import Judge
from scaffold.agent.outcome import plain
from scaffold.agent.prompt import CUT, NOT_YET, system_prompt
from scaffold.agent.tools import Kit
from scaffold.agent.transcript import Transcript, unrun
from scaffold_tools.errors import BadInput, EnvironmentLacks, ScaffoldError

STREAM_TRIES = 4
"""A reply that was cut off on its way is asked for again; none of its tools has run."""
MAX_CUT = 2
"""Replies in a row that were cut off at their length limit."""
_CUT_OFF = (anthropic.APIConnectionError, httpx2.TransportError, json.JSONDecodeError)


@dataclass(frozen=True)
class Limits:
    """When to stop."""

    turns: int = 40
    budget: int = 2_000_000
    """Tokens: input, cached or not, and output."""


@dataclass(frozen=True)
class Spent:
    """Tokens, counted from what every reply reports."""

    input: int = 0
    cache_write: int = 0
    cache_read: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.input + self.cache_write + self.cache_read + self.output

    def plus(self, usage: Any) -> Spent:
        """With one more reply."""
        return Spent(
            self.input + usage.input_tokens,
            self.cache_write + (usage.cache_creation_input_tokens or 0),
            self.cache_read + (usage.cache_read_input_tokens or 0),
            self.output + usage.output_tokens,
        )


@dataclass(frozen=True)
class Ended:
    """How a conversation ended."""

    reason: str
    """proven, turns, budget, no progress, refused, gave up, context, cut off."""
    turns: int
    spent: Spent
    last_words: str = ""


class Conversation:
    """One call of the agent."""

    def __init__(
        self,
        client: anthropic.Anthropic,
        model: Model,
        kit: Kit,
        tools: list[BetaBuiltinFunctionTool],
        messages: list[dict[str, Any]],
        *,
        limits: Limits,
        tell: Callable[[str], None],
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.client = client
        self.model = model
        self.kit = kit
        self.tools = tools
        self.messages = messages
        self.limits = limits
        self.tell = tell
        self.wait = wait
        self.spent = Spent()
        self.turns = 0
        self._cut = 0
        self._claims = 0

    @property
    def judge(self) -> Judge:
        """Who decides."""
        return self.kit.judge

    @property
    def transcript(self) -> Transcript:
        """Where everything is kept."""
        return self.kit.transcript

    def run(self) -> Ended:
        """Turn after turn.

        Raises:
            EnvironmentLacks: the API does not answer, or does not accept the key; what was said so far is kept.
        """
        last_words = ""
        while True:
            reason = self._limit()
            if reason is None:
                reason, last_words = self._turn()
            if reason is not None:
                return Ended(reason, self.turns, self.spent, last_words)

    def _limit(self) -> str | None:
        rows = (
            (self.judge.proven, "proven"),
            (self.judge.stuck, "no progress"),
            (self.turns >= self.limits.turns, "turns"),
            (self.spent.total >= self.limits.budget, "budget"),
            (self._cut > MAX_CUT, "cut off"),
        )
        return next((reason for holds, reason in rows if holds), None)

    def _turn(self) -> tuple[str | None, str]:
        """One reply and its tools; a reason to stop, if there is one, and what the model said."""
        self.kit.changed = False
        runner, message = self._reply()
        self.turns += 1
        self.spent = self.spent.plus(message.usage)
        content = [_param(block) for block in message.content if block.type != "text" or block.text.strip()]
        words = "\n".join(block.text for block in message.content if block.type == "text").strip()
        self.transcript.add("reply", stop_reason=message.stop_reason, spent=self.spent.total, turn=self.turns)
        if words:
            self.tell(f"turn {self.turns}: {plain(words.splitlines()[0], 160)}")
        try:
            return self._go_on(runner, message.stop_reason, content), words
        finally:
            runner.close()

    def _go_on(self, runner: Any, stop_reason: str | None, content: list[Any]) -> str | None:
        """What follows a reply; a reason to stop, if nothing does."""
        if stop_reason in _ENDS:
            return _ENDS[stop_reason]
        if content:
            self._say("assistant", content)
        self._cut = self._cut + 1 if stop_reason == "max_tokens" else 0
        if stop_reason == "max_tokens":
            self._say("user", [*unrun(content, CUT), {"type": "text", "text": CUT}])
            return None
        if self.spent.total >= self.limits.budget:
            return "budget"  # before its tools run: what they find could not be told any more
        response = None
        if stop_reason == "tool_use":
            with warnings.catch_warnings():  # of a tool that does not exist the model is told, not the terminal
                warnings.simplefilter("ignore", UserWarning)
                response = runner.generate_tool_call_response()
        if response is not None:
            self._claims = 0
            self._say("user", list(response["content"]))
            if self.kit.changed:
                self.judge.round_over()
            return None
        if stop_reason == "pause_turn":
            return None
        self._claims += 1
        if self._claims > 1:
            return "gave up"
        self.judge.round_over()
        self._say("user", [{"type": "text", "text": NOT_YET}])
        return None

    def _say(self, role: str, content: list[Any]) -> None:
        message = {"role": role, "content": content}
        self.messages.append(message)
        self.transcript.message(message)

    def _reply(self) -> tuple[Any, Any]:
        """A runner that has one whole reply, and the reply; its tools have not run."""
        problem: ScaffoldError
        for attempt in range(1, STREAM_TRIES + 1):
            runner = self._runner()
            try:
                message = _whole(next(runner))
                if message is not None:
                    return runner, message
                problem, again = _unreached("the reply has no end"), True
            except anthropic.APIStatusError as error:
                problem, again = _explained(error), error.status_code == _MID_STREAM
            except _CUT_OFF as error:
                problem, again = _unreached(type(error).__name__), True
            runner.close()
            self.transcript.add("trouble", attempt=attempt, problem=str(problem))
            if not again or attempt == STREAM_TRIES:
                raise problem
            self.tell(f"{problem.what}; asking again")
            self.wait(2.0**attempt / 4)
        raise AssertionError

    def _runner(self) -> Any:
        return self.client.beta.messages.tool_runner(
            model=self.model.name,
            max_tokens=max(1, min(self.model.max_tokens, self.limits.budget - self.spent.total)),
            system=[
                {
                    "type": "text",
                    "text": system_prompt(self.kit.writer.plan.target),
                    "cache_control": {"type": "ephemeral"},
                }
            ],
            messages=cast(Any, list(self.messages)),
            tools=self.tools,
            cache_control={"type": "ephemeral"},
            max_iterations=1,
            stream=True,
            thread=False,  # the whole conversation is ours: kept, and resumed from what is kept
            **self.model.options,
        )


_ENDS = {"refusal": "refused", "model_context_window_exceeded": "context"}
"""Stop reasons after which nothing can follow, and what they are called here."""
_MID_STREAM = 200
"""The status of an error that comes in the middle of a stream; at its start the SDK has asked again already."""
RESUME = "run the same command again with --resume"
"""The next step after trouble that passes."""


def _param(block: Any) -> dict[str, Any]:
    """A block of a reply as it is sent back."""
    found: dict[str, Any] = block.to_dict(mode="json", exclude_unset=True)
    found.pop("parsed_output", None)
    return found


# What an answer of the API means for the user: (status, error, next step).
_STATUS: tuple[tuple[int, type[ScaffoldError], str, str], ...] = (
    (401, EnvironmentLacks, "the API does not accept the key", "check ANTHROPIC_API_KEY"),
    (403, EnvironmentLacks, "the key may not use this model", "choose another with --model"),
    (404, BadInput, "the API has no such model", "choose another with --model"),
    (400, ScaffoldError, "the API refuses the request", "see the transcript"),
    (413, ScaffoldError, "the conversation is too large for the API", "start again without --resume"),
)


def _whole(stream: Any) -> Any | None:
    """The reply, or None where the stream ended before its end."""
    stream.until_done()
    try:
        message = stream.current_message_snapshot
    except AssertionError:  # not even a beginning
        return None
    return None if message.stop_reason is None else message


def _unreached(why: str) -> EnvironmentLacks:
    return EnvironmentLacks(f"the API's reply was cut off or did not come ({why})", hint=RESUME)


def _explained(error: anthropic.APIStatusError) -> ScaffoldError:
    row = next((row for row in _STATUS if row[0] == error.status_code), None)
    if row is not None:
        return row[1](f"{row[2]}: {error.message}", hint=row[3])
    return EnvironmentLacks(f"the API does not answer ({error.status_code}): {error.message}", hint=RESUME)
