"""A repository on a hub, read at one commit: file list, small files, and the heads of large ones.

Requests go through huggingface_hub's own client (proxies, certificates, offline mode are the user's); what is added
here is a size limit and a deadline on every body, retries that honour the server, and where the token may go.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from scaffold_tools.errors import BadInput, EnvironmentLacks, Refused, ScaffoldError
from scaffold_tools.source.retry import RETRY_STATUS, RetryPolicy, retry_after
from scaffold_tools.source.trust import is_printable

if TYPE_CHECKING:
    import httpx2

_COMMIT = re.compile(r"[0-9a-f]{40}")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MAX_FILES = 100_000


@dataclass(frozen=True)
class Limits:
    """Seconds; each is generous for a person's connection and far below what a stuck server would take."""

    silence: float = 15.0
    """Longest pause within one response."""
    body: float = 120.0
    """Longest time for one whole body: a server that trickles bytes never falls silent."""


class HubFiles:
    """The files of `name` at commit `revision`; satisfies `headers.Files`."""

    def __init__(self, hub: Hub, name: str, revision: str, names: tuple[str, ...], notes: tuple[str, ...]) -> None:
        self.hub = hub
        self.name = name
        self.revision = revision
        self.names = names
        self.notes = notes

    def where(self, name: str) -> str:
        """See `headers.Files`."""
        return f"{self.name}/{name}"

    def read(self, name: str, *, limit: int) -> bytes:
        """See `headers.Files`."""
        data, size = self.hub.get(self, name, 0, limit + 1)
        if len(data) > limit or (size is not None and size > limit):
            raise BadInput(f"{self.where(name)} is {size or len(data):,} bytes, more than the {limit:,} accepted")
        return data

    def read_head(self, name: str, start: int, stop: int) -> tuple[bytes, int | None]:
        """See `headers.Files`."""
        return self.hub.get(self, name, start, stop)


