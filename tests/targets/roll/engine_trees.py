"""Miniature trees of vLLM and SGLang, built as theirs are in the parts that are read."""

from __future__ import annotations

from pathlib import Path

VLLM_REGISTRY = """
import transformers

_TEXT_GENERATION_MODELS = {
    "WrenForCausalLM": ("wren", "WrenForCausalLM"),
    "OldWrenForCausalLM": (
        "vllm.models.wren",
        "WrenForCausalLM",
    ),
}
_EMBEDDING_MODELS = {"WrenModel": ("wren", "WrenModel")}
_MULTIMODAL_MODELS = {"HeronForConditionalGeneration": ("heron", "HeronForConditionalGeneration")}
_TRANSFORMERS_SUPPORTED_MODELS = {
    "OwlForCausalLM": ("transformers", "TransformersForCausalLM"),
}
_TRANSFORMERS_BACKEND_MODELS = {
    "TransformersForCausalLM": ("transformers", "TransformersForCausalLM"),
    BACKENDS
}
_VLLM_MODELS = {**_TEXT_GENERATION_MODELS, **_MULTIMODAL_MODELS}
_PREVIOUSLY_SUPPORTED_MODELS = {"DodoForCausalLM": "0.9.2"}


class _ModelRegistry:
    def _try_resolve_transformers(self, architecture, model_config):
        model_module = getattr(transformers, architecture, None)
        if not (GATE):
            return None
        return "TransformersForCausalLM"
"""

PLAN_RAISES = """
def recursive_replace(self):
    tp_plan = self.model._tp_plan
    if not tp_plan and self.tp_group.world_size > 1:
        raise ValueError("no plan")
"""
PLAN_WARNS = PLAN_RAISES.replace("raise ValueError(", "logger.warning(")

BOTH_CHECKS = "model_module.is_backend_compatible() or model_module._can_set_attn_implementation()"
ONE_CHECK = "model_module.is_backend_compatible()"
MOE_BACKEND = '"TransformersMoEForCausalLM": ("transformers", "TransformersMoEForCausalLM"),'


def vllm_tree(root: Path, *, gate: str = BOTH_CHECKS, backends: str = MOE_BACKEND, runner: str = PLAN_WARNS) -> Path:
    """A vLLM 0.99.0."""
    models = root / "vllm" / "model_executor" / "models"
    (models / "transformers").mkdir(parents=True)
    (models / "registry.py").write_text(VLLM_REGISTRY.replace("GATE", gate).replace("BACKENDS", backends))
    (models / "transformers" / "base.py").write_text(runner)
    (root / "vllm" / "_version.py").write_text(
        "__version__ = version = '0.99.0'\n__commit_id__ = commit_id = 'g0123abc45'\n"
    )
    return root


def sglang_tree(root: Path, *, fallback: bool = True) -> Path:
    """An SGLang checkout, whose package lies in `python/`."""
    models = root / "python" / "sglang" / "srt" / "models"
    models.mkdir(parents=True)
    (models / "wren.py").write_text("class WrenForCausalLM: ...\n\n\nEntryClass = WrenForCausalLM\n")
    (models / "owl.py").write_text(
        "from sglang.srt.models.wren import WrenForCausalLM as _Wren\n\n\n"
        "class OwlForCausalLM(_Wren): ...\n\n\nEntryClass = [OwlForCausalLM, _Wren]\n"
    )
    (models / "helpers.py").write_text("class NotAnEntry: ...\n")
    (root / "python" / "sglang" / "version.py").write_text('__version__ = "0.8.1"\n')
    if fallback:
        (models / "transformers.py").write_text(
            "class TransformersForCausalLM: ...\n" + PLAN_RAISES + "\n\nEntryClass = [TransformersForCausalLM]\n"
        )
        loader = root / "python" / "sglang" / "srt" / "model_loader"
        loader.mkdir()
        (loader / "utils.py").write_text(
            "def resolve(model_module):\n"
            '    if hasattr(model_module, "is_backend_compatible") and (not model_module.is_backend_compatible()):\n'
            "        raise ValueError\n"
        )
    return root
