"""What a tensor-parallel layer does with its input and output, with autograd, over collectives that gloo has.

Shapes are [sequence, batch, hidden]; sequence parallelism splits dim 0.
"""

import torch


def world_size(group):
    return 1 if group is None else torch.distributed.get_world_size(group)


def _all_reduce(tensor, group):
    summed = tensor.contiguous().clone()
    torch.distributed.all_reduce(summed, group=group)
    return summed


def _all_gather(tensor, group):
    parts = [torch.empty_like(tensor) for _ in range(world_size(group))]
    torch.distributed.all_gather(parts, tensor.contiguous(), group=group)
    return torch.cat(parts, 0)


def _reduce_scatter(tensor, group):
    rank = torch.distributed.get_rank(group)
    return _all_reduce(tensor, group).chunk(world_size(group), 0)[rank].contiguous()


def _identity(tensor, group):
    return tensor


class _Collective(torch.autograd.Function):
    """A collective forward and its transpose backward."""

    @staticmethod
    def forward(ctx, tensor, group, forward, backward):
        ctx.group, ctx.backward_call = group, backward
        return forward(tensor, group) if forward is not _identity else tensor.view_as(tensor)

    @staticmethod
    def backward(ctx, gradient):
        return ctx.backward_call(gradient, ctx.group), None, None, None


def column_input(tensor, group, sequence_parallel):
    """Gather the sequence (or copy), so that every rank sees the whole input."""
    if world_size(group) == 1:
        return tensor
    if sequence_parallel:
        return _Collective.apply(tensor, group, _all_gather, _reduce_scatter)
    return _Collective.apply(tensor, group, _identity, _all_reduce)


def row_output(tensor, group, sequence_parallel):
    """Sum over ranks, and keep this rank's part of the sequence when it is split."""
    if world_size(group) == 1:
        return tensor
    if sequence_parallel:
        return _Collective.apply(tensor, group, _reduce_scatter, _all_gather)
    return _Collective.apply(tensor, group, _all_reduce, _identity)
