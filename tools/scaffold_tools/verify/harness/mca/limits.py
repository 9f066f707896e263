"""What ROLL's own code does not do, whatever a template says: a row a limit, with the line of the checkout."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limit:
    """An error that is ROLL's, seen while something was measured."""

    raised: str
    """Words of the error."""
    file: str
    """Below `mcore_adapter`."""
    line: str
    """Pattern of the line that it comes from; without such a line the limit is gone, and the error one of ours."""
    words: str


LIMITS: tuple[Limit, ...] = (
    Limit(
        "unexpected keyword argument 'is_expert_parallel'",
        "models/converter/model_converter.py",
        r"gather_tensor_parallel\(.*is_expert_parallel=",
        "experts that are split otherwise than the rest are not exported:"
        " gather_tensor_parallel is called with an argument that it does not have",
    ),
    Limit(
        "ROLL has to gather them, grouped, for this model type",
        "models/converter/model_converter.py",
        r"hf_model_type in \[",
        "experts that are one tensor are gathered over expert ranks for the model types of a list alone",
    ),
)


def limit_of(message: str, adapter: Path | None = None) -> str:
    """The limit that an error shows, with its line in the checkout; "" where it is none.

    Args:
        message: of the error.
        adapter: the folder of the package `mcore_adapter`; None: of the one that runs.
    """
    adapter = adapter or Path(str(importlib.import_module("mcore_adapter").__file__)).parent
    for limit in LIMITS:
        file = adapter / limit.file
        if limit.raised not in message or not file.is_file():
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if re.search(limit.line, line):
                return f"limit of ROLL: {limit.words} (mcore_adapter/{limit.file}:{number})"
    return ""
