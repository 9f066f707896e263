"""Looks up in checkouts what skills name and neither this repository nor the lane has; writes `upstream.json`.

    python tests/skills/record_upstream.py Megatron-Bridge=PATH ROLL=PATH

A name is recorded when some text file of the checkout has it, a path when it is there (`<...>` stands for one part).
What is found nowhere is printed, and the exit code is 1: the skill is wrong.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import re
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from skills.markdown import pages
from skills.resolver import ROOT, UPSTREAM, unresolved, world


def main(args: list[str]) -> int:
    checkouts = dict(arg.split("=", 1) for arg in args)
    bare = dataclasses.replace(world(), upstream=frozenset(), paths=frozenset())
    wanted = {
        span
        for skill in sorted((ROOT / "skills").iterdir())
        for page in pages(skill)
        for span in unresolved(page, bare)
    }
    recorded: dict[str, dict[str, object]] = {}
    for name, place in checkouts.items():
        files = git(place, "ls-tree", "-r", "--name-only", "HEAD").splitlines()
        names = sorted(span for span in wanted if not is_path(span) and occurs(place, span))
        paths = sorted(span for span in wanted if is_path(span) and exists(files, span))
        recorded[name] = {"commit": git(place, "rev-parse", "HEAD").strip(), "names": names, "paths": paths}
        wanted -= {*names, *paths}
    UPSTREAM.write_text(json.dumps(recorded, indent=2) + "\n", encoding="utf-8")
    for span in sorted(wanted):
        print(f"nowhere: {span}", file=sys.stderr)
    return 1 if wanted else 0


def is_path(span: str) -> bool:
    return "/" in span and " " not in span


def exists(files: list[str], span: str) -> bool:
    pattern = re.sub(r"<[^<>]+>", "*", span).strip("/")
    return any(
        fnmatch.fnmatch(file, end)
        for file in files
        for end in (pattern, f"{pattern}/*", f"*/{pattern}", f"*/{pattern}/*")
    )


def occurs(place: str, span: str) -> bool:
    return bool(git(place, "grep", "-lFw", "-e", span, "HEAD", "--", ":(exclude)skills/*"))


def git(place: str, *args: str) -> str:
    return subprocess.run(["git", "-C", place, *args], capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
