"""What was said and done, line by line as JSON, without secrets; a later call goes on from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaffold.agent.redact import Redactor
from scaffold_tools.errors import BadInput
from scaffold_tools.workspace.record import utc_now


@dataclass(frozen=True)
class Transcript:
    """The file of one run; every line is on disk before the next step."""

    path: Path
    redactor: Redactor

    def add(self, event: str, **fields: Any) -> None:
        """Append one event."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = {"time": utc_now(), "event": event, **self.redactor.value(fields)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def message(self, message: dict[str, Any]) -> None:
        """Append one message of the conversation, as it is sent."""
        self.add("message", message=message)

    def conversation(self) -> list[dict[str, Any]]:
        """The messages so far, in order; a last line that a crash cut off is left out.

        Raises:
            BadInput: there is none, or a line in the middle is damaged.
        """
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise BadInput("there is nothing to resume", hint="leave out --resume") from error
        found = []
        for number, line in enumerate(lines, 1):
            try:
                event = json.loads(line)
                if event["event"] == "message":
                    found.append(_checked(event["message"]))
            except (ValueError, KeyError, TypeError) as error:
                if number == len(lines):
                    break
                raise BadInput(f"{self.path}:{number} is damaged", hint="leave out --resume") from error
        if not found:
            raise BadInput("there is nothing to resume", hint="leave out --resume")
        return found


def _checked(message: Any) -> dict[str, Any]:
    if message["role"] not in ("user", "assistant") or not isinstance(message["content"], (str, list)):
        raise ValueError("not a message")
    return dict(message)


def answered(conversation: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conversation with an answer for every tool call: a crash may have come between the two."""
    done = list(conversation)
    if done and done[-1]["role"] == "assistant":
        results = unrun(done[-1]["content"], "interrupted before its result was kept; look at the state again")
        if results:
            done.append({"role": "user", "content": results})
    return done


def unrun(content: Any, why: str) -> list[dict[str, Any]]:
    """Error results for the tool calls of a message that are not run."""
    blocks = content if isinstance(content, list) else []
    return [
        {"type": "tool_result", "tool_use_id": block["id"], "content": why, "is_error": True}
        for block in blocks
        if block.get("type") == "tool_use"
    ]
