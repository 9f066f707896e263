"""A hub on 127.0.0.1 for the real huggingface_hub client: API, file URLs, redirects, ranges, and every way to fail.

    def test_something(loopback_hub):
        loopback_hub.add("org/model", {"config.json": b"{}"})
        loopback_hub.fail("config.json", status=503, times=2)
        ...  # HF_ENDPOINT already points here
        assert [seen.path for seen in loopback_hub.seen] == [...]

What it answers follows the public hub: `X-Repo-Commit`, `ETag`, `X-Linked-Size`, `X-Error-Code`, 302 to another origin
for large files. Use the fixture by importing it in a `conftest.py`: `from support.loopback_hub import loopback_hub`.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

LARGE = (".safetensors", ".bin", ".gguf")
"""Served through a redirect to the second origin, as the hub does with LFS files."""


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    host: str
    authorization: str | None
    range: str | None


@dataclass
class Fault:
    """How to answer requests whose path matches `pattern`, the next `times` times."""

    pattern: re.Pattern[str]
    times: float
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds before the answer."""
    trickle: tuple[int, float] | None = None
    """Bytes at a time, and seconds between them."""
    cut_at: int | None = None
    """Close the connection after so many body bytes."""
    length: int | None = None
    """A wrong Content-Length."""
    ignore_range: bool = False
    compress: bool = False
    """With gzip, though nobody asked for it."""
    redirect: str | None = None


@dataclass
class Repository:
    """One model repository; `commits` maps a commit to its files, `revisions` a branch or tag to its commit."""

    commits: dict[str, dict[str, bytes]]
    revisions: dict[str, str]
    private: bool = False
    gated: bool = False
    token: str | None = None
    """Who may read a private or gated repository."""


