"""What the model is told names the target that it works for."""

from __future__ import annotations

import pytest

from scaffold.agent.prompt import system_prompt
from scaffold.targets import TARGETS


@pytest.mark.parametrize("name", [target.name for target in TARGETS])
def test_the_rules_name_the_target_and_no_other(name: str) -> None:
    text = system_prompt(name)
    assert f"into {name}." in text
    assert "{target}" not in text
    assert not [other.name for other in TARGETS if other.name != name and other.name in text.lower()]
