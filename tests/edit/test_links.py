"""A link joins the block of links into its folder, and every other byte stays."""

from __future__ import annotations

import pytest

from scaffold_tools.edit.links import add_link_line
from scaffold_tools.errors import BadInput

PAGE = (
    b"# Overview\n\n#### Configuration\n"
    b"[vLLM](https://x.io/docs/Configuration/vllm)  \n"
    b"[FSDP2](https://x.io/docs/Configuration/fsdp2)  \n\n"
    b"#### Pipeline\n"
    b"[RLVR](https://x.io/docs/Pipeline/rlvr)\n"
    b"[see also](https://x.io/docs/Configuration/other)\n"
)
NEW = "https://x.io/docs/Configuration/wren"


def test_the_line_follows_the_last_link_of_the_block():
    after = add_link_line(PAGE, "Wren", NEW)
    line = f"[FSDP2](https://x.io/docs/Configuration/fsdp2)  \n[Wren]({NEW})  \n\n"
    assert after == PAGE.replace(b"[FSDP2](https://x.io/docs/Configuration/fsdp2)  \n\n", line.encode())


def test_twice_is_as_good_as_once():
    once = add_link_line(PAGE, "Wren", NEW)
    assert add_link_line(once, "Wren", NEW) == once


def test_a_last_link_without_a_line_break_stays_the_last():
    after = add_link_line(PAGE, "DPO", "https://x.io/docs/Pipeline/dpo").decode()
    assert "[DPO](https://x.io/docs/Pipeline/dpo)  \n[RLVR](https://x.io/docs/Pipeline/rlvr)\n" in after


def test_windows_line_ends_stay():
    page = PAGE.replace(b"\n", b"\r\n")
    after = add_link_line(page, "Wren", NEW)
    assert after.count(b"\r\n") == page.count(b"\r\n") + 1
    assert after.replace(f"[Wren]({NEW})  \r\n".encode(), b"") == page


def test_a_page_without_such_a_block_is_bad_input():
    with pytest.raises(BadInput, match="no links into https"):
        add_link_line(PAGE, "Wren", "https://x.io/docs/Models/wren")


@pytest.mark.parametrize(("text", "url"), [("a]b", NEW), ("two\nlines", NEW), ("Wren", "https://x.io/a b"), ("", NEW)])
def test_what_cannot_be_a_link_is_refused(text, url):
    with pytest.raises(BadInput, match="cannot be a link"):
        add_link_line(PAGE, text, url)
