import difflib

from scaffold_tools.edit import add_to_family_init, add_to_models_init
from scaffold_tools.render import lint_python

SOURCE = """# Header

# Import model providers for easy access
from megatron.bridge.models.bailing import (
    BailingBridge,
)
from megatron.bridge.models.conversion.auto_bridge import AutoBridge
from megatron.bridge.models.gpt_oss import (
    GPTOSSBridge,
)
from megatron.bridge.models.gpt_provider import GPTModelProvider
from megatron.bridge.models.qwen_vl import (
    Qwen3VLBridge,
    Qwen25VLBridge,
)
from megatron.bridge.models.t5_provider import T5ModelProvider


__all__ = [
    "AutoBridge",
    "BailingBridge",
    "GPTModelProvider",
    "GPTOSSBridge",
    "T5ModelProvider",
    # VL Models
    "Qwen3VLBridge",
    "Qwen25VLBridge",
]
"""


def changes(before: bytes, after: bytes) -> list[str]:
    rows = difflib.ndiff(before.decode().splitlines(), after.decode().splitlines())
    return [row for row in rows if row[0] in "+-"]


def test_a_new_family_adds_lines_only_and_passes_the_targets_linter():
    edited = add_to_models_init(
        SOURCE.encode(), "megatron.bridge.models.qwen", ["Qwen3Bridge", "Qwen2Bridge"], "Qwen Models"
    )
    assert changes(SOURCE.encode(), edited) == [
        "+ from megatron.bridge.models.qwen import (",
        "+     Qwen2Bridge,",
        "+     Qwen3Bridge,",
        "+ )",
        "+     # Qwen Models",
        '+     "Qwen2Bridge",',
        '+     "Qwen3Bridge",',
    ]
    assert lint_python(edited.decode(), name="__init__.py") == ()
    assert add_to_models_init(edited, "megatron.bridge.models.qwen", ["Qwen3Bridge"], "Qwen Models") == edited


def test_without_a_title_exports_follow_the_family_that_sorts_before():
    edited = add_to_models_init(SOURCE.encode(), "megatron.bridge.models.granite", ["GraniteBridge"]).decode()
    assert '    "GPTModelProvider",\n    "GraniteBridge",\n' in edited


def test_a_second_model_joins_the_import_of_its_family():
    edited = add_to_models_init(
        SOURCE.encode(), "megatron.bridge.models.qwen_vl", ["Qwen4VLBridge"], "VL Models"
    ).decode()
    assert "    Qwen3VLBridge,\n    Qwen4VLBridge,\n    Qwen25VLBridge,\n)" in edited
    assert '    "Qwen3VLBridge",\n    "Qwen4VLBridge",\n    "Qwen25VLBridge",\n]' in edited
    assert lint_python(edited, name="__init__.py") == ()


def test_a_family_without_exports_gets_an_import_alone():
    source = b"from megatron.bridge.models.qwen.qwen2_bridge import Qwen2Bridge  # noqa: F401\n"
    edited = add_to_family_init(source, "megatron.bridge.models.qwen.qwen3_bridge", ["Qwen3Bridge"])
    assert edited == source + b"from megatron.bridge.models.qwen.qwen3_bridge import Qwen3Bridge  # noqa: F401\n"
