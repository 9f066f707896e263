"""RMSNorm and LayerNorm; `zero_centered_gamma` means that 1 + weight scales."""

import torch
import torch.nn.functional as F

from .base import default_device


def normalise(x, weight, bias, eps, normalization, zero_centered_gamma):
    """The norm of the last dim, computed in fp32 (fp64 stays fp64) and cast back, as the library does."""
    wide = torch.promote_types(x.dtype, torch.float32)
    gamma = weight.to(wide) + (1.0 if zero_centered_gamma else 0.0)
    if normalization == "RMSNorm":
        y = x.to(wide) * torch.rsqrt(x.to(wide).square().mean(-1, keepdim=True) + eps) * gamma
    elif normalization == "LayerNorm":
        y = F.layer_norm(x.to(wide), x.shape[-1:], gamma, None if bias is None else bias.to(wide), eps)
    else:
        raise ValueError(f"normalization is RMSNorm or LayerNorm, not {normalization}")
    return y.to(x.dtype)


class _Norm(torch.nn.Module):
    normalization = ""

    def __init__(
        self,
        normalized_shape=None,
        eps=1e-5,
        sequence_parallel=False,
        params_dtype=None,
        zero_centered_gamma=False,
        device="cuda",
        dtype=None,
        hidden_size=None,
        **kwargs,
    ):
        super().__init__()
        shape = normalized_shape if normalized_shape is not None else hidden_size
        size = shape if isinstance(shape, int) else shape[-1]
        made = {"dtype": params_dtype or dtype or torch.get_default_dtype(), "device": default_device(device)}
        self.eps = eps
        self.zero_centered_gamma = zero_centered_gamma
        self.sequence_parallel = sequence_parallel
        self.weight = torch.nn.Parameter(torch.full((size,), 0.0 if zero_centered_gamma else 1.0, **made))
        self.weight.sequence_parallel = sequence_parallel
        if self.normalization == "LayerNorm":
            self.bias = torch.nn.Parameter(torch.zeros(size, **made))
            self.bias.sequence_parallel = sequence_parallel

    def forward(self, inp):
        bias = getattr(self, "bias", None)
        return normalise(inp, self.weight, bias, self.eps, self.normalization, self.zero_centered_gamma)


class LayerNorm(_Norm):
    normalization = "LayerNorm"


class RMSNorm(_Norm):
    normalization = "RMSNorm"
