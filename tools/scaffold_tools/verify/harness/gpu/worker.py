"""What torchrun starts, once a rank: `worker.py REQUEST.json`. Rank 0 writes the answer beside the request.

The toy is that of the other lane, its weights rounded to bfloat16. Right is what Hugging Face computes with those
weights in fp32; how far bfloat16 may be off is measured on its own model in bfloat16, on the same device.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from checks.measured import Broken, Checks, Clock, names
from checks.reference import make_reference, run_hf
from checks.weights import load_saved
from mcore.build import SEED, fill_with_nan, tensors_of
from mcore.integration import class_name, expected, register
from mcore.no_cuda import OnCpu, neutralise
from mcore.providers import apply_overrides

NOISE_FACTOR = 4.0
"""Times the error of Hugging Face's own model in bfloat16: another order of summation, other kernels."""
PROMPT, STEPS = 12, 6
CHECKS = ("gpu.build", "gpu.import", "gpu.round_trip", "gpu.logits", "gpu.generation")


@dataclass
class Subject:
    """The toy, and what is right for it."""

    folder: Path
    tokens: torch.Tensor
    logits: torch.Tensor
    """Hugging Face in fp32 with the rounded weights."""
    limit: float
    written: torch.Tensor
    """[batch, STEPS] that Hugging Face writes on, in fp32."""


def main(file: Path) -> None:
    """One rank, from request to answer."""
    request = json.loads(file.read_text())
    if request["device"] == "cpu":
        neutralise()
    layout, rank = request["layout"], int(os.environ["RANK"])
    checks = Checks(request["name"])
    _join(request, layout)
    registered = register(request["integration"], request["architecture"])
    answer: dict[str, Any] = {"bridge": "", "replaced": registered.replaced}
    try:
        answer["bridge"] = _measure(request, layout, rank, checks)
    except Broken as broken:
        done = {check["name"] for check in checks.done}
        checks.skip(tuple(name for name in CHECKS if name not in done), f"{broken} broke before")
    shared: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shared, checks.done)
    if rank == 0:
        answer["checks"] = _worst(shared)
        file.with_suffix(".answer").write_text(json.dumps(answer, default=str))
    torch.distributed.destroy_process_group()


def _measure(request: dict[str, Any], layout: dict[str, int], rank: int, checks: Checks) -> str:
    device = torch.device(request["device"], int(os.environ["LOCAL_RANK"]) if request["device"] == "cuda" else None)
    with checks.guard("gpu.build"):
        subject = _subject(request, rank, device)
        auto_bridge, model, picked = _build(request, layout, subject)
        right, wanted = expected(request["integration"], picked)
        checks.add("gpu.build", right, value=class_name(picked), threshold=wanted)
    with checks.guard("gpu.import"):
        _import(request, auto_bridge, model, checks)
    with checks.guard("gpu.round_trip"):
        _round_trip(request, auto_bridge, model, subject, checks)
    with checks.guard("gpu.logits"):
        _logits(request, layout, model, subject, checks)
    with checks.guard("gpu.generation"):
        _generation(request, layout, model, subject, checks)
    return class_name(picked)


def _join(request: dict[str, Any], layout: dict[str, int]) -> None:
    from megatron.core import parallel_state, tensor_parallel

    cuda = request["device"] == "cuda"
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    limit = timedelta(seconds=request["patience"])  # a rank that waits for one that is gone
    torch.distributed.init_process_group("nccl" if cuda else "gloo", timeout=limit)
    if not cuda:
        tensor_parallel.random.initialize_rng_tracker(inference_rng_tracker=True, force_reset=True)
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=layout["tp"],
        pipeline_model_parallel_size=layout["pp"],
        expert_model_parallel_size=layout["ep"],
        expert_tensor_parallel_size=1 if layout["ep"] > 1 else layout["tp"],
    )
    if cuda:
        tensor_parallel.model_parallel_cuda_manual_seed(SEED)
    torch.manual_seed(SEED)


