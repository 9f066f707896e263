"""A server on this machine that speaks the Anthropic API from a script: one step a request, kind or hostile."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CAPABLE = {"supported": True}
INFO: dict[str, Any] = {
    "id": "claude-test",
    "type": "model",
    "display_name": "Test",
    "created_at": "2026-01-01T00:00:00Z",
    "lifecycle": "active",
    "max_tokens": 64_000,
    "max_input_tokens": 200_000,
    "capabilities": {
        "thinking": {"supported": True, "types": {"adaptive": CAPABLE, "enabled": CAPABLE}},
        "context_management": {"supported": True, "clear_tool_uses_20250919": CAPABLE},
    },
}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def use(name: str, _id: str = "", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": _id or f"toolu_{name}", "name": name, "input": arguments}


@dataclass(frozen=True)
class Reply:
    """One reply as a stream; `cut` ends it after so many events, `error` is said in the middle."""

    content: Sequence[dict[str, Any]]
    stop_reason: str = "tool_use"
    tokens_in: int = 1000
    tokens_out: int = 100
    cache_read: int = 0
    cut: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class Status:
    """An HTTP error."""

    code: int
    kind: str = "api_error"
    headers: dict[str, str] = field(default_factory=lambda: {"retry-after-ms": "1"})


Step = Reply | Status | Callable[[dict[str, Any]], "Reply | Status"]


class Claude:
    """The script, and what was asked."""

    def __init__(self, steps: Sequence[Step], info: dict[str, Any] | Status = INFO) -> None:
        self.steps = list(steps)
        self.info = info
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    def next(self, request: dict[str, Any]) -> Reply | Status:
        self.asked.append(request)
        step = self.steps.pop(0) if self.steps else Status(500, "script_is_over")
        return step(request) if callable(step) else step

    def results(self, number: int = -1) -> list[dict[str, Any]]:
        """Tool results of the last message of a request."""
        return [block for block in self.asked[number]["messages"][-1]["content"] if block["type"] == "tool_result"]


def events(reply: Reply) -> Iterator[tuple[str, dict[str, Any]]]:
    usage = {"input_tokens": reply.tokens_in, "cache_read_input_tokens": reply.cache_read, "output_tokens": 1}
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test", "content": []}
    yield "message_start", {"message": {**start, "stop_reason": None, "stop_sequence": None, "usage": usage}}
    for index, block in enumerate(reply.content):
        if block["type"] == "text":
            empty, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": block["text"]}
        elif block["type"] == "thinking":
            empty = {"type": "thinking", "thinking": "", "signature": ""}
            delta = {"type": "signature_delta", "signature": block["signature"]}
        else:
            empty = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield "content_block_start", {"index": index, "content_block": empty}
        yield "content_block_delta", {"index": index, "delta": delta}
        yield "content_block_stop", {"index": index}
    if reply.error:
        yield "error", {"error": {"type": reply.error, "message": "in the middle"}}
    ending = {"stop_reason": reply.stop_reason, "stop_sequence": None}
    yield "message_delta", {"delta": ending, "usage": {"output_tokens": reply.tokens_out}}
    yield "message_stop", {}


class _Handler(BaseHTTPRequestHandler):
    claude: Claude

    def do_GET(self) -> None:
        found = self.claude.info
        if isinstance(found, Status):
            self._fail(found)
        else:
            self._json(200, found)

    def do_POST(self) -> None:
        self.claude.headers.append(dict(self.headers))
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        step = self.claude.next(body)
        if isinstance(step, Status):
            self._fail(step)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for number, (name, data) in enumerate(events(step)):
            if step.cut is not None and number >= step.cut:
                break
            self.wfile.write(f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode())
            self.wfile.flush()
        self.close_connection = True

    def _fail(self, status: Status) -> None:
        body = {"type": "error", "error": {"type": status.kind, "message": f"scripted {status.code}"}}
        self._json(status.code, body, status.headers)

    def _json(self, code: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def loopback_claude(*steps: Step, info: dict[str, Any] | Status = INFO) -> Iterator[Claude]:
    """Serve a script on a port of its own."""
    claude = Claude(steps, info)
    handler = type("Handler", (_Handler,), {"claude": claude})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    claude.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield claude
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
