"""What docs/coverage-roll.json says, which a run against a real checkout wrote."""

from __future__ import annotations

from pathlib import Path

from scaffold.matrix.beside import PROVEN, read_rows

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_type_on_stock_modules_is_proven_for_roll() -> None:
    ours = {row.model_type: row for row in read_rows(DOCS / "coverage-roll.json")}
    stock = [row.model_type for row in read_rows(DOCS / "coverage.json") if row.outcome == "proven"]
    behind = [name for name in stock if ours[name].outcome not in PROVEN]
    assert behind == []
    assert sum(row.outcome in PROVEN for row in ours.values()) >= 45


def test_nothing_is_proven_without_figures() -> None:
    for found in read_rows(DOCS / "coverage-roll.json"):
        if found.outcome not in PROVEN:
            assert found.reason, found.model_type
            continue
        values = (found.logits_max_abs or {}).values()
        assert values, found.model_type
        assert all(isinstance(value, float) and value < 1e-4 for value in values), found.model_type
        assert set((found.round_trip or {}).values()) == {"passed"}, found.model_type
