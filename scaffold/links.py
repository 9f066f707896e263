"""Where a reviewer can look at what the checklist rests on: the model's revision, and lines of transformers.

A link that leads nowhere is worse than none, so one is made only for what is certain: a pinned commit on the public
hub, a file that the installed release of transformers really has at that place.
"""

from __future__ import annotations

import re
from pathlib import Path

from scaffold_tools.source.inventory import Source

HUB = "https://huggingface.co"
TRANSFORMERS = "https://github.com/huggingface/transformers/blob"

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LINE = re.compile(r"modeling_(?P<stem>[a-z0-9_]+)\.py:(?P<line>[1-9]\d{0,5})", re.ASCII)
_RELEASE = re.compile(r"\d+\.\d+\.\d+", re.ASCII)


def hub_url(source: Source) -> str | None:
    """The files of the model at the commit that they were read at."""
    pinned = source.revision is not None and _COMMIT.fullmatch(source.revision)
    public = source.kind == "hub" and source.endpoint in (None, HUB)
    return (
        f"{HUB}/{source.name}/tree/{source.revision}" if public and pinned and _REPO.fullmatch(source.name) else None
    )


def code_url(hf_source: str | None, release: str | None, site_packages: Path | None) -> str | None:
    """A line of modeling code in the repository of transformers, at the tag of the installed release.

    Args:
        hf_source: `modeling_x.py:12`.
        release: the version of transformers that was measured.
        site_packages: where it is installed.
    """
    found = _LINE.fullmatch(hf_source or "")
    if found is None or site_packages is None or not _RELEASE.fullmatch(release or ""):
        return None
    path = f"transformers/models/{found['stem']}/modeling_{found['stem']}.py"
    return f"{TRANSFORMERS}/v{release}/src/{path}#L{found['line']}" if (site_packages / path).is_file() else None
