"""The closing report of the agent on stdout."""

from __future__ import annotations

from scaffold.agent.outcome import REASONS, AgentOutcome, plain
from scaffold.console import emit_json, short


def show(outcome: AgentOutcome, *, json: bool) -> None:
    """What was closed, what is left, and what it took."""
    if json:
        emit_json(outcome)
        return
    for gap in outcome.closed:
        print(f"closed  {gap.subject}: {gap.reason}")
    for gap in outcome.gaps:
        print(f"open    {gap.subject}: {gap.reason}")
    for line in outcome.failing[:10]:
        print(f"failing {line}")
    for path in outcome.changes:
        print(f"change  {short(path)}")
    if outcome.last_words and not outcome.proven:
        print(f"the model's last words (a claim, not a result): {plain(outcome.last_words, 600)}")
    print(f"{outcome.architecture}: {'proven' if outcome.proven else 'NOT proven'}; {REASONS[outcome.reason]}")
    if outcome.tokens:
        print(f"{outcome.turns} turns, {outcome.tokens['total']:,} tokens with {outcome.llm}")
    print(f"  transcript: {short(outcome.transcript)}")
    for command in outcome.next_commands:
        print(f"  {command}")
