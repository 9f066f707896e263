"""The stand-ins compute what torch.nn, or the formula, says."""

from __future__ import annotations

import pytest

from scaffold_tools.verify.lane import LaneSession

pytestmark = pytest.mark.lane


def test_stand_ins_agree_with_torch(lane: LaneSession) -> None:
    figures = lane.call("check_standins", {})
    wrong = {name: figure for name, figure in figures.items() if not name.startswith("control") and figure > 1e-5}
    assert not wrong
    assert len(figures) > 12


def test_the_comparison_sees_a_window_that_is_one_token_too_wide(lane: LaneSession) -> None:
    assert lane.call("check_standins", {})["control: window off by one"] > 1e-2
