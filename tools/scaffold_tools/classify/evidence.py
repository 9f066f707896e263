"""Why something about a model is believed: what claims and facts alike carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Evidence:
    """Why a claim or a fact is believed."""

    source: Literal["key", "tensor", "probe", "code", "parity"]
    detail: str
