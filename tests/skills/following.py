"""Doing what a page says: its marked blocks, one after the other, in the current folder."""

from __future__ import annotations

import shlex
from pathlib import Path

from scaffold import cli

from .markdown import Block, Page, lines

SEPARATOR = "\n---\n"
"""Between the old and the new text of a block that is marked `replace=PATH`."""


def follow(page: Page) -> list[str]:
    """Run and write all marked blocks; returns what went otherwise than the page says."""
    return [problem for block in page.blocks for problem in follow_block(block)]


def follow_block(block: Block) -> list[str]:
    if block.mark in ("run", "lane"):
        found = []
        for line in lines(block):
            code = cli.run(shlex.split(line.words)[1:])
            if code != line.exit_code:
                found.append(f"{line.words}: exit code {code} and not {line.exit_code}")
        return found
    kind, _, path = block.mark.partition("=")
    if kind == "write":
        Path(path).write_text(block.body, encoding="utf-8")
    elif kind == "replace":
        old, new = block.body.rstrip("\n").split(SEPARATOR)
        text = Path(path).read_text(encoding="utf-8")
        if text.count(old) != 1:
            return [f"{path}: {text.count(old)} places that fit"]
        Path(path).write_text(text.replace(old, new), encoding="utf-8")
    return []
