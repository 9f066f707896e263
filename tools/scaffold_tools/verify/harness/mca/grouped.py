"""Experts in one grouped multiplication, as recipes of ROLL have them: other names, other rules, the same model."""

from __future__ import annotations

from checks.measured import Checks, Clock
from checks.weights import difference_of
from mcore.build import forward

from mca.load import Loaded, Seen, load
from mca.toy import Toy
from mca.weights import export


def compare_grouped(toy: Toy, loaded: Loaded, checks: Checks) -> None:
    """Load once more with `moe_grouped_gemm`; records `experts.grouped`: logits, and the export bit for bit."""
    if not loaded.config.num_moe_experts or loaded.config.moe_grouped_gemm:
        why = "the experts are grouped already" if loaded.config.num_moe_experts else "no experts"
        checks.skip(("experts.grouped",), why)
        return
    clock, reference = Clock(), toy.reference
    grouped = load(toy.folder, toy.model_type, Seen(), moe_grouped_gemm=True)
    logits = forward(grouped.model, reference.tokens, reference.logits.shape[-1])
    largest = float((logits - reference.logits).abs().nan_to_num(nan=float("inf")).max())
    _, detail = difference_of(export(grouped, toy.beside("grouped")), toy.saved)
    value = largest if largest != float("inf") else "not finite"
    passed = largest < reference.limit and not detail
    checks.add("experts.grouped", passed, value=value, threshold=reference.limit, detail=detail, seconds=clock.lap())
