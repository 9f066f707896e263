"""One process of two: a rendered integration split over tensor or pipeline ranks, against Hugging Face.

Compares logits, and gradients of a random projection of the logits after they went back through the export; the sums
over ranks that Megatron takes of norm gradients after a backward pass are taken here.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch


def main(requests: list[dict[str, Any]], folder: str, rank: int) -> list[dict[str, Any]]:
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"})
    torch.set_num_threads(1)
    from mcore.no_cuda import neutralise

    neutralise()
    from megatron.core import parallel_state, tensor_parallel

    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    tensor_parallel.random.initialize_rng_tracker(inference_rng_tracker=True, force_reset=True)
    results = []
    for request in requests:
        sizes = {
            "tensor_model_parallel_size": 2 if request["mode"].startswith("tp") else 1,
            "pipeline_model_parallel_size": 2 if request["mode"] == "pp" else 1,
            "expert_model_parallel_size": 2 if request["mode"] == "ep" else 1,
        }
        parallel_state.destroy_model_parallel()
        parallel_state.initialize_model_parallel(**sizes)
        results.append(compare(request, rank, sizes))
    return results


def even_toy(config: dict[str, Any]) -> dict[str, Any]:
    """The toy with layers and vocabulary that two ranks can share."""
    from toys import toy

    found = toy.prepare(config, "a")
    found["vocab_size"] += found["vocab_size"] % 2
    name = next((key for key in ("num_hidden_layers", "n_layer", "n_layers") if key in found), "num_hidden_layers")
    layers = found.get(name, 0)
    if layers % 2:
        found[name] = layers - 1
        found |= {key: value[:-1] for key, value in found.items() if isinstance(value, list) and len(value) == layers}
    return found


def compare(request: dict[str, Any], rank: int, sizes: dict[str, int]) -> dict[str, Any]:
    from mcore.no_cuda import OnCpu
    from mcore.providers import apply_overrides
    from toys import toy

    sys.path.insert(0, request["path"])
    config = even_toy(request["config"])
    if request.get("groups"):
        config["num_key_value_heads"] = request["groups"]
    reference, _ = toy.build(config)
    toy.randomise(reference, 3)
    tokens = toy.tokens(config, "a", 3)
    tokens = tokens[:, : tokens.shape[1] // 2 * 2]
    logits = reference(tokens).logits.float()
    projection = torch.randn(logits.shape, generator=torch.Generator().manual_seed(5))
    (logits * projection).sum().backward()
    saved = Path(request["folder"]) / "model"
    if rank == 0:
        reference.save_pretrained(saved)
    torch.distributed.barrier()

    importlib.import_module("megatron.bridge")
    for name in [name for name in sys.modules if name.split(".")[0] == request["package"]]:
        del sys.modules[name]  # the same model, rendered to another folder
    importlib.import_module(request["package"])
    from megatron.bridge import AutoBridge

    bridge = AutoBridge.from_hf_pretrained(str(saved))
    provider = bridge.to_megatron_provider(load_weights=False)
    apply_overrides(provider)
    for name, value in sizes.items():
        setattr(provider, name, value)
    provider.sequence_parallel = request["mode"] == "tp_sp"
    provider.bias_dropout_fusion = False
    with OnCpu():
        provider.finalize()
        models = provider.provide_distributed_model(wrap_with_ddp=False, use_cpu_initialization=True)
        model = models[0].eval()
        bridge.load_hf_weights(models)
        split = {"pp": pipeline, "ep": whole_pass}.get(request["mode"], tensor_parallel_pass)
        found = split(model, tokens, projection, rank, provider.hidden_size)
        share_gradients(model, provider, request["mode"])
        for parameter in model.parameters():
            parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for buffer in model.buffers():  # what is exported of them has no gradient
            buffer.data = torch.zeros_like(buffer)
        exported = {row[0]: row[1] for row in bridge.export_hf_weights(models, cpu=True, show_progress=False)}
    wanted = stored_gradients(reference, Path(request["folder"]) / f"gradients-{rank}")
    gradients = {
        name: float((exported[name] - gradient).abs().max() / (gradient.abs().max() or 1.0))
        for name, gradient in wanted.items()
        if name in exported
    }
    worst = max(gradients, key=lambda name: gradients[name])
    difference = None if found is None else float((found - logits).abs().max())
    return {"logits": difference, "gradient": gradients[worst], "worst": worst, "compared": len(gradients)}


def stored_gradients(reference: Any, folder: Path) -> dict[str, torch.Tensor]:
    """Gradients of the Hugging Face model under the names that files have: experts lie apart there."""
    from safetensors.torch import load_file

    for parameter in reference.parameters():
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    for buffer in reference.buffers():  # saved tables have no gradient
        buffer.data = torch.zeros_like(buffer)
    reference.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def whole_pass(model: Any, tokens: Any, projection: Any, rank: int, hidden: int | None) -> torch.Tensor:
    """Forward and backward of all tokens on both ranks, each of which has half of the experts."""
    logits = model(tokens, torch.arange(tokens.shape[1]).expand_as(tokens), None)
    (logits.float() * projection).sum().backward()
    return logits.detach()


def tensor_parallel_pass(model: Any, tokens: Any, projection: Any, rank: int, hidden: int | None) -> torch.Tensor:
    """Forward and backward with the vocabulary split over both ranks; returns all logits."""
    part = model(tokens, torch.arange(tokens.shape[1]).expand_as(tokens), None)
    width = part.shape[-1]
    (part.float() * projection[..., rank * width : (rank + 1) * width]).sum().backward()
    parts = [torch.empty_like(part) for _ in range(2)]
    torch.distributed.all_gather(parts, part.detach().contiguous())
    return torch.cat(parts, -1)


def pipeline(model: Any, tokens: Any, projection: Any, rank: int, hidden: int | None) -> torch.Tensor | None:
    """Forward and backward through two stages; the last one returns the logits."""
    positions = torch.arange(tokens.shape[1]).expand_as(tokens)
    if rank == 0:
        states = model(tokens, positions, None)
        torch.distributed.send(states.detach().contiguous(), 1)
        gradient = torch.empty_like(states)
        torch.distributed.recv(gradient, 1)
        states.backward(gradient)
        return None
    states = torch.empty(tokens.shape[1], tokens.shape[0], hidden)
    torch.distributed.recv(states, 0)
    inner(model).set_input_tensor(states.requires_grad_(True))
    logits = model(tokens, positions, None)
    (logits.float() * projection).sum().backward()
    torch.distributed.send(states.grad, 0)
    return logits.detach()


def share_gradients(model: Any, provider: Any, mode: str) -> None:
    """What `finalize_model_grads` of megatron-core does over tensor ranks, and over stages for tied embeddings."""
    if mode == "pp":
        if provider.share_embeddings_and_output_weights:
            torch.distributed.all_reduce(inner(model).shared_embedding_or_output_weight().grad)
        return
    if mode == "ep":  # both ranks send the same tokens to an expert
        for parameter in model.parameters():
            if not getattr(parameter, "allreduce", True) and parameter.grad is not None:
                parameter.grad /= 2
        return
    for name, parameter in model.named_parameters():
        if parameter.grad is None:  # a choice has no gradient
            continue
        shared = provider.sequence_parallel and getattr(parameter, "sequence_parallel", False)
        if shared or (provider.qk_layernorm and ("q_layernorm" in name or "k_layernorm" in name)):
            torch.distributed.all_reduce(parameter.grad)


def inner(model: Any) -> Any:
    while hasattr(model, "module"):
        model = model.module
    return model


if __name__ == "__main__":
    place = Path(sys.argv[1])
    outcome = main(json.loads((place / "requests.json").read_text()), str(place), int(sys.argv[2]))
    (place / f"results-{sys.argv[2]}.json").write_text(json.dumps(outcome))
    sys.stdout.flush()
    os._exit(0)  # gloo's threads may outlive the work
