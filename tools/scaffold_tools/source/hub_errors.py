"""What went wrong between us and a hub, as one line with the next step."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import httpx2
from huggingface_hub import errors as hub

from scaffold_tools.errors import BadInput, EnvironmentLacks, ScaffoldError
from scaffold_tools.source.retry import retry_after


class Failure(NamedTuple):
    """Everything a message may need; the token itself never appears in one."""

    error: Exception
    what: str
    name: str
    endpoint: str
    has_token: bool
    secure: bool

    @property
    def status(self) -> int | None:
        """The HTTP status, where there was an answer."""
        response = getattr(self.error, "response", None)
        return None if response is None else response.status_code

    @property
    def token_hint(self) -> str:
        """What to do about the token."""
        if not self.secure:
            return "no token is sent over http: set HF_ENDPOINT to an https address"
        return "check that your token may read it" if self.has_token else "set HF_TOKEN or run `hf auth login`"


class Row(NamedTuple):
    """One kind of failure: when it applies, the exit code's class, what to say and what to do."""

    applies: Callable[[Failure], bool]
    kind: type[ScaffoldError]
    say: Callable[[Failure], str]
    hint: Callable[[Failure], str]


def explain(
    error: Exception, *, what: str, name: str, endpoint: str, token: str | None, secure: bool
) -> ScaffoldError:
    """The first row that applies; the last one always does."""
    failure = Failure(error, what, name, endpoint, token is not None, secure)
    row = next(row for row in ROWS if row.applies(failure))
    return row.kind(row.say(failure), hint=row.hint(failure))


def _is(*kinds: type[BaseException]) -> Callable[[Failure], bool]:
    return lambda failure: isinstance(failure.error, kinds)


def _status(*codes: int) -> Callable[[Failure], bool]:
    return lambda failure: failure.status in codes


def _rate_limited(failure: Failure) -> str:
    asked = retry_after(failure.error.response.headers)  # type: ignore[attr-defined]
    return "try again later" if asked is None else f"it asks to wait {asked:.0f} s; a token raises the limit"


_LOCAL = "check the connection, or give a local folder"

# Order matters: a gated repository is a kind of missing one in huggingface_hub, and all are HTTP errors.
ROWS: tuple[Row, ...] = (
    Row(
        _is(hub.GatedRepoError),
        BadInput,
        lambda f: f"{f.name} is gated" + (" and your account has no access" if f.has_token else ""),
        lambda f: f"accept its licence at {f.endpoint}/{f.name}, then {f.token_hint}",
    ),
    Row(
        _is(hub.DisabledRepoError),
        BadInput,
        lambda f: f"{f.name} was disabled by the hub",
        lambda f: f"see {f.endpoint}/{f.name}",
    ),
    Row(
        _is(hub.RevisionNotFoundError),
        BadInput,
        lambda f: f"{f.name} has no such revision: {f.what}",
        lambda f: f"see {f.endpoint}/{f.name}/tree/main",
    ),
    Row(
        _is(hub.RepositoryNotFoundError),
        BadInput,
        lambda f: f"{f.endpoint} has no model {f.name}, or it is private",
        lambda f: f"check the spelling; if it is private, {f.token_hint}",
    ),
    Row(
        _is(hub.EntryNotFoundError),
        BadInput,
        lambda f: f"{f.what} is not there",
        lambda f: f"see {f.endpoint}/{f.name}/tree/main",
    ),
    Row(
        _is(hub.HFValidationError),
        BadInput,
        lambda f: f"{f.name!r} is not a repository name",
        lambda f: "give org/name",
    ),
    Row(
        _status(401, 403),
        BadInput,
        lambda f: f"{f.endpoint} refuses {f.what} ({f.status})",
        lambda f: f.token_hint,
    ),
    Row(
        _status(404),
        BadInput,
        lambda f: f"{f.endpoint} does not have {f.what}",
        lambda f: "check the spelling",
    ),
    Row(
        _status(429),
        EnvironmentLacks,
        lambda f: f"{f.endpoint} limits the rate of requests (429) for {f.what}",
        _rate_limited,
    ),
    Row(
        lambda f: f.status is not None,
        EnvironmentLacks,
        lambda f: f"{f.endpoint} answers {f.status} for {f.what}",
        lambda f: "try again later, or give a local folder",
    ),
    Row(
        _is(hub.OfflineModeIsEnabled),
        EnvironmentLacks,
        lambda f: f"cannot read {f.what}: offline mode is on",
        lambda f: "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE, or give a local folder",
    ),
    Row(
        _is(httpx2.TimeoutException),
        EnvironmentLacks,
        lambda f: f"{f.endpoint} did not answer in time for {f.what}",
        lambda f: _LOCAL,
    ),
    Row(
        _is(httpx2.TooManyRedirects),
        EnvironmentLacks,
        lambda f: f"{f.endpoint} redirects in a circle for {f.what}",
        lambda f: "check HF_ENDPOINT",
    ),
    Row(
        _is(httpx2.ConnectError),
        EnvironmentLacks,
        lambda f: f"cannot reach {f.endpoint} for {f.what}: {f.error}",
        lambda f: _LOCAL,
    ),
    Row(
        _is(KeyError, TypeError, ValueError, AttributeError),  # the answer does not have the shape of a hub's
        BadInput,
        lambda f: f"{f.endpoint} does not answer as a hub does for {f.what}",
        lambda f: "is HF_ENDPOINT a hub?",
    ),
    Row(
        lambda f: True,
        EnvironmentLacks,
        lambda f: f"{f.endpoint} broke off while sending {f.what}: {f.error or type(f.error).__name__}",
        lambda f: _LOCAL,
    ),
)