def _subject(request: dict[str, Any], rank: int, device: torch.device) -> Subject:
    """Rank 0 makes the toy; the others wait and read it."""
    folder = Path(request["workdir"]) / "toy"
    kept = folder.parent / "subject.pt"
    if rank == 0 and not kept.is_file():
        reference = make_reference(request, "a", folder, Checks("canary-a"))
        model, tokens = reference.model.to(torch.bfloat16), reference.tokens
        model.save_pretrained(folder)
        rounded = run_hf(model.to(device), tokens.to(device)).float().cpu()
        model = model.to("cpu", torch.float32)
        right = run_hf(model, tokens)
        made = model.generate(
            tokens[:, :PROMPT], do_sample=False, max_new_tokens=STEPS, min_new_tokens=STEPS, use_cache=False,
            eos_token_id=None, pad_token_id=0, attention_mask=torch.ones_like(tokens[:, :PROMPT]),
        )  # fmt: skip
        limit = NOISE_FACTOR * float((rounded - right).abs().max())
        torch.save({"tokens": tokens, "logits": right, "limit": limit, "written": made[:, PROMPT:]}, kept)
    torch.distributed.barrier()
    return Subject(folder, **torch.load(kept, weights_only=True))


def _build(request: dict[str, Any], layout: dict[str, int], subject: Subject) -> tuple[Any, Any, type]:
    """AutoBridge's own choice, in bfloat16; on a CPU, or where Transformer Engine is missing, without CUDA kernels."""
    import transformer_engine
    from megatron.bridge import AutoBridge

    auto_bridge = AutoBridge.from_hf_pretrained(
        str(subject.folder), trust_remote_code=bool(request.get("trust_remote_code")), dtype=torch.bfloat16
    )
    provider = auto_bridge.to_megatron_provider(load_weights=False)
    if request["device"] == "cpu" or getattr(transformer_engine, "IS_STANDIN", False):
        apply_overrides(provider)
    settings = {
        "bf16": True, "fp16": False, "params_dtype": torch.bfloat16, "pipeline_dtype": torch.bfloat16,
        "autocast_dtype": torch.bfloat16, "attention_dropout": 0.0, "hidden_dropout": 0.0,
        "tensor_model_parallel_size": layout["tp"], "pipeline_model_parallel_size": layout["pp"],
        "expert_model_parallel_size": layout["ep"], "sequence_parallel": layout["tp"] > 1 and bool(layout["sp"]),
        "expert_tensor_parallel_size": 1 if layout["ep"] > 1 else layout["tp"],
        "use_cpu_initialization": request["device"] == "cpu",
    }  # fmt: skip
    for name, value in settings.items():
        if hasattr(provider, name):
            setattr(provider, name, value)
    with _place(request):
        provider.finalize()
        models = provider.provide_distributed_model(
            wrap_with_ddp=False, use_cpu_initialization=request["device"] == "cpu"
        )
    for model in models:
        model.eval()
    return auto_bridge, models, type(auto_bridge._model_bridge)


def _place(request: dict[str, Any]) -> Any:
    return OnCpu() if request["device"] == "cpu" else contextlib.nullcontext()


def _import(request: dict[str, Any], auto_bridge: Any, models: list[Any], checks: Checks) -> None:
    """NaN before, finite after, on every rank."""
    clock = Clock()
    inner = [_unwrapped(model) for model in models]
    count = sum(fill_with_nan(model) for model in inner)
    with _place(request):
        auto_bridge.load_hf_weights(models)
    named = [(name, tensor) for model in inner for name, tensor in tensors_of(model).items()]
    empty = [name for name, tensor in named if not bool(torch.isfinite(tensor).all())]
    detail = f"not filled: {names(empty)}" if empty else ""
    value = f"{count - len(empty)}/{count}"
    checks.add("gpu.import", count > 0 and not empty, value=value, threshold="all", detail=detail, seconds=clock.lap())


def _unwrapped(model: Any) -> Any:
    """A model without what casts its inputs."""
    while hasattr(model, "module"):
        model = model.module
    return model


def _round_trip(
    request: dict[str, Any], auto_bridge: Any, models: list[Any], subject: Subject, checks: Checks
) -> None:
    """Export, gathered from all ranks, is the checkpoint bit by bit."""
    clock = Clock()
    with _place(request), torch.no_grad():
        rows = auto_bridge.export_hf_weights(models, cpu=True, show_progress=False)
        exported = {row[0]: row[1].clone() for row in rows}
    saved = load_saved(subject.folder)
    wrong = sorted(
        name
        for name in saved.keys() | exported.keys()
        if name not in saved or name not in exported or not _same(saved[name], exported[name])
    )
    value = f"{len(saved) - len(set(wrong) & set(saved))}/{len(saved)}"
    detail = f"missing, changed or more than the checkpoint has: {names(wrong)}" if wrong else ""
    checks.add("gpu.round_trip", not wrong, value=value, threshold="all", detail=detail, seconds=clock.lap())


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.shape == right.shape and torch.equal(left.to(torch.bfloat16), right.to(torch.bfloat16))


