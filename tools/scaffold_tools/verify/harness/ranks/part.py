"""What one process of several does: its part of the model, its share of a step, its word in the export."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mcore.build import SEED
from mcore.no_cuda import OnCpu
from mcore.providers import apply_overrides

from ranks.layouts import Layout


@dataclass
class Part:
    """One rank's chunks of the model, with what belongs to them."""

    chunks: list[Any]
    """Wrapped for data parallel; one, or several with a virtual pipeline."""
    provider: Any
    layout: Layout
    auto_bridge: Any

    def inner(self) -> list[Any]:
        """The chunks themselves."""
        return [unwrapped(chunk) for chunk in self.chunks]


def unwrapped(model: Any) -> Any:
    """A model without what it is wrapped in."""
    while hasattr(model, "module"):
        model = model.module
    return model


def join(layout: Layout, rank: int, meeting: Path, timeout: float) -> None:
    """Become one of the processes: a gloo group over a file, and Megatron's groups in it.

    Args:
        meeting: where these processes and no others find each other; what an earlier group left there confuses them.
    """
    from megatron.core import parallel_state, tensor_parallel

    world = layout.processes
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)})
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(str(meeting), world)
    limit = timedelta(seconds=timeout)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=limit)
    # The inference tracker's fork() does nothing: there is one CPU generator and no CUDA state to switch.
    tensor_parallel.random.initialize_rng_tracker(inference_rng_tracker=True, force_reset=True)
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=layout.tp,
        pipeline_model_parallel_size=layout.pp,
        virtual_pipeline_model_parallel_size=layout.vpp if layout.vpp > 1 else None,
        context_parallel_size=layout.cp,
        expert_model_parallel_size=layout.ep,
        expert_tensor_parallel_size=layout.tp_of_experts,
    )
    torch.manual_seed(SEED)


def split(provider: Any, layout: Layout) -> None:
    """Tell a provider how it is split."""
    provider.tensor_model_parallel_size = layout.tp
    provider.pipeline_model_parallel_size = layout.pp
    provider.context_parallel_size = layout.cp
    provider.expert_model_parallel_size = layout.ep
    provider.expert_tensor_parallel_size = layout.tp_of_experts
    provider.sequence_parallel = layout.sp
    if layout.vpp > 1:
        provider.virtual_pipeline_model_parallel_size = layout.vpp
        # Two stages are each other's next and previous; megatron-core tells the two apart only in this way.
        provider.overlap_p2p_comm, provider.batch_p2p_comm = True, False
    provider.cross_entropy_loss_fusion = False  # it rounds what flows back to bfloat16
    provider.bias_dropout_fusion = False  # in place, which autograd of a CPU refuses here and there


def build_part(auto_bridge: Any, layout: Layout) -> Part:
    """This rank's part of the model (eval mode, fp32, weights not loaded), wrapped as for training."""
    from megatron.core.distributed import DistributedDataParallelConfig

    provider = auto_bridge.to_megatron_provider(load_weights=False)
    apply_overrides(provider)
    split(provider, layout)
    config = DistributedDataParallelConfig(use_distributed_optimizer=False, overlap_grad_reduce=False)
    with OnCpu():
        provider.finalize()
        chunks = provider.provide_distributed_model(ddp_config=config, wrap_with_ddp=True, use_cpu_initialization=True)
    for chunk in chunks:
        chunk.eval()
    return Part(chunks, provider, layout, auto_bridge)


@dataclass(frozen=True)
class Batch:
    """Rows of tokens, each with the tokens that follow it."""

    tokens: torch.Tensor
    """[rows, length]"""
    labels: torch.Tensor

    @classmethod
    def of(cls, tokens: torch.Tensor) -> Batch:
        """From whole sequences; the length is cut to one that four can share."""
        length = (tokens.shape[1] - 1) // 4 * 4
        return cls(tokens[:, :length], tokens[:, 1 : length + 1])


