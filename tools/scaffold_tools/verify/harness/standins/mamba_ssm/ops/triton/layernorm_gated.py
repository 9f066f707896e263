import torch
import torch.nn.functional as F


class RMSNorm(torch.nn.Module):
    """RMSNorm in groups of `group_size`, with a gate z before or after."""

    def __init__(self, hidden_size, eps=1e-5, group_size=None, norm_before_gate=True, device=None, dtype=None):
        super().__init__()
        self.eps = eps
        self.group_size = group_size
        self.norm_before_gate = norm_before_gate
        self.weight = torch.nn.Parameter(torch.ones(hidden_size, dtype=dtype, device=device))
        self.register_parameter("bias", None)

    def forward(self, x, z=None):
        wide = x.float()
        gate = None if z is None else F.silu(z.float())
        if gate is not None and not self.norm_before_gate:
            wide = wide * gate
        groups = wide.view(*wide.shape[:-1], -1, self.group_size or wide.shape[-1])
        normed = groups * torch.rsqrt(groups.square().mean(-1, keepdim=True) + self.eps)
        y = normed.view_as(wide) * self.weight.float()
        if gate is not None and self.norm_before_gate:
            y = y * gate
        return y.to(x.dtype)
