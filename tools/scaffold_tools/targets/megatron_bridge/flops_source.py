"""How a Megatron-Bridge counts floating point operations, read from its source."""

from __future__ import annotations

import ast
from pathlib import Path

HOOK = "_get_num_floating_point_operations"
"""The method that `num_floating_point_operations` asks a provider for."""


def read_counted(bridge: Path) -> frozenset[str]:
    """Every name of an attribute in `training/utils/flop_utils.py`; empty where there is no such module."""
    path = bridge / "training" / "utils" / "flop_utils.py"
    if not path.is_file():
        return frozenset()
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return frozenset()
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return frozenset(names | {str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)})
