"""A sequence that is split over ranks: each has a piece from the start and one from the end, as Megatron cuts it."""

import torch


def own_places(length, group):
    """Positions of this rank's tokens, of which there are `length`."""
    size, rank, half = torch.distributed.get_world_size(group), torch.distributed.get_rank(group), length // 2
    last = 2 * size - 1 - rank
    return torch.cat([torch.arange(rank * half, (rank + 1) * half), torch.arange(last * half, (last + 1) * half)])


def whole_sequence(tensor, group):
    """All ranks' tokens in order; [batch, sequence, ...]. What flows back is summed over ranks."""
    return _Whole.apply(tensor, group)


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor, group):
        size = torch.distributed.get_world_size(group)
        ctx.group, ctx.places = group, own_places(tensor.shape[1], group)
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(size)]
        torch.distributed.all_gather(parts, tensor.contiguous(), group=group)
        firsts, lasts = zip(*(part.chunk(2, 1) for part in parts), strict=True)
        return torch.cat([*firsts, *reversed(lasts)], 1)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.contiguous()
        torch.distributed.all_reduce(gradient, group=ctx.group)
        return gradient[:, ctx.places], None
