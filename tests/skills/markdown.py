"""The parts of a skill's text that say something that can be checked: links, code spans, code blocks, exit codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_EXIT = re.compile(r"\bexit(?:s with| codes?)? (\d+)\b", re.IGNORECASE)
_EXPECTED = re.compile(r"#\s*exit (\d+)\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced code block."""

    info: str
    """`bash`, `bash run`, `bash lane`, `python`, `python write=PATH`, `python replace=PATH`, `text`."""
    body: str

    @property
    def language(self) -> str:
        return self.info.split(" ")[0]

    @property
    def mark(self) -> str:
        """What is done with it: `run`, `lane`, `write=...`, `replace=...`, or nothing."""
        return self.info.partition(" ")[2]


@dataclass(frozen=True)
class Page:
    """One Markdown file of a skill."""

    path: Path
    text: str
    prose: str
    """Without code blocks and front matter."""
    blocks: tuple[Block, ...]

    @property
    def spans(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_SPAN.findall(self.prose)))

    @property
    def links(self) -> tuple[str, ...]:
        return tuple(_LINK.findall(self.prose))

    @property
    def exit_codes(self) -> tuple[int, ...]:
        return tuple(int(number) for number in _EXIT.findall(self.text))


@dataclass(frozen=True)
class Line:
    """One command of a code block."""

    words: str
    exit_code: int


def page(path: Path, text: str | None = None) -> Page:
    """Read one file; `text` instead of what is on disk, for controls."""
    text = path.read_text(encoding="utf-8") if text is None else text
    body = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    blocks = tuple(Block(found["info"].strip(), found["body"]) for found in _FENCE.finditer(body))
    return Page(path, text, _FENCE.sub("", body), blocks)


def pages(folder: Path) -> tuple[Page, ...]:
    """Every Markdown file that is installed with a skill."""
    found = [folder / "SKILL.md", *sorted((folder / "references").glob("*.md"))]
    return tuple(page(path) for path in found)


def lines(block: Block) -> Iterator[Line]:
    """The commands of a shell block, with the exit code that its comment promises."""
    for line in block.body.splitlines():
        command = line.split(" #", 1)[0].strip()
        if command and not command.startswith("#"):
            expected = _EXPECTED.search(line)
            yield Line(command, int(expected[1]) if expected else 0)
