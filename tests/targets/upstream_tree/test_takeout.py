"""What is taken out of a checkout is the model and nothing else, and upstream's tests keep their assertions."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

from scaffold_tools.errors import BadInput
from targets.upstream_tree import takeout
from targets.upstream_tree.adapt import Names, adapt, counterparts
from targets.upstream_tree.reasons import REASONS, SHARED_REASONS
from targets.upstream_tree.report import put_row, read_record
from targets.upstream_tree.runs import Outcome
from targets.upstream_tree.takeout import Symbol, TakenOut, take_out

BRIDGE = """
from megatron.bridge.models.conversion.model_bridge import MegatronModelBridge
{more}

@MegatronModelBridge.register_bridge(source="{name}ForCausalLM", target=object)
class {name}Bridge(MegatronModelBridge):
    pass
"""
MODELS = "src/megatron/bridge/models"
FILES = {
    f"{MODELS}/__init__.py": """
        from megatron.bridge.models.tide import (
            NeapBridge,
            TideBridge,
            TideProvider,
        )

        __all__ = [
            # Tide
            "NeapBridge",
            "TideBridge",
            "TideProvider",
        ]
    """,
    f"{MODELS}/tide/__init__.py": """
        from megatron.bridge.models.tide.neap_bridge import NeapBridge
        from megatron.bridge.models.tide.tide_bridge import TideBridge
        from megatron.bridge.models.tide.tide_provider import TideProvider

        __all__ = ["NeapBridge", "TideBridge", "TideProvider"]
    """,
    f"{MODELS}/tide/tide_bridge.py": BRIDGE.format(
        name="Tide",
        more="from megatron.bridge.models.tide.common import both\n"
        "from megatron.bridge.models.tide.tide_provider import TideProvider",
    ),
    f"{MODELS}/tide/tide_provider.py": "class TideProvider: ...\n",
    f"{MODELS}/tide/neap_bridge.py": BRIDGE.format(
        name="Neap", more="from megatron.bridge.models.tide.common import both"
    ),
    f"{MODELS}/tide/common.py": "def both(): ...\n",
    "src/megatron/bridge/recipes/__init__.py": """
        from megatron.bridge.recipes.tide import *
        from megatron.bridge.recipes.neap import *
    """,
    "src/megatron/bridge/recipes/tide/__init__.py": """
        from .tide import tide_1b_config

        __all__ = ["tide_1b_config"]
    """,
    "src/megatron/bridge/recipes/tide/tide.py": "def tide_1b_config(): ...\n",
    "src/megatron/bridge/recipes/neap/h100/__init__.py": """
        from megatron.bridge.recipes.neap.h100.tide import *
        from megatron.bridge.recipes.neap.h100.neap import *

        __all__ = ["neap_h100_config", "tide_h100_config"]
    """,
    "src/megatron/bridge/recipes/neap/h100/tide.py": "def tide_h100_config(): ...\n",
    "src/megatron/bridge/recipes/neap/h100/neap.py": "def neap_h100_config(): ...\n",
    "src/megatron/bridge/recipes/neap/__init__.py": "from .neap import neap_config\n",
    "src/megatron/bridge/recipes/neap/neap.py": "def neap_config(): ...\n",
    "tests/unit_tests/models/tide/test_tide_bridge.py": """
        from megatron.bridge.models.tide.tide_bridge import TideBridge

        def test_it():
            assert TideBridge().value == 1
    """,
    "tests/unit_tests/models/tide/test_neap_bridge.py": """
        from megatron.bridge.models.tide.neap_bridge import NeapBridge
    """,
    "tests/unit_tests/models/test_autobridge_registration_matrix.py": """
        EXPECTED_REGISTRATIONS = {
            "NeapForCausalLM": "megatron.bridge.models.tide.neap_bridge.NeapBridge",
            "TideForCausalLM": (
                "megatron.bridge.models.tide.tide_bridge.TideBridge"
            ),
        }
        STRING_REGISTRATIONS = {
            "NeapForCausalLM",
            "TideForCausalLM",
        }
    """,
    "docs/models/tide/index.md": "tide.md\nneap.md\n\n| Tide | [tide.md](tide.md) |\n| Neap | [neap.md](neap.md) |\n",
    "docs/models/tide/tide.md": "# Tide\n",
    "docs/models/tide/neap.md": "# Neap\n",
    "docs/models/README.md": "| Sea | [Tide](tide/tide.md), [Neap](tide/neap.md) |\n",
    "README.md": "| [Neap](docs/models/tide/neap.md) |\n| [Tide](docs/models/tide/tide.md) |\n",
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in which two models share a folder; its registrations are read as from a real one."""
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(textwrap.dedent(text))
    from scaffold_tools.targets.megatron_bridge import profile

    class Read:
        def __init__(self, root: Path) -> None:
            self.rows = tuple(profile._registrations(root / "src"))

        def registration(self, architecture: str) -> profile.Registration | None:
            return next((row for row in self.rows if row.architecture == architecture), None)

    monkeypatch.setattr(takeout, "read_profile", lambda root, **_: Read(root))
    return tmp_path


