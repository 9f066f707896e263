"""Small trees with the files that a plan for a checkout reads, so that it is tested without one."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from scaffold_tools.blueprint.facts import Blueprint
from scaffold_tools.targets.megatron_bridge.flops_source import HOOK
from scaffold_tools.targets.megatron_bridge.plan import Options, make_plan
from scaffold_tools.targets.megatron_bridge.profile import Profile
from scaffold_tools.targets.megatron_bridge.recipes.layout import read_recipe_layout
from scaffold_tools.workspace.plan import Plan
from targets.test_rules import PROFILE

_COMMON = """
def _pretrain_common(): ...
def _sft_common(): ...
def _peft_common(): ...
"""
_FAMILY = """from .llama3 import (
    llama3_8b_sft_config,
)


__all__ = ["llama3_8b_sft_config"]
"""
_DATASETS = """
def default_peft_config(peft_scheme, **kwargs): ...
def default_squad_config(seq_length, enable_offline_packing=True, pad_seq_to_mult=1): ...
"""
_FIELDS = (
    *("tensor_model_parallel_size", "pipeline_model_parallel_size", "pipeline_dtype", "sequence_parallel"),
    *("virtual_pipeline_model_parallel_size", "context_parallel_size", "expert_model_parallel_size", "seq_length"),
    *("expert_tensor_parallel_size", "recompute_granularity", "recompute_method", "recompute_num_layers"),
    *("mtp_num_layers", "moe_token_dispatcher_type", "cross_entropy_loss_fusion"),
)


def checkout(root: Path, *, hardware: bool = True, family: str | None = None) -> Path:
    """A checkout with recipes of one family, laid out by hardware or flat."""
    files = {
        "models/__init__.py": 'from megatron.bridge.models.llama import LlamaBridge\n\n\n__all__ = ["LlamaBridge"]\n',
        "recipes/common.py": _COMMON,
        "recipes/utils/__init__.py": "",
        "recipes/utils/dataset_utils.py": _DATASETS,
        "recipes/utils/environment_utils.py": "COMMON_RECIPE_ENV_VARS: dict = {}\n",
        "recipes/__init__.py": '"""All."""\n\nfrom megatron.bridge.recipes.llama import *\n',
        "recipes/llama/__init__.py": _FAMILY,
        "recipes/llama/llama3.py": "def llama3_8b_sft_config(): ...\n",
    }
    if hardware:
        star = "from megatron.bridge.recipes.llama.h100.llama3 import *  # noqa: F403\n"
        files["recipes/llama/h100/__init__.py"] = star + '\n\n__all__ = ["llama3_8b_sft_2gpu_h100_bf16_config"]\n'
        files["recipes/llama/h100/llama3.py"] = "def llama3_8b_sft_2gpu_h100_bf16_config(): ...\n"
        files["recipes/__init__.py"] += "from megatron.bridge.recipes.llama.h100 import *\n"
    if family:
        files = {path.replace("/llama/", f"/{family}/"): text for path, text in files.items()}
        files = {path: text.replace("recipes.llama", f"recipes.{family}") for path, text in files.items()}
    for path, text in files.items():
        target = root / "src" / "megatron" / "bridge" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return root


def profile_of(root: Path) -> Profile:
    """The profile of such a tree: what it cannot tell of providers and mappings is that of the package."""
    return dataclasses.replace(
        PROFILE,
        layout="checkout",
        source=str(root / "src"),
        provider_fields=PROFILE.provider_fields | set(_FIELDS),
        counted=frozenset({HOOK}),
        recipes=read_recipe_layout(root / "src" / "megatron" / "bridge"),
    )


_PLANS: dict[tuple[str, str, str | None], Plan] = {}


def plan_in(root: Path, blueprint: Blueprint, model_id: str | None) -> Plan:
    """The plan for such a tree; the same tree and model are planned once for all tests."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    tree = hashlib.sha256(repr([(str(one.relative_to(root)), one.read_bytes()) for one in files]).encode()).hexdigest()
    key = (tree, repr(blueprint), model_id)
    if key not in _PLANS:
        _PLANS[key] = make_plan(blueprint, root=root, profile=profile_of(root), options=Options(model_id, year=2026))
    return _PLANS[key]
