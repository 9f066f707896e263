"""Add a line to a list of links that stands in a Markdown page as one link a line."""

from __future__ import annotations

import itertools
import re

from scaffold_tools.errors import BadInput

_LINK = re.compile(r"\[([^\]]*)\]\(([^()\s]*)\)(\s*)")


def add_link_line(source: bytes, text: str, url: str) -> bytes:
    """Add `[text](url)` to the block of links whose targets lie in the same folder as `url`; twice is as good as once.

    It becomes the last but for what could not stand before it: two spaces at the end of a line are Markdown's line
    break, and a last link without them stays the last.

    Args:
        source: a Markdown file.
        text: what the link reads.
        url: where it leads; its folder tells which block is meant.

    Raises:
        BadInput: no such block, or a text or url that cannot be a link.
    """
    if not text or not text.isprintable() or set(text) & set("[]") or not re.fullmatch(r"[^()\s]+", url):
        raise BadInput(f"{text!r} to {url!r} cannot be a link")
    try:
        lines = re.findall(r"[^\n]*\n|[^\n]+", source.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadInput(f"the Markdown file is not UTF-8: byte {error.start}") from error
    links = [_LINK.fullmatch(line) for line in lines]
    if any(link is not None and link.group(2) == url for link in links):
        return source
    folder = url.rpartition("/")[0]
    block = [number for number, link in enumerate(links) if link and link.group(2).rpartition("/")[0] == folder]
    if not block:
        raise BadInput(f"the page has no links into {folder}", hint="add the entry by hand")
    last = block[-1]
    for before, number in itertools.pairwise(block):
        if number != before + 1:  # the first block, where the folder's links stand together
            last = before
            break
    ends = lines[last][len(lines[last].rstrip("\r\n")) :] or "\n"
    broken = lines[last].rstrip("\r\n").endswith("  ")
    at = last + 1 if broken and lines[last].endswith("\n") else last
    return "".join([*lines[:at], f"[{text}]({url})  {ends}", *lines[at:]]).encode("utf-8")