def run_schedule(part: Part, batch: Batch, *, backward: bool) -> list[Any]:
    """One step over this rank's rows with Megatron's own schedule, a row at a time.

    Returns:
        Losses with `backward` (gradients are then summed and averaged over ranks), else logits of the rows; only on
        the last stage.
    """
    from megatron.core import parallel_state
    from megatron.core.distributed import finalize_model_grads
    from megatron.core.pipeline_parallel import get_forward_backward_func

    rows = batch.tokens.shape[0] // parallel_state.get_data_parallel_world_size()
    first = parallel_state.get_data_parallel_rank() * rows
    places = _places(batch.tokens.shape[1], part.layout.cp)

    def feed() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for row in range(first, first + rows):
            yield batch.tokens[row : row + 1, places], batch.labels[row : row + 1, places]

    def step(rows: Iterator[tuple[torch.Tensor, torch.Tensor]], model: Any) -> tuple[Any, Callable[..., Any]]:
        tokens, labels = next(rows)
        length = batch.tokens.shape[1]
        # True hides. Attention that knows it is causal ignores the mask; a local implementation without it does not.
        mask = torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1).view(1, 1, length, length)
        options = {"labels": labels} if backward else {}
        out = model(
            input_ids=tokens,
            position_ids=places[None],
            attention_mask=mask if part.layout.cp == 1 else None,
            **options,
        )
        out = out[0] if isinstance(out, tuple) else out
        return out, _mean if backward else _as_it_is

    part.provider.finalize_model_grads_func = finalize_model_grads if backward else None
    for chunk in part.chunks:
        unwrapped(chunk).config.finalize_model_grads_func = part.provider.finalize_model_grads_func
    with OnCpu(), torch.set_grad_enabled(backward):
        found = get_forward_backward_func()(
            forward_step_func=step,
            data_iterator=[feed() for _ in part.chunks] if len(part.chunks) > 1 else feed(),
            model=part.chunks if len(part.chunks) > 1 else part.chunks[0],
            num_microbatches=rows,
            seq_length=batch.tokens.shape[1],
            micro_batch_size=1,
            forward_only=not backward,
            collect_non_loss_data=not backward,
        )
    return list(found)


def _mean(losses: torch.Tensor, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The sum over this rank's tokens, how many those are, and the mean, to be reported."""
    count = torch.tensor(losses.numel(), dtype=torch.int)
    return losses.float().sum(), count, losses.detach().float().mean()


def _as_it_is(logits: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    return logits.detach()


def _places(length: int, size: int) -> torch.Tensor:
    """Positions of this rank: two pieces, one from the start and one from the end, which balances causal work."""
    from megatron.core import parallel_state

    if size == 1:
        return torch.arange(length)
    rank = parallel_state.get_context_parallel_rank()
    pieces = torch.arange(length).chunk(2 * size)
    return torch.cat([pieces[rank], pieces[2 * size - 1 - rank]])


def whole_logits(part: Part, batch: Batch, vocabulary: int) -> torch.Tensor | None:
    """Logits [rows of this rank, length, vocabulary], padding cut off; None before the last stage."""
    from megatron.core import parallel_state

    found = run_schedule(part, batch, backward=False)
    if not found:
        return None
    logits = torch.cat(found).float()
    if part.layout.tp > 1 and getattr(part.provider, "parallel_output", True):
        pieces = [torch.empty_like(logits) for _ in range(part.layout.tp)]
        group = parallel_state.get_tensor_model_parallel_group()
        torch.distributed.all_gather(pieces, logits.contiguous(), group=group)
        logits = torch.cat(pieces, -1)
    return logits[..., :vocabulary]


def mine(part: Part, whole: torch.Tensor) -> torch.Tensor:
    """Of something with all rows and positions, what belongs to this rank."""
    from megatron.core import parallel_state

    rows = whole.shape[0] // parallel_state.get_data_parallel_world_size()
    first = parallel_state.get_data_parallel_rank() * rows
    return whole[first : first + rows][:, _places(whole.shape[1], part.layout.cp)]


def export(part: Part) -> dict[str, torch.Tensor]:
    """All tensors in the names and shapes of the checkpoint, gathered from all ranks by the bridge itself."""
    with OnCpu(), torch.no_grad():
        rows = part.auto_bridge.export_hf_weights(part.chunks, cpu=True, show_progress=False)
        return {row[0]: row[1].clone() for row in rows}


def exported_gradients(part: Part) -> dict[str, torch.Tensor]:
    """Gradients of the last step in the names of the checkpoint.

    An export may add to what it is given (norms that are stored less one), so what it makes of nothing is taken off.
    """
    kept = [(tensor, tensor.data) for chunk in part.inner() for tensor in (*chunk.parameters(), *chunk.buffers())]
    nothing = _exported_as(part, lambda parameter: None)
    found = _exported_as(part, gradient)
    for tensor, data in kept:
        tensor.data = data
    return {name: value - nothing[name] for name, value in found.items()}


def _exported_as(part: Part, value: Callable[[Any], torch.Tensor | None]) -> dict[str, torch.Tensor]:
    """An export with other numbers in the place of the weights; zero where there are none, and in buffers."""
    with torch.no_grad():
        for chunk in part.inner():
            for parameter in chunk.parameters():
                found = value(parameter)
                empty = torch.zeros_like(parameter)
                parameter.data = empty if found is None else found.to(parameter.dtype).reshape(empty.shape).clone()
            for buffer in chunk.buffers():
                buffer.data = torch.zeros_like(buffer)
    return export(part)


def gradient(parameter: Any) -> torch.Tensor | None:
    """What data parallel collected of a parameter's gradient."""
    found: torch.Tensor | None = getattr(parameter, "main_grad", None)
    return parameter.grad if found is None else found
