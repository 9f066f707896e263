import torch


def l2norm(x, eps=1e-6, output_dtype=None):
    """x over its length in the last dim."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().sum(-1, keepdim=True) + eps)).to(output_dtype or x.dtype)
