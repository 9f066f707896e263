"""A checkout's own modules are written anew only where nothing that stays needs what they had."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaffold_tools.errors import Refused
from scaffold_tools.targets.megatron_bridge.replaced import check_replaced, lost_names
from scaffold_tools.workspace.plan import Change

FAMILY = "src/megatron/bridge/models/tide"
PROVIDER = f"{FAMILY}/tide_provider.py"
INIT = f"{FAMILY}/__init__.py"
OURS = Change(PROVIDER, "create", "class TideModelProvider: ...\n", "the provider")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A family whose provider is written by hand."""
    files = {
        PROVIDER: "from os import path\n\nSIZE: int = 1\nclass TideModelProvider: ...\nclass NeapProvider: ...\n",
        f"{FAMILY}/tide_bridge.py": "from megatron.bridge.models.tide.tide_provider import TideModelProvider\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_nobody_imports_may_go(tree: Path) -> None:
    assert lost_names([OURS], tree) == ()


@pytest.mark.parametrize(
    "statement",
    [
        "from megatron.bridge.models.tide.tide_provider import NeapProvider, TideModelProvider",
        "from .tide_provider import NeapProvider",
        "def late():\n    from megatron.bridge.models.tide.tide_provider import NeapProvider as Neap",
    ],
)
def test_a_class_that_an_export_list_still_names_is_not_written_away(tree: Path, statement: str) -> None:
    (tree / INIT).write_text(f"{statement}\n")
    with pytest.raises(
        Refused, match=r"__init__\.py imports NeapProvider of megatron\.bridge\.models\.tide\.tide_provider"
    ):
        check_replaced([OURS], tree)


def test_an_export_list_counts_as_it_will_be(tree: Path) -> None:
    (tree / INIT).write_text("from .tide_provider import NeapProvider\n")
    edited = Change(INIT, "edit", "from .tide_provider import TideModelProvider\n", "exports")
    assert check_replaced([OURS, edited], tree) == ()


def test_a_test_of_what_goes_is_told_and_stops_nothing(tree: Path) -> None:
    path = "tests/unit_tests/models/tide/test_neap.py"
    (tree / path).parent.mkdir(parents=True)
    (tree / path).write_text("from megatron.bridge.models.tide.tide_provider import SIZE\n")
    (note,) = check_replaced([OURS], tree)
    assert note.startswith(f"{path} tests SIZE")


def test_a_module_that_is_new_takes_nothing_away(tree: Path) -> None:
    (tree / INIT).write_text("from .tide_provider import NeapProvider\n")
    assert check_replaced([Change(f"{FAMILY}/modeling_tide.py", "create", "", "blocks")], tree) == ()
