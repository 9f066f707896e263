"""What the user typed, understood: a local folder, a config.json, or a repository on a hub."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

from scaffold_tools.errors import BadInput

DEFAULT_ENDPOINT = "https://huggingface.co"
_HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
# The hub's own rule: up to 96 letters, digits, `-`, `_`, `.`; no leading or trailing `-` or `.`, no `--`, no `..`.
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REPOSITORY = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]{0,254}")
_WAYS = "give org/name, a hub URL, a local folder or a config.json"


@dataclass(frozen=True)
class Link:
    """A parsed LINK; nothing has been read yet and no revision resolved."""

    text: str
    kind: Literal["hub", "folder", "config"]
    name: str
    revision: str | None = None
    """Branch, tag or commit as asked for; None = the default branch."""
    endpoint: str | None = None
    path: Path | None = None


def parse_link(text: str, *, endpoint: str | None = None) -> Link:
    """Understand LINK. A local path that exists wins over a repository of the same spelling.

    Args:
        endpoint: the hub to use; default is the environment's HF_ENDPOINT, else https://huggingface.co.

    Raises:
        BadInput: it is neither; it has control characters, credentials, another host, or a path that climbs.
    """
    if not text.strip() or not text.isprintable() or len(text) > 4096:
        raise BadInput(f"the link {text[:100]!r} is empty, too long or has control characters", hint=_WAYS)
    if "://" in text or text.split("/", 1)[0].lower() in _HUB_HOSTS:
        return _parse_url(text, endpoint or hub_endpoint())
    local = _parse_local(text)
    if local is not None:
        return local
    if _is_repository(text):
        return Link(text=text, kind="hub", name=text, endpoint=endpoint or hub_endpoint())
    raise BadInput(f"{text!r} is neither a local path that exists nor an org/name on the hub", hint=_WAYS)


def hub_endpoint() -> str:
    """The hub of this environment: HF_ENDPOINT, else https://huggingface.co; without a trailing slash.

    Raises:
        BadInput: HF_ENDPOINT is not a plain http(s) URL.
    """
    return check_endpoint(os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT)


def check_endpoint(endpoint: str) -> str:
    """An endpoint without trailing slash; credentials, query and other schemes are refused.

    Raises:
        BadInput: see above.
    """
    url = _split(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc or url.query or url.fragment:
        raise BadInput("HF_ENDPOINT is not a plain http(s) URL", hint=f"for example {DEFAULT_ENDPOINT}")
    return endpoint.rstrip("/")


def _parse_local(text: str) -> Link | None:
    try:
        path = Path(text).expanduser()
        # Asked of the path as typed: `resolve` would turn `absent/..` into a folder that exists.
        if not path.exists():
            return None
        resolved = path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: no such user in `~user`, a loop of links
        raise BadInput(f"cannot look at the path {text!r}: {error}") from error
    if resolved.is_dir():
        return Link(text=text, kind="folder", name=_plain(resolved.name), path=path)
    if path.suffix == ".gguf":
        raise BadInput(f"{text!r} is a GGUF file, which is converted from a model", hint="give the original model")
    if path.suffix != ".json" or not resolved.is_file():
        raise BadInput(f"{text!r} is a file, but no config.json", hint=_WAYS)
    name = path.absolute().parent.name if path.name == "config.json" else path.stem
    return Link(text=text, kind="config", name=_plain(name), path=path)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "model"


def _is_repository(text: str) -> bool:
    return _REPOSITORY.fullmatch(text) is not None and "--" not in text and ".." not in text


def _parse_url(text: str, endpoint: str) -> Link:
    url = _split(text if "://" in text else f"https://{text}")
    hub = _split(endpoint)
    if "@" in url.netloc:  # not repeated in the message: it may be a password
        raise BadInput("the link has credentials in it", hint="remove them and set HF_TOKEN")
    if url.scheme not in ("http", "https"):
        raise BadInput(f"{text!r} is not an http(s) link", hint=_WAYS)
    at_hub = url.hostname in _HUB_HOSTS and url.port in (None, 443)
    at_endpoint = (url.hostname, url.port) == (hub.hostname, hub.port)
    if not at_hub and not at_endpoint:
        raise BadInput(
            f"{text!r} is on the host {url.hostname or ''!r}, which is not the hub",
            hint="for a hub of your own set HF_ENDPOINT to its address",
        )
    prefix = hub.path.rstrip("/") + "/" if at_endpoint else "/"
    if not url.path.startswith(prefix):
        raise BadInput(f"{text!r} is outside HF_ENDPOINT", hint=_WAYS)
    name, revision = _split_path(url.path[len(prefix) :], text)
    return Link(text=text, kind="hub", name=name, revision=revision, endpoint=endpoint)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # parsed when asked for
    except ValueError as error:
        raise BadInput(f"{url!r} is not a URL: {error}", hint=_WAYS) from error
    return parts


def _split_path(path: str, text: str) -> tuple[str, str | None]:
    parts = path.strip("/").split("/")
    if parts[0] == "models" and len(parts) > 2 and parts[1] != "tree":
        parts = parts[1:]
    if parts[0] in ("datasets", "spaces", "buckets", "kernels", "collections"):
        raise BadInput(f"{text!r} is not a model", hint=_WAYS)
    name = "/".join(parts[:2])
    if not _is_repository(name):
        raise BadInput(f"{text!r} does not name a repository as org/name", hint=_WAYS)
    if len(parts) == 2:
        return name, None
    if parts[2] not in ("tree", "blob", "resolve", "raw", "commit") or len(parts) < 4:
        return name, None  # a tab of the repository's page: /discussions, /commits
    revision = unquote(parts[3])
    rest = parts[4:]
    if revision == "refs" and len(rest) >= 2:  # refs/pr/1 typed without escapes
        revision, rest = "/".join(["refs", *rest[:2]]), rest[2:]
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision:
        raise BadInput(f"{text!r} names the revision {revision!r}, which cannot be one", hint=_WAYS)
    if parts[2] == "tree" and rest:
        raise BadInput(f"{text!r} is a folder inside a repository", hint="download it and give the local folder")
    return name, revision