def test_a_model_goes_with_all_that_only_it_needs(tree: Path) -> None:
    taken = take_out(tree, "TideForCausalLM")
    assert taken.modules == (
        "megatron.bridge.models.tide.tide_bridge",
        "megatron.bridge.models.tide.tide_provider",
    )
    assert [symbol.name for symbol in taken.symbols] == ["TideBridge", "TideProvider"]
    assert taken.recipes == ("megatron.bridge.recipes.neap.h100.tide", "megatron.bridge.recipes.tide.tide")
    listed = ast.parse((tree / "src/megatron/bridge/recipes/neap/h100/__init__.py").read_text()).body
    assert ast.unparse(listed[-1]) == "__all__ = ['neap_h100_config']", "also what came by a star"
    assert [path for path, _ in taken.unit_tests] == ["tests/unit_tests/models/tide/test_tide_bridge.py"]
    assert taken.pages == ("docs/models/tide/tide.md",)
    left = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    assert not [path for path in left if "tide_bridge" in path or "recipes/tide" in path]
    said = {path: (tree / path).read_text() for path in left}
    assert not [path for path, text in said.items() if "TideBridge" in text or "TideForCausalLM" in text]
    assert not [path for path, text in said.items() if "tide.md" in text or "recipes.tide" in text]


def test_the_model_beside_it_stays_whole(tree: Path) -> None:
    take_out(tree, "TideForCausalLM")
    for path in (f"{MODELS}/tide/neap_bridge.py", f"{MODELS}/tide/common.py", "docs/models/tide/neap.md"):
        assert (tree / path).read_text() == textwrap.dedent(FILES[path])
    assert (tree / "README.md").read_text() == "| [Neap](docs/models/tide/neap.md) |\n"
    assert (tree / "docs/models/README.md").read_text() == "| Sea | [Neap](tide/neap.md) |\n"
    matrix = ast.parse((tree / "tests/unit_tests/models/test_autobridge_registration_matrix.py").read_text())
    expected, strings = (ast.literal_eval(node.value) for node in matrix.body if isinstance(node, ast.Assign))
    assert list(expected) == ["NeapForCausalLM"] and strings == {"NeapForCausalLM"}
    listed = ast.parse((tree / MODELS / "__init__.py").read_text()).body[-1]
    assert isinstance(listed, ast.Assign) and ast.literal_eval(listed.value) == ["NeapBridge"]


def test_what_another_model_is_built_on_is_not_taken_out(tree: Path) -> None:
    neap = tree / MODELS / "tide" / "neap_bridge.py"
    neap.write_text("from megatron.bridge.models.tide.tide_bridge import TideBridge\n" + neap.read_text())
    with pytest.raises(BadInput, match="neap_bridge needs"):
        take_out(tree, "TideForCausalLM")


def test_a_model_that_is_not_there_changes_nothing(tree: Path) -> None:
    assert take_out(tree, "EbbForCausalLM").modules == ()
    assert (tree / "README.md").read_text() == FILES["README.md"]


def test_tests_get_our_names_and_keep_their_assertions() -> None:
    names = Names(
        {"m.tide.tide_bridge": "m.tide.ours_bridge"},
        {"TideBridge": Symbol("OursBridge", "m.tide.ours_bridge", ("MegatronModelBridge",), True)},
        frozenset({"_private"}),
        (("_helper", "m.shared", "helper"),),
    )
    imports = "from m.tide.tide_bridge import (\n    TideBridge,\n    _private,\n    _helper,\n)\n"
    after = adapt(f"{imports}\n\nassert TideBridge().a == _private(1)\n", names)
    assert "from m.tide.ours_bridge import OursBridge" in after
    assert '_private = Missing("_private")' in after.replace("'", '"')
    assert "from m.shared import helper as _helper" in after, "what upstream's module imports is where it was"
    assert after.endswith("assert OursBridge().a == _private(1)\n")


def test_classes_of_the_same_base_are_each_others(tmp_path: Path) -> None:
    folder = tmp_path / "src" / "m"
    folder.mkdir(parents=True)
    (folder / "ours.py").write_text("class TIDEProvider(Base): ...\nclass Odd(Other): ...\n")
    taken = TakenOut(
        "TideForCausalLM",
        "m.theirs",
        "TideBridge",
        modules=("m.theirs",),
        symbols=(
            Symbol("TideProvider", "m.theirs", ("Base",), True),
            Symbol("Strange", "m.theirs", ("Other",), True),
            Symbol("helper", "m.theirs", (), False),
        ),
    )
    names = counterparts(taken, tmp_path, ["m.ours"], ("m.ours", "OursBridge"))
    assert {old: symbol.name for old, symbol in names.symbols.items()} == {
        "TideProvider": "TIDEProvider",
        "Strange": "Odd",
    }
    assert names.missing == {"helper"}


def test_a_run_replaces_its_own_rows_alone(tmp_path: Path) -> None:
    place = tmp_path / "record.json"
    put_row(place, "qwen3", {"seconds": 1}, {})
    begun = read_record(place)
    put_row(place, "olmoe", {"seconds": 2}, {"test": Outcome("passed")})
    assert "olmoe" not in begun["rows"], "another run wrote after this one began"
    put_row(place, "qwen3", {"seconds": 3}, {"test": Outcome("passed")})
    now = read_record(place)
    assert {name: row["seconds"] for name, row in now["rows"].items()} == {"qwen3": 3, "olmoe": 2}
    assert now["baseline"] == {"test": {"status": "passed", "said": ""}}


def test_every_reason_says_why_and_on_what_evidence() -> None:
    for row in (*REASONS, *SHARED_REASONS):
        assert row.why and row.test and row.said
        assert not row.holds(row.test, "something else"), "a reason that any failure meets explains none"
