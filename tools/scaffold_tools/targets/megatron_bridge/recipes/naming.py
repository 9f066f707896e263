"""What recipes are called: `<stem>_<size>_<task>_<n>gpu_h100_bf16_config`, for short `<stem>_<size>_<task>_config`."""

from __future__ import annotations

import re

from scaffold_tools.targets.megatron_bridge.recipes.layout import HARDWARE
from scaffold_tools.targets.megatron_bridge.recipes.size import ModelSize

_TOKEN = re.compile(
    r"(?<![A-Za-z0-9.])(\d{1,4}(?:\.\d{1,2})?)([BbMmTt])(?:-A(\d{1,4}(?:\.\d{1,2})?)B)?(?![A-Za-z0-9])", re.ASCII
)
_UNITS = {"M": 1e6, "B": 1e9, "T": 1e12}
_TOLERANCE = 1.35
"""A published name may count embeddings or not, and rounds; beyond this it is not a size of this model."""
_SMALL_EXPERTS = 0.75
"""A mixture whose tokens meet more of it than this is told by one number."""


def size_token(size: ModelSize, model_name: str = "") -> str:
    """`8b`, `1p7b`, `600m`, `30b_a3b`: as the publisher says where the count agrees, else as counted."""
    for found in _TOKEN.finditer(model_name.rsplit("/", 1)[-1]):
        total = float(found[1]) * _UNITS[found[2].upper()]
        active = float(found[3]) * 1e9 if found[3] else None
        if _near(total, size.total) and (active is None or _near(active, size.active)):
            return _number(total) + (f"_a{_number(active)}" if active else "")
    few = size.experts and size.active < _SMALL_EXPERTS * size.total
    return _number(size.total) + (f"_a{_number(size.active)}" if few else "")


def _near(one: float, other: float) -> bool:
    return max(one, other) <= _TOLERANCE * min(one, other)


def _number(count: float) -> str:
    if count < 0.95e9:
        return f"{max(round(count / 1e6), 1)}m"
    billions = count / 1e9
    text = f"{billions:.0f}" if billions >= 9.95 else f"{billions:.1f}".removesuffix(".0")
    return text.replace(".", "p") + "b"


def recipe_stem(stem: str, token: str) -> str:
    """`qwen3_8b`: module name of a size's recipes, and how their names begin.

    A mixture says `_moe` by its active share already, as in `qwen3_30b_a3b`.
    """
    return f"{stem.removesuffix('_moe') if '_a' in token else stem}_{token}"


def canonical(recipe: str, task: str, gpus: int) -> str:
    """`qwen3_8b_sft_4gpu_h100_bf16_config`."""
    return f"{recipe}_{task}_{gpus}gpu_{HARDWARE}_bf16_config"


def alias(recipe: str, task: str) -> str:
    """`qwen3_8b_sft_config`."""
    return f"{recipe}_{task}_config"
