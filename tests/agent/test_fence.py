"""Code of a family is let through; what it never needs is refused, with the line and the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaffold.agent.fence import ATTRIBUTES, CALLS, MODULES, NAMES, check_code
from scaffold.run_folder import RunFolder
from scaffold_tools.errors import Refused
from support.runs import planned_run

FINE = """
import math
from dataclasses import dataclass
import torch
from megatron.core.transformer.mlp import MLP
from megatron.bridge.models.conversion.param_mapping import AutoMapping
from transformers import PretrainedConfig
from scaffold_qwen3.qwen3_provider import X
from . import other

@dataclass
class Block(torch.nn.Module):
    width: int = 3

    def __init__(self, config):
        super().__init__()
        self.config, self.hub_size = config, 3
        self.weights = {}
        self.weights["a"] = torch.zeros(3)

    def __post_init__(self):
        self.scale = math.sqrt(self.width)
"""


def test_what_a_family_is_made_of_is_fine() -> None:
    check_code(FINE, package="scaffold_qwen3")


def test_code_for_any_target_may_import_that_target() -> None:
    check_code("from mcore_adapter.models.converter.template import ConverOp\n", package="scaffold_roll_wren")
    check_code("from megatron.core import mpu\n", package="scaffold_wren")
    with pytest.raises(Refused, match="the import of roll"):
        check_code("import roll.pipeline\n", package="scaffold_roll_wren")


def test_what_the_generator_writes_is_fine(tmp_path: Path) -> None:
    from scaffold import look

    folder: RunFolder = planned_run(tmp_path)
    for change in look.load_plan(folder).changes:
        if change.path.startswith("scaffold_qwen3/") and not change.path.endswith("__init__.py"):
            check_code(change.content, package="scaffold_qwen3")


ROWS = [
    *(f"{name}('x')" for names, _ in NAMES for name in names.split()),
    *(f"x.{name}" for names, _ in ATTRIBUTES for name in names.split()),
    *(f"import torch\n{call}(x)" for call in sorted(CALLS)),
]


@pytest.mark.parametrize("code", ROWS)
def test_every_row_of_the_fence_stops_something(code: str) -> None:
    with pytest.raises(Refused, match="line"):
        check_code(code, package="p")


@pytest.mark.parametrize(
    "code",
    [
        "import os",
        "import subprocess as math",
        "from socket import socket",
        "from pathlib import Path",
        "def f():\n    import sys",
        "import scaffold_tools",
        "import p_other",
        "import torch.hub",
        "from torch import hub",
        "from torch.utils.cpp_extension import load",
        "from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention",
        "import transformers.models.llama.modeling_llama",
        "from transformers import dynamic_module_utils",
        "import torch\ntorch.allclose = lambda *a, **k: True",
        "from transformers import AutoModelForCausalLM\nAutoModelForCausalLM.from_config = None",
        "from megatron.bridge import AutoBridge as A\nA.x, y = 1, 2",
        "import torch\ntorch.nn.Linear.forward: object = None",
        "import torch\ndel torch.nn",
        "import torch\ntorch.x += 1",
        "__builtins__['eval']",
        "().__class__.__bases__[0].__subclasses__()",
    ],
)
def test_what_an_integration_never_needs_is_refused(code: str) -> None:
    with pytest.raises(Refused):
        check_code(code, package="p")


@pytest.mark.parametrize(
    "code", ["def (", "\x00", "x" * 300_000, "(" * 3000 + ")" * 3000], ids=["syntax", "null", "long", "deep"]
)
def test_what_is_no_module_is_refused(code: str) -> None:
    with pytest.raises(Refused):
        check_code(code, package="p")


MODULES_STOPPED = (
    "torch.hub",
    "torch.utils.cpp_extension",
    "transformers.dynamic_module_utils",
    "transformers.models.x.modeling_x",
)


@pytest.mark.parametrize(("row", "module"), list(zip(MODULES, MODULES_STOPPED, strict=True)), ids=MODULES_STOPPED)
def test_every_pattern_of_modules_stops_its_module_and_says_why(row: tuple[str, str], module: str) -> None:
    for code in (f"import {module}", f"from {module} import x", f"import {module}.deeper"):
        with pytest.raises(Refused, match=row[1]):
            check_code(code, package="p")