def _forward(request: dict[str, Any], layout: dict[str, int], models: list[Any], tokens: torch.Tensor) -> Any:
    """Logits [batch, length, vocabulary of the toy and padding], fp32 on the CPU; None before the last stage."""
    from megatron.core import parallel_state
    from megatron.core.pipeline_parallel import get_forward_backward_func

    device = torch.device("cuda", torch.cuda.current_device()) if request["device"] == "cuda" else torch.device("cpu")
    batch, length = tokens.shape
    mask = torch.triu(torch.ones(length, length, dtype=torch.bool, device=device), diagonal=1).view(
        1, 1, length, length
    )
    positions = torch.arange(length, device=device).expand(batch, length)
    given = tokens.to(device)

    def step(rows: Any, model: Any) -> tuple[Any, Any]:
        next(rows)
        out = model(input_ids=given, position_ids=positions, attention_mask=mask)
        return (out[0] if isinstance(out, tuple) else out), lambda logits, **options: logits.detach()

    with torch.no_grad(), _place(request):
        found = get_forward_backward_func()(
            forward_step_func=step,
            data_iterator=iter([0]),
            model=models[0],
            num_microbatches=1,
            seq_length=length,
            micro_batch_size=batch,
            forward_only=True,
            collect_non_loss_data=True,
        )
        if not found:
            return None
        logits = found[0]
        if layout["tp"] > 1:
            pieces = [torch.empty_like(logits) for _ in range(layout["tp"])]
            group = parallel_state.get_tensor_model_parallel_group()
            torch.distributed.all_gather(pieces, logits.contiguous(), group=group)
            logits = torch.cat(pieces, -1)
    return logits.float().cpu()


def _logits(
    request: dict[str, Any], layout: dict[str, int], models: list[Any], subject: Subject, checks: Checks
) -> None:
    clock = Clock()
    length = (
        subject.tokens.shape[1] // layout["tp"] * layout["tp"]
    )  # ranks share the sequence; what comes later is unseen
    logits = _forward(request, layout, models, subject.tokens[:, :length])
    if logits is None:
        return
    difference = (logits[..., : subject.logits.shape[-1]] - subject.logits[:, :length]).abs()
    largest = float(difference.nan_to_num(nan=float("inf")).max())
    value = largest if largest != float("inf") else "not finite"
    passed = largest < subject.limit
    checks.add("gpu.logits", passed, value=value, threshold=subject.limit, seconds=clock.lap())


def _generation(
    request: dict[str, Any], layout: dict[str, int], models: list[Any], subject: Subject, checks: Checks
) -> None:
    """Each token that Hugging Face writes is Megatron's best, or as good as that to within the tolerance of logits."""
    clock, text, detail, last = Clock(), subject.tokens[:, :PROMPT], "", False
    padded = _multiple(PROMPT + STEPS, layout["tp"])
    for step in range(STEPS):
        whole = torch.nn.functional.pad(text, (0, padded - text.shape[1]))
        logits = _forward(request, layout, models, whole)
        wanted = subject.written[:, step]
        if logits is not None:
            last = True
            here = logits[:, text.shape[1] - 1, : subject.logits.shape[-1]]
            short = here.max(-1).values - here.gather(-1, wanted[:, None])[:, 0]
            if bool((short > subject.limit).any()) or not bool(torch.isfinite(here).all()):
                detail = detail or f"token {step}: another one is better by {float(short.max()):.3g}"
        text = torch.cat([text, wanted[:, None]], 1)
    if last:
        value = f"{STEPS} tokens" if not detail else "differs"
        checks.add("gpu.generation", not detail, value=value, detail=detail, seconds=clock.lap())


def _multiple(length: int, of: int) -> int:
    return -(-length // of) * of


def _worst(shared: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One check a name: of the rank that is worst off. Ranks without the last stage say nothing of logits."""
    order = {"error": 0, "failed": 1, "skipped": 2, "passed": 3}
    found: dict[str, dict[str, Any]] = {}
    for check in (one for rank in shared for one in rank):
        before = found.get(check["name"])
        if before is None or order[check["status"]] < order[before["status"]]:
            found[check["name"]] = check
    return [found[name] for name in CHECKS if name in found]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