class Hub:
    """One endpoint and what may be sent to it.

    Args:
        endpoint: checked address without trailing slash.
        token: the user's; None = the one that huggingface_hub finds (HF_TOKEN, or stored by `hf auth login`).
        on_progress: told in one line that a request is repeated, and when.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        token: str | None = None,
        retry: RetryPolicy | None = None,
        limits: Limits | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        from huggingface_hub import constants

        # Besides the statistics this stops a request for the list of known coding agents before the first real one.
        constants.HF_HUB_DISABLE_TELEMETRY = True
        self.endpoint = endpoint
        self.retry = retry or RetryPolicy()
        self.limits = limits or Limits()
        self.on_progress = on_progress or (lambda line: None)
        self.secure = urlsplit(endpoint).scheme == "https"
        self._token = _choose_token(token) if self.secure else None

    def pin(self, name: str, revision: str | None) -> HubFiles:
        """Resolve a revision to its 40-hex commit and list the files there.

        Raises:
            BadInput: no such repository or revision, or no access. EnvironmentLacks: the hub cannot be reached.
        """
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.endpoint, token=self._token or False)
        what = f"{name} at revision {revision}" if revision else name
        info = self._ask(lambda: api.model_info(name, revision=revision, timeout=self.limits.silence), what, name)
        commit = str(info.sha or "").lower()
        if not _COMMIT.fullmatch(commit):
            raise BadInput(f"{self.endpoint} gave no commit for {what}", hint="is HF_ENDPOINT a hub?")
        names = tuple(sorted(filter(is_printable, (str(file.rfilename) for file in info.siblings or ()))))[:MAX_FILES]
        notes = () if self.secure or _is_loopback(self.endpoint) else (_WITHHELD,)
        return HubFiles(self, name, commit, names, notes)

    def get(self, files: HubFiles, name: str, start: int, stop: int) -> tuple[bytes, int | None]:
        """Bytes `start:stop` of a file and its size where the server says it.

        Raises:
            BadInput: no such file or no access. EnvironmentLacks: unreachable, too slow. Refused: see `_check_final`.
        """
        # Not `hf_hub_url`: it keeps the endpoint that huggingface_hub was imported with when the two differ.
        url = f"{self.endpoint}/{files.name}/resolve/{files.revision}/{quote(name)}"
        return self._ask(lambda: self._stream(url, start, stop), files.where(name), files.name)

    def _stream(self, url: str, start: int, stop: int) -> tuple[bytes, int | None]:
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        headers = build_hf_headers(token=self._token or False, library_name="scaffold-models")
        # No compression: a few bytes on the wire must not become gigabytes here, and ranges count file bytes.
        headers |= {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        with get_session().stream("GET", url, headers=headers, timeout=self.limits.silence) as response:
            if response.status_code == 416:  # the file ends before `start`
                return b"", None
            if response.status_code >= 400:
                hf_raise_for_status(response)
            self._check_final(response)
            return self._read_body(response, start, stop)

    def _read_body(self, response: httpx2.Response, start: int, stop: int) -> tuple[bytes, int | None]:
        ranged = response.status_code == 206
        # Asked not to, some mirrors compress all the same: then lengths count other bytes, and a part is no use.
        encoded = response.headers.get("Content-Encoding", "identity").lower() != "identity"
        if encoded and ranged:
            raise EnvironmentLacks(f"{self.endpoint} compresses parts of files", hint="use another HF_ENDPOINT")
        size = None if encoded else _total_size(response, ranged=ranged)
        skip = 0 if ranged else start  # a server that ignores ranges sends the file from its beginning
        wanted = stop - start + skip
        data = self._collect(response.iter_bytes() if encoded else response.iter_raw(), wanted)
        expected = wanted if size is None else min(wanted, size - (start if ranged else 0))
        if size is not None and len(data) < expected:
            raise _CutOff(f"sent {len(data):,} of {expected:,} bytes")
        return bytes(data[skip:wanted]), size

    def _collect(self, chunks: Iterator[bytes], wanted: int) -> bytearray:
        """At most a chunk more than `wanted` bytes: never the rest of a weights file."""
        deadline = time.monotonic() + self.limits.body
        data = bytearray()
        for chunk in chunks:
            data += chunk
            if len(data) >= wanted:
                break
            if time.monotonic() > deadline:
                raise _TooSlow(f"sent {len(data):,} bytes in {self.limits.body:.0f} s")
        return data

    def _check_final(self, response: httpx2.Response) -> None:
        """A redirect from https to http would let anyone on the way replace the file."""
        if self.secure and response.url.scheme != "https":
            raise Refused(f"{self.endpoint} redirects to the unencrypted {response.url.host}")

    def _ask[Answer](self, request: Callable[[], Answer], what: str, name: str) -> Answer:
        """Run one request, again where waiting may help, and turn what is left into one clear line."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return request()
            except ScaffoldError:
                raise
            except Exception as error:
                wait = self.retry.wait(attempt, _asked_wait(error)) if _may_pass(error) else None
                if wait is None:
                    raise self._explain(error, what, name) from error
                self.on_progress(f"{self.endpoint} did not send {what}; asking again in {wait:.0f} s")
                self.retry.sleep(wait)

    def _explain(self, error: Exception, what: str, name: str) -> ScaffoldError:
        from scaffold_tools.source.hub_errors import explain

        return explain(error, what=what, name=name, endpoint=self.endpoint, token=self._token, secure=self.secure)


_WITHHELD = "HF_ENDPOINT is plain http: no token was sent"


class _TooSlow(Exception):
    """The whole body took longer than `Limits.body`."""


class _CutOff(Exception):
    """The connection closed before the announced length."""


def _is_loopback(endpoint: str) -> bool:
    return urlsplit(endpoint).hostname in _LOOPBACK


def _choose_token(token: str | None) -> str | None:
    from huggingface_hub import constants, get_token

    if token is not None:
        return token.strip() or None
    return None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()


def _total_size(response: httpx2.Response, *, ranged: bool) -> int | None:
    text = response.headers.get("Content-Range", "").rpartition("/")[2] if ranged else None
    text = response.headers.get("Content-Length", "") if text is None else text
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _may_pass(error: Exception) -> bool:
    import httpx2

    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code in RETRY_STATUS
    if _has_cause(error, socket.gaierror):  # the name is wrong or there is no network: neither passes in seconds
        return False
    passing = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError, _CutOff)
    return isinstance(error, passing)


def _has_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None


def _asked_wait(error: Exception) -> float | None:
    response: Any = getattr(error, "response", None)
    return None if response is None else retry_after(response.headers)
