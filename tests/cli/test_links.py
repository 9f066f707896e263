"""A link in the checklist leads somewhere, or there is none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scaffold import links
from scaffold_tools.errors import BadInput
from scaffold_tools.render import literals
from scaffold_tools.source.inventory import Source


def test_a_line_of_code_is_linked_only_where_the_release_has_the_file(tmp_path: Path) -> None:
    code = tmp_path / "transformers/models/x/modeling_x.py"
    code.parent.mkdir(parents=True)
    code.touch()
    url = links.code_url("modeling_x.py:12", "5.12.1", tmp_path)
    assert url is not None
    assert url.endswith("/v5.12.1/src/transformers/models/x/modeling_x.py#L12")
    for source, release in (
        ("modeling_y.py:12", "5.12.1"),
        ("../modeling_x.py:12", "5.12.1"),
        ("modeling_x.py:12", "5.13.0.dev0"),
        ("modeling_x.py", "5.12.1"),
        (None, "5.12.1"),
    ):
        assert links.code_url(source, release, tmp_path) is None
    assert links.code_url("modeling_x.py:12", "5.12.1", None) is None


def test_only_a_pinned_commit_on_the_public_hub_is_linked() -> None:
    pinned = Source("org/model", "hub", "org/model", revision="a" * 40)
    assert links.hub_url(pinned) == f"https://huggingface.co/org/model/tree/{'a' * 40}"
    for other in (
        dataclasses.replace(pinned, revision=None),
        dataclasses.replace(pinned, endpoint="https://mirror.example"),
        dataclasses.replace(pinned, kind="folder"),
        dataclasses.replace(pinned, name="org/model)](http://evil"),
    ):
        assert links.hub_url(other) is None


@pytest.mark.parametrize("evil", ["http://x.y/", "https://x.y/)](https://z", "https://x.y/a b", "javascript:x", "", 3])
def test_a_link_has_no_way_out(evil: object) -> None:
    with pytest.raises(BadInput):
        literals.https_url(evil)
