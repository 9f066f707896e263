"""ROLL looks a model up by the type of its loaded config, which few types share with another."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scaffold_tools.targets.roll.loaded_types import loaded_type
from scaffold_tools.targets.roll.naming import names_of
from scaffold_tools.targets.roll.profile import read_profile

from .adapter_tree import write_adapter
from .models import dense

LARK = """
@auto_docstring
class LarkConfig(PreTrainedConfig):
    model_type = "lark"


class LarkTextConfig(PreTrainedConfig):
    model_type: str = "lark_text"
"""
MAPPINGS = """
CONFIG_MAPPING_NAMES = OrderedDict([("lark", "LarkConfig"), ("lark_text", "LarkTextConfig"), ("swift", "LarkConfig")])
OTHER_NAMES = OrderedDict([("robin", "LarkConfig")])
"""
ADDED = """
CONFIG_MAPPING_NAMES = OrderedDict(**{"old-lark": "LarkConfig", "lost": "GoneConfig"}, **CONFIG_MAPPING_NAMES)
"""


@pytest.fixture
def packages(tmp_path: Path) -> str:
    """A transformers in miniature, whose types share a class in both spellings."""
    models = tmp_path / "site" / "transformers" / "models"
    files = {
        "lark/configuration_lark.py": LARK,
        "auto/auto_mappings.py": MAPPINGS,
        "auto/configuration_auto.py": ADDED,
    }
    for name, text in files.items():
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        (models / name).write_text(text)
    return str(tmp_path / "site")


@pytest.mark.parametrize(
    ("model_type", "loaded"),
    [
        ("lark", "lark"),
        ("lark_text", "lark_text"),
        ("swift", "lark"),
        ("old-lark", "lark"),
        ("lost", "lost"),
        ("robin", "robin"),
    ],
)
def test_a_type_without_a_class_of_its_own_is_called_as_the_class_is(
    packages: str, model_type: str, loaded: str
) -> None:
    assert loaded_type(packages, model_type) == loaded


def test_without_transformers_a_type_is_itself() -> None:
    assert loaded_type(None, "old-lark") == "old-lark"


def test_a_package_registers_the_type_that_roll_will_look_up(tmp_path: Path, packages: str) -> None:
    profile = dataclasses.replace(read_profile(*write_adapter(tmp_path)), edits=False, site_packages=packages)
    old = dataclasses.replace(dense(), model_type="old-lark")
    assert names_of(old, profile).model_type == "lark"
    assert names_of(old, dataclasses.replace(profile, site_packages=None)).model_type == "old-lark"
