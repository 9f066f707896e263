"""What a skill shows, works: its marked blocks are run as they stand, in an empty folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .following import follow
from .markdown import Page, page, pages

ROOT = Path(__file__).resolve().parents[2]
PAGES = [text for skill in sorted((ROOT / "skills").iterdir()) for text in pages(skill)]
RUN = [text for text in PAGES if any(block.mark == "run" for block in text.blocks)]
LANE = [text for text in PAGES if any(block.mark == "lane" for block in text.blocks)]


def name(text: Page) -> str:
    return text.path.relative_to(ROOT / "skills").as_posix()


@pytest.fixture
def place(workdir: Path) -> Path:
    """An empty folder with the examples and the models of the evals."""
    shutil.copytree(ROOT / "examples", "examples")
    for files in (ROOT / "skills").glob("*/evals/files"):
        shutil.copytree(files, ".", dirs_exist_ok=True)
    return workdir


@pytest.mark.parametrize("text", RUN, ids=name)
def test_a_page_that_needs_no_lane(text: Page, place: Path) -> None:
    assert follow(text) == []


@pytest.mark.lane
@pytest.mark.parametrize("text", LANE, ids=name)
def test_a_page_that_measures(text: Page, place: Path, shared_lane: None) -> None:
    assert follow(text) == []


def test_a_page_that_promises_the_wrong_exit_code_is_rejected(place: Path) -> None:
    text = "```bash run\nscaffold inspect examples/Qwen--Qwen3-8B   # exit 3\n```\n"
    (problem,) = follow(page(RUN[0].path, text))
    assert "exit code 0 and not 3" in problem


def test_a_page_whose_edit_does_not_apply_is_rejected(place: Path) -> None:
    (place / "x.py").write_text("a = 1\n", encoding="utf-8")
    assert follow(page(RUN[0].path, "```python replace=x.py\nb = 1\n---\nb = 2\n```\n")) == ["x.py: 0 places that fit"]
    assert follow(page(RUN[0].path, "```python replace=x.py\na = 1\n---\na = 2\n```\n")) == []
    assert (place / "x.py").read_text(encoding="utf-8") == "a = 2\n"
