"""One integration of upstream on one model: measured, located, and measured again with fixes."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from upstream_fixes import FIXES
from upstream_rows import Outcome, Row
from upstream_source import Fix, fewest, write_fixes

from scaffold_tools.verify.evidence import Check, Evidence
from scaffold_tools.verify.lane import LaneJobFailed, LaneSession
from scaffold_tools.verify.locate import Divergence, locate_divergence
from scaffold_tools.verify.run import Integration, verify_integration

ABSOLUTE = re.compile(r"(?<![\w.])/(?:[\w.+-]+/)*?((?:[\w.+-]+/){0,2}[\w.+-]+)(?![\w.+/-])")
BEFORE = re.compile(r"[\w./+-]*?(?=(?:megatron/(?:bridge|core)|harness)/)")
"""What stands before the part of a path that says something."""
TOYS = ("a", "b")
EXPORTED = "config.exported"
REACH = "reference.reach"
"""Whether the toy is longer than windows and original lengths: with a model's own numbers it never is."""
ENVIRONMENT = re.compile(
    r"No module named|cannot import name|requires? CUDA|not compiled with CUDA|NVIDIA driver|stand-in|flash.?attn"
    r"|only supported on (CUDA|GPU)"
)
"""What an error says that this machine, and not the integration, is the reason for."""


@dataclass(frozen=True)
class Upstream:
    """One Megatron-Bridge and the lane that it runs in."""

    source: str
    repo: Path | None
    session: LaneSession
    fixes: Path
    """A folder on the lane's path for fixed classes."""

    def integration(self, module: str | None = None) -> Integration:
        """Its own class, or the class of a module in `fixes`."""
        if self.repo is None:
            return Integration("package", self.fixes, module) if module else Integration("installed")
        return Integration("checkout", self.repo, module, f"{module}:FixedBridge" if module else None)


def measure(upstream: Upstream, config: dict[str, Any], row: Row) -> Row:
    """Verify one integration, and locate what fails."""
    given = {"config": config, "architecture": config["architectures"][0]}
    try:
        evidence = verify_integration(
            upstream.session, upstream.integration(), variants=TOYS, own_scalars=row.published, **given
        )
    except LaneJobFailed as error:
        return replace(row, outcome=_outcome(error.what), reason=_short(error.what))
    bad = _bad(evidence, published=row.published)
    row = replace(row, bridge=evidence.bridge or row.bridge, **_figures(evidence, bad))
    if _agrees(evidence, published=row.published):
        return replace(row, outcome="passes")
    reasons = [f"{check.name}: {check.detail or check.value}" for check in bad]
    reason = _short(reasons[0] if reasons else "no logits were compared")
    if bad and bad[0].name.startswith("reference."):
        return replace(row, outcome="no reference", reason=reason)
    row = replace(row, outcome=_outcome(reason), reason=reason)
    if row.outcome != "fails" or row.published:
        return row
    try:
        return replace(row, **_located(locate_divergence(upstream.session, upstream.integration(), **given)))
    except LaneJobFailed as error:
        return replace(row, reason=_short(f"{row.reason}; {error.what}"))


def fixed(upstream: Upstream, row: Row) -> Row:
    """The same after the known fixes for its type: the fewest that give parity."""
    known = [fix for fix in FIXES if fix.applies(row.model_type, row.variant)]
    if row.restored_by or not known or set(row.tried) == {fix.words for fix in known}:
        return row
    needed = fewest(known, lambda chosen: _restores(upstream, row, chosen))
    return replace(row, tried=_words(known), restored_by=_words(needed))


def _restores(upstream: Upstream, row: Row, fixes: tuple[Fix, ...]) -> bool:
    assert row.config is not None
    architecture = row.config["architectures"][0]
    module = write_fixes(upstream.fixes, fixes, row.bridge, architecture)
    try:
        evidence = verify_integration(
            upstream.session,
            upstream.integration(module),
            config=row.config,
            architecture=architecture,
            variants=TOYS,
            own_scalars=row.published,
        )
    except LaneJobFailed as error:
        print(f"  {_words(fixes)}: {_short(error.what)}", file=sys.stderr)
        return False
    restored = _agrees(evidence, published=row.published)
    bad = [f"{check.name} {check.detail[:120]}" for check in _bad(evidence, published=row.published)]
    print(f"  {_words(fixes)}: {'parity' if restored else bad[:2]}", file=sys.stderr)
    return restored


def _bad(evidence: Evidence, *, published: bool) -> list[Check]:
    """Checks of parity that failed; not the config that comes back, nor what a model's own numbers cannot reach."""
    aside = {EXPORTED, *([REACH] if published else [])}
    return [check for check in evidence.checks if check.status in ("failed", "error") and check.name not in aside]


def _agrees(evidence: Evidence, *, published: bool) -> bool:
    logits = [check.status for check in evidence.checks if check.name == "logits.max_abs"]
    return bool(logits) and set(logits) == {"passed"} and not _bad(evidence, published=published)


def with_own_scalars(upstream: Upstream, row: Row) -> Row:
    """The same with how far logits are off where scalars are those of the config."""
    assert row.config is not None
    if row.outcome != "fails" or row.variant != "base" or row.own_scalars is not None:
        return row
    try:
        evidence = verify_integration(
            upstream.session,
            upstream.integration(),
            config=row.config,
            architecture=row.config["architectures"][0],
            variants=TOYS,
            own_scalars=True,
        )
    except LaneJobFailed:
        return replace(row, own_scalars="nothing runs")
    logits = [check.value for check in evidence.checks if check.name == "logits.max_abs"]
    numbers = [one for one in logits if isinstance(one, float)]
    return replace(row, own_scalars=max(numbers) if numbers else "nothing is compared")


def _words(fixes: Iterable[Fix]) -> tuple[str, ...]:
    return tuple(fix.words for fix in fixes)


def _figures(evidence: Evidence, bad: list[Check]) -> dict[str, Any]:
    exported = {check.status for check in evidence.checks if check.name == EXPORTED} - {"skipped"}
    logits = [check.value for check in evidence.checks if check.name == "logits.max_abs"]
    trips = {check.status for check in evidence.checks if check.name == "round_trip.exact"}
    return {
        "failed": tuple(dict.fromkeys(check.name for check in bad)),
        "logits_max_abs": max((one for one in logits if isinstance(one, float)), default=None),
        "exported": "" if not exported else "equal" if exported == {"passed"} else "differs",
        "round_trip": "exact" if trips == {"passed"} else ", ".join(sorted(trips)),
    }


def _located(divergence: Divergence) -> dict[str, Any]:
    found = divergence.found
    causes = tuple(f"{one.cause}: {one.evidence}" for one in divergence.causes)
    return {"culprit": found.culprit if found else "", "causes": causes}


def _outcome(text: str) -> Outcome:
    return "not measurable" if ENVIRONMENT.search(text) else "fails"


def _short(text: str) -> str:
    """One line without this machine's folders: of a path no more than the last three names."""
    return BEFORE.sub("", ABSOLUTE.sub(r"\1", " ".join(text.split())))[:300]
