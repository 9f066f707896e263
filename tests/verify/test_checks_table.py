"""The table of checks says what the harness does."""

from __future__ import annotations

import ast

from scaffold_tools.paths import harness_dir
from scaffold_tools.verify.checks import CHECKS, check_kind
from scaffold_tools.verify.stored import COVERAGE


def test_every_check_of_the_harness_has_a_row_and_every_row_a_check() -> None:
    recorded = set()
    for file in (
        file for folder in ("checks", "jobs", "mca", "gpu") for file in (harness_dir() / folder).glob("*.py")
    ):
        for node in ast.walk(ast.parse(file.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            is_add = isinstance(called, ast.Attribute) and called.attr == "add"
            if is_add and ast.unparse(called.value).endswith("checks"):  # other sets have names added, too
                first = node.args[0]
                assert isinstance(first, ast.Constant)
                recorded.add(first.value)
    recorded |= {COVERAGE, "gpu.tests"}  # read from headers, without the lane; counted by pytest
    assert recorded == {kind.name for kind in CHECKS}
    assert len(recorded) == len(CHECKS)


def test_tolerances_in_the_table_are_the_ones_that_decide() -> None:
    from checks import tolerances

    shown = {kind.name: kind.tolerance for kind in CHECKS}
    assert float(shown["logits.max_abs"]) == tolerances.LOGITS_MAX_ABS
    assert float(shown["logits.cosine"]) == tolerances.LOGITS_COSINE
    assert float(shown["stored.logits"]) == tolerances.LOGITS_MAX_ABS
    assert float(shown["reference.noise"]) == tolerances.NOISE_LIMIT


def test_every_row_says_what_it_cannot_see() -> None:
    assert all(kind.proves and kind.cannot_see and kind.why for kind in CHECKS)
    assert check_kind("round_trip.exact") is not None
    assert check_kind("no such check") is None
