"""An error of this machine is no defect of upstream's, and no row names a folder of this machine."""

from __future__ import annotations

import pytest
from upstream_measure import _outcome, _short


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("ModuleNotFoundError: No module named 'fla'", "not measurable"),
        ("AssertionError: FP8 is only supported on CUDA", "not measurable"),
        ("KeyError: 'factor'", "fails"),
        ("ValueError: Shape mismatch for megatron param output_layer.weight", "fails"),
    ],
)
def test_what_this_machine_lacks_is_no_defect(said: str, outcome: str) -> None:
    assert _outcome(said) == outcome


def test_a_path_says_no_more_than_the_package() -> None:
    said = _short(
        "KeyError: 'x' [/home/some/one/mb/src/megatron/bridge/models/a.py:1 < /opt/x/harness/mcore/build.py:36]"
    )
    assert said == "KeyError: 'x' [bridge/models/a.py:1 < harness/mcore/build.py:36]"
    assert len(_short("word " * 200)) == 300
