import torch.nn.functional as F


def causal_conv1d(
    x,
    weight=None,
    bias=None,
    residual=None,
    initial_state=None,
    output_final_state=False,
    activation=None,
    backend=None,
    cu_seqlens=None,
    **kwargs,
):
    """Depthwise causal convolution of x [batch, sequence, channels] with weight [channels, width]."""
    if not (residual is None and initial_state is None and cu_seqlens is None):
        raise NotImplementedError("residual, initial_state and packed sequences")
    width = weight.shape[-1]
    y = F.conv1d(x.transpose(1, 2), weight[:, None], bias, padding=width - 1, groups=weight.shape[0])
    y = y[..., : x.shape[1]].transpose(1, 2)
    return (F.silu(y) if activation in ("silu", "swish") else y), None