class LoopbackHub:
    """The server; a context manager. `tls` is a (certificate, key) pair of files for https."""

    def __init__(self, *, tls: tuple[Path, Path] | None = None) -> None:
        self.repositories: dict[str, Repository] = {}
        self.seen: list[Seen] = []
        self.most_at_once = 0
        """Requests whose delays ran side by side."""
        self._waiting = 0
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._scheme = "https" if tls else "http"
        # The hub and its "CDN" are two ports, thus two origins.
        self._servers = [self._serve(tls), self._serve(tls)]
        self.endpoint, self.cdn = (f"{self._scheme}://127.0.0.1:{server.server_port}" for server in self._servers)

    def _serve(self, tls: tuple[Path, Path] | None) -> ThreadingHTTPServer:
        hub = self

        class Handler(_Handler):
            loopback = hub

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    def __enter__(self) -> LoopbackHub:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def add(self, name: str, files: dict[str, bytes], *, revision: str = "main", **access: object) -> str:
        """Add files as a new commit of a repository and move `revision` to it; returns the 40-hex commit."""
        tree = sorted((path, _etag(data)) for path, data in files.items())
        commit = hashlib.sha1(repr((name, revision, tree)).encode()).hexdigest()
        repository = self.repositories.setdefault(name, Repository({}, {}))
        for key, value in access.items():
            setattr(repository, key, value)
        repository.commits[commit] = dict(files)
        repository.revisions[revision] = commit
        return commit

    def fail(self, pattern: str, *, times: float = 1, **how: object) -> None:
        """The next `times` requests whose path matches the regular expression go wrong; see `Fault`."""
        self._faults.append(Fault(re.compile(pattern), times, **how))  # type: ignore[arg-type]

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a child process that must talk to this hub and to nothing else."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
        return kept | {"HF_ENDPOINT": self.endpoint, "NO_PROXY": "*", "no_proxy": "*"} | more

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts a request among those that wait for their answer."""
        with self._lock:
            self._waiting += 1
            self.most_at_once = max(self.most_at_once, self._waiting)
        yield
        with self._lock:
            self._waiting -= 1

    def take_fault(self, path: str) -> Fault | None:
        """The fault for this request, used up by one."""
        with self._lock:
            for fault in self._faults:
                if fault.times > 0 and fault.pattern.search(path):
                    fault.times -= 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    loopback: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Silence: the tests read `seen`."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        get = self.headers.get
        seen = Seen(self.command, self.path, get("Host", ""), get("Authorization"), get("Range"))
        with self.loopback._lock:
            self.loopback.seen.append(seen)
        self.fault = self.loopback.take_fault(path) or Fault(re.compile(""), 0)
        with self.loopback.waiting():
            time.sleep(self.fault.delay)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            if self.fault.redirect is not None:
                self._send(302, b"", {"Location": self.fault.redirect})
            elif self.fault.status is not None:
                self._send(self.fault.status, b"{}", self.fault.headers)
            elif path.startswith("/cdn/"):
                self._cdn(path)
            elif path.startswith("/api/models/"):
                self._api(unquote(path.removeprefix("/api/models/")))
            else:
                self._resolve(unquote(path.lstrip("/")))

    def _repository(self, name: str) -> Repository | None:
        """The repository if it may be read; else the hub's own refusal is sent."""
        repository = self.loopback.repositories.get(name)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if repository is None or (repository.private and token != repository.token):
            # The hub does not tell strangers whether a repository exists.
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
            return None
        return repository

    def _refuse(self, status: int, code: str, message: str) -> None:
        body = json.dumps({"error": message}).encode()
        self._send(status, body, {"X-Error-Code": code, "X-Error-Message": message})

    def _api(self, path: str) -> None:
        owner, name, *rest = [*path.split("/"), ""]
        repository = self._repository(f"{owner}/{name}")
        if repository is None:
            return
        rest = [part for part in rest if part]
        listing = rest[:1] == ["tree"]
        revision = "/".join(rest[1:]) if rest[:1] in (["revision"], ["tree"]) else "main"
        commit = self._commit(repository, revision)
        if commit is None:
            return
        files = repository.commits[commit]
        if listing:
            rows = [
                {"type": "file", "path": path, "size": len(data), "oid": _etag(data)} for path, data in files.items()
            ]
            self._send_json(rows)
            return
        gated = "manual" if repository.gated else False
        siblings = [{"rfilename": path} for path in files]
        self._send_json({"id": f"{owner}/{name}", "sha": commit, "gated": gated, "siblings": siblings, "tags": []})

    def _commit(self, repository: Repository, revision: str) -> str | None:
        commit = revision if revision in repository.commits else repository.revisions.get(revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def _resolve(self, path: str) -> None:
        match = re.fullmatch(r"([^/]+/[^/]+)/(?:resolve|raw)/([^/]+)/(.+)", path)
        if match is None:
            self._send(404, b"")
            return
        repository = self._repository(match[1])
        if repository is None:
            return
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if repository.gated and token != repository.token:
            self._refuse(403 if token else 401, "GatedRepo", f"Access to model {match[1]} is restricted.")
            return
        commit = self._commit(repository, match[2])
        if commit is None:
            return
        data = repository.commits[commit].get(match[3])
        if data is None:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_etag(data)}"', "Accept-Ranges": "bytes"}
        if match[3].endswith(LARGE):
            location = f"{self.loopback.cdn}/cdn/{match[1]}/{commit}/{match[3]}?signature=x"
            linked = {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{_etag(data)}"', "Location": location}
            self._send(302, b"", headers | linked)
        else:
            self._send_file(data, headers)

    def _cdn(self, path: str) -> None:
        owner, name, commit, file = unquote(path).removeprefix("/cdn/").split("/", 3)
        self._send_file(
            self.loopback.repositories[f"{owner}/{name}"].commits[commit][file], {"Accept-Ranges": "bytes"}
        )

    def _send_file(self, data: bytes, headers: dict[str, str]) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted is None or self.fault.ignore_range:
            self._send(200, data, headers)
            return
        start, stop = int(wanted[1]), min(int(wanted[2] or len(data)) + 1, len(data))
        if start >= len(data):
            self._send(416, b"", headers | {"Content-Range": f"bytes */{len(data)}"})
            return
        self._send(206, data[start:stop], headers | {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})

    def _send_json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        fault = self.fault
        if fault.compress:
            body, headers = gzip.compress(body), (headers or {}) | {"Content-Encoding": "gzip"}
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if fault.length is None else fault.length))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault.cut_at is not None:
            body = body[: fault.cut_at]
        step, pause = fault.trickle or (max(1, len(body)), 0.0)
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            self.wfile.flush()
            time.sleep(pause)
        if fault.cut_at is not None or fault.length is not None:
            self.close_connection = True


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate and key for 127.0.0.1, made by the openssl command line tool."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@contextlib.contextmanager
def talking_to(hub: LoopbackHub, home: Path, patch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """Point this process at `hub`, away from the user's token and cache.

    huggingface_hub reads its environment when it is imported, so both the environment and its constants are set.
    """
    import huggingface_hub
    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_OIDC_RESOURCE"):
        patch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        patch.setenv(name, "*")
    patch.setenv("HF_ENDPOINT", hub.endpoint)
    patch.setenv("HF_HOME", str(home))
    patch.setattr(constants, "ENDPOINT", hub.endpoint)
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    huggingface_hub.close_session()
    try:
        yield hub
    finally:
        huggingface_hub.close_session()


@pytest.fixture
def loopback_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A hub over http, which this process takes for the hub; it never gets a token."""
    with LoopbackHub() as hub, talking_to(hub, tmp_path / "hf-home", monkeypatch):
        yield hub


@pytest.fixture
def secure_hub(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LoopbackHub]:
    """A hub over https with a certificate that this process trusts; the one to test tokens with."""
    import httpx2
    import huggingface_hub
    from huggingface_hub.utils._http import default_client_factory, hf_request_event_hook

    try:
        pair = make_certificate(tmp_path_factory.mktemp("certificate"))
    except FileNotFoundError:
        pytest.skip("needs the openssl command line tool")
    trust = ssl.create_default_context(cafile=str(pair[0]))

    def client() -> httpx2.Client:
        hooks = {"request": [hf_request_event_hook]}
        return httpx2.Client(verify=trust, event_hooks=hooks, follow_redirects=True, timeout=None)

    huggingface_hub.set_client_factory(client)
    with LoopbackHub(tls=pair) as hub, talking_to(hub, tmp_path / "hf-home", monkeypatch):
        yield hub
    huggingface_hub.set_client_factory(default_client_factory)
