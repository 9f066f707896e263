"""From an AutoBridge to a Megatron model on the CPU, with the real provider and the real hooks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from mcore.no_cuda import OnCpu, neutralise
from mcore.providers import apply_overrides

SEED = 1234


def prepare_process(scratch: Path) -> None:
    """One-rank gloo group and Megatron's parallel state; idempotent."""
    from megatron.core import parallel_state, tensor_parallel

    if torch.distributed.is_initialized():
        return
    os.environ.update({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"})
    scratch.mkdir(parents=True, exist_ok=True)
    store = torch.distributed.FileStore(str(scratch / f"store-{os.getpid()}"), 1)  # no port to collide on
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    # The inference tracker's fork() does nothing: there is one CPU generator and no CUDA state to switch.
    tensor_parallel.random.initialize_rng_tracker(inference_rng_tracker=True, force_reset=True)
    parallel_state.initialize_model_parallel()
    torch.manual_seed(SEED)


def build_megatron(auto_bridge: Any) -> tuple[Any, Any, list[str]]:
    """The Megatron model (eval mode, fp32, weights not loaded), its provider, and what was overridden."""
    neutralise()
    provider = auto_bridge.to_megatron_provider(load_weights=False)
    changed = apply_overrides(provider)
    with OnCpu():
        provider.finalize()
        models = provider.provide_distributed_model(wrap_with_ddp=False, use_cpu_initialization=True)
    if len(models) != 1:
        raise RuntimeError(f"the provider made {len(models)} model chunks; one process makes one")
    return models[0].eval(), provider, changed


def tensors_of(model: Any) -> dict[str, torch.Tensor]:
    """Parameters and persistent float buffers by name: everything a checkpoint has to fill."""
    persistent = set(model.state_dict(keep_vars=True))
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor for name, tensor in named if name in persistent and tensor.is_floating_point()}


def fill_with_nan(model: Any) -> int:
    """Every parameter and persistent float buffer becomes NaN, so that a gap of import shows; returns how many."""
    tensors = tensors_of(model)
    with torch.no_grad():
        for tensor in tensors.values():
            tensor.fill_(float("nan"))
    return len(tensors)


def forward(model: Any, tokens: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Logits [batch, sequence, vocabulary] of whole sequences; the padding of the vocabulary is cut off."""
    batch, length = tokens.shape
    positions = torch.arange(length).expand(batch, length)
    # True hides. Attention that knows it is causal ignores the mask; a local implementation without it does not.
    mask = torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1).view(1, 1, length, length)
    with torch.no_grad(), OnCpu():
        out = model(input_ids=tokens, position_ids=positions, attention_mask=mask)
    logits = out[0] if isinstance(out, tuple) else out
    return logits[..., :vocabulary].float()
