"""What a provider is told on a CPU: a table of overrides, none of which changes what the model computes in fp32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Override:
    """One provider attribute; set only where the provider has it."""

    name: str
    value: Any
    why: str


OVERRIDES: tuple[Override, ...] = (
    Override("params_dtype", torch.float32, "logits are compared in fp32"),
    Override("pipeline_dtype", torch.float32, "logits are compared in fp32"),
    Override("autocast_dtype", torch.float32, "logits are compared in fp32"),
    Override("bf16", False, "logits are compared in fp32"),
    Override("fp16", False, "logits are compared in fp32"),
    Override("use_cpu_initialization", True, "parameters are made on the CPU"),
    Override("init_model_with_meta_device", False, "parameters are made on the CPU"),
    Override("gradient_accumulation_fusion", False, "a CUDA kernel of the backward pass"),
    Override("apply_rope_fusion", False, "a CUDA kernel for the same rotation"),
    Override("fused_single_qkv_rope", False, "a CUDA kernel for the same rotation"),
    Override("moe_permute_fusion", False, "a CUDA kernel for the same permutation"),
    Override("moe_router_fusion", False, "a CUDA kernel for the same router"),
    Override("moe_token_dispatcher_type", "alltoall", "the others need kernels of their own"),
    Override("moe_flex_dispatcher_backend", None, "goes with the dispatcher"),
    Override("moe_shared_expert_overlap", False, "overlap with a CUDA stream"),
    Override("use_transformer_engine_op_fuser", False, "fused operators of Transformer Engine"),
    Override("cuda_graph_impl", "none", "CUDA graphs"),
    Override("enable_cuda_graph", False, "CUDA graphs"),
    Override("external_cuda_graph", False, "CUDA graphs"),
    Override("cuda_graph_modules", [], "CUDA graphs"),
    Override("use_te_rng_tracker", False, "goes with CUDA graphs"),
    Override("tp_comm_overlap", False, "user buffers of Transformer Engine"),
    Override("attention_dropout", 0.0, "eval mode has none; some paths read the value all the same"),
    Override("hidden_dropout", 0.0, "eval mode has none; some paths read the value all the same"),
    Override("tensor_model_parallel_size", 1, "one process"),
    Override("pipeline_model_parallel_size", 1, "one process"),
    Override("virtual_pipeline_model_parallel_size", None, "one process"),
    Override("context_parallel_size", 1, "one process"),
    Override("expert_model_parallel_size", 1, "one process"),
    Override("expert_tensor_parallel_size", 1, "one process"),
    Override("sequence_parallel", False, "one process"),
)


def apply_overrides(provider: Any) -> list[str]:
    """Set the overrides on a provider; returns `name: old -> new` for each one that changed something."""
    changed = []
    for override in OVERRIDES:
        if not hasattr(provider, override.name):
            continue
        old = getattr(provider, override.name)
        if old != override.value:
            setattr(provider, override.name, override.value)
            changed.append(f"{override.name}: {old} -> {override.value}")
    return changed
