"""Facts of multi-head latent attention that follow from several measurements together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from scaffold_tools.blueprint.expressions import same
from scaffold_tools.blueprint.facts import Const, Fact, Gap
from scaffold_tools.blueprint.measured import Draft
from scaffold_tools.classify.evidence import Evidence

OWN_FACTS = frozenset({"head_dim", "attention.scale"})
"""Facts that are derived here where the attention is latent: no key need hold them."""


def is_latent(answer: Mapping[str, Any]) -> bool:
    """Whether keys and values of the toys come from a latent."""
    return all("mla.kv_rank" in answer["variants"][name]["facts"] for name in ("a", "b"))


def derive_latent(answer: Mapping[str, Any], draft: Draft) -> None:
    """`head_dim`, `attention.scale` and `mla.score_mscale`, after the sizes of the latent attention are known."""
    nope, rope = draft.value("mla.nope_dim"), draft.value("mla.rope_dim")
    if not is_latent(answer) or nope is None or rope is None:
        return
    dim = nope + rope
    seen = [answer["variants"][name]["facts"]["head_dim"] for name in ("a", "b")]
    evidence = (Evidence("probe", f"measured {seen[0]} and {seen[1]} in the two toys, both parts of a head together"),)
    draft.facts.append(Fact("head_dim", dim, "measured", evidence))
    _name_sizes(answer, draft)
    if not all("attention.scale" in answer["variants"][name]["facts"] for name in ("a", "b")):
        return
    ratios, squares = zip(*(_scales(answer["variants"][name]) for name in ("a", "b")), strict=True)
    plain = all(same(ratio, 1.0) for ratio in ratios)
    yarn = all(same(ratio, square) for ratio, square in zip(ratios, squares, strict=True))
    if not plain and not yarn:
        draft.gaps.append(
            Gap(
                "attention.scale",
                f"{ratios[0]:.7g} and {ratios[1]:.7g} times head_dim**-0.5 in the two toys; not YaRN's",
                hf_source=answer["variants"]["a"].get("where", {}).get("attention.scale"),
                write_what="the softmax scale of the latent attention",
                check="logits.max_abs",
            )
        )
        return
    factor = 1.0 if plain else square_of_mscale(answer["real"])
    text = f"measured {ratios[0]:.7g} and {ratios[1]:.7g} times head_dim**-0.5 in the two toys"
    draft.facts.append(Fact("attention.scale", dim**-0.5 * factor, "measured", (Evidence("probe", text),)))
    scaled = any(not same(square, 1.0) for square in squares)
    draft.facts.append(
        Fact("mla.score_mscale", scaled and yarn, "measured", (Evidence("probe", text),), Const(scaled and yarn))
    )


def _name_sizes(answer: Mapping[str, Any], draft: Draft) -> None:
    """Config keys for the whole head, or for its rotated part under another name, are accounted for."""
    one, other = (answer["variants"][name] for name in ("a", "b"))
    for fact in ("head_dim", "mla.rope_dim"):
        values = one["facts"][fact], other["facts"][fact]
        for key, value in one["attributes"].items():
            if type(value) is int and "." not in key and (value, other["attributes"].get(key)) == values:
                draft.aliases.setdefault(key, fact)


def _scales(variant: Mapping[str, Any]) -> tuple[float, float]:
    """(measured scale over head_dim**-0.5, the factor that YaRN would put there)."""
    facts = variant["facts"]
    return facts["attention.scale"] * math.sqrt(facts["head_dim"]), square_of_mscale(variant["attributes"])


def square_of_mscale(attributes: Mapping[str, Any]) -> float:
    """The square of `yarn_get_mscale(factor, mscale_all_dim)` in DeepSeek-V3's modeling code; 1 without YaRN."""
    rope = attributes.get("rope_parameters") or {}
    kind = rope.get("rope_type", rope.get("type"))
    factor, weight = rope.get("factor") or 1.0, rope.get("mscale_all_dim") or 0.0
    if kind in (None, "default") or factor <= 1:
        return 1.0
    return float((0.1 * weight * math.log(factor) + 1.0) ** 2)
