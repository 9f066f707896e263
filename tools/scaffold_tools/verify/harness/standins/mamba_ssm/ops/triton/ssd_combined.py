import torch
import torch.nn.functional as F


def mamba_chunk_scan_combined(
    x,
    dt,
    A,
    B,
    C,
    chunk_size,
    D=None,
    z=None,
    dt_bias=None,
    initial_states=None,
    seq_idx=None,
    cu_seqlens=None,
    dt_softplus=False,
    dt_limit=(0.0, float("inf")),
    return_final_states=False,
    return_varlen_states=False,
    state_dtype=None,
):
    """The state space scan of Mamba 2 (Dao and Gu 2024, arXiv 2405.21060, eq. 1), one step a token in fp32.

    Args:
        x: [batch, sequence, heads, head dim].
        dt: [batch, sequence, heads].
        A: [heads], negative.
        B, C: [batch, sequence, groups, state].
        D: [heads] or [heads, head dim].
    """
    if seq_idx is not None or cu_seqlens is not None or return_varlen_states:
        raise NotImplementedError("packed sequences")
    batch, steps, heads, dim = x.shape
    wide, dt = x.float(), dt.float()
    if dt_bias is not None:
        dt = dt + dt_bias.float()
    if dt_softplus:
        dt = F.softplus(dt)
    dt = dt.clamp(*dt_limit)
    per_group = heads // B.shape[2]
    B, C = (tensor.float().repeat_interleave(per_group, 2) for tensor in (B, C))
    state = wide.new_zeros(batch, heads, dim, B.shape[-1]) if initial_states is None else initial_states.float()
    decay = torch.exp(dt * A.float())
    outs = []
    for step in range(steps):
        write = (dt[:, step, :, None] * wide[:, step]).unsqueeze(-1) * B[:, step, :, None, :]
        state = state * decay[:, step, :, None, None] + write
        outs.append(torch.einsum("bhpn,bhn->bhp", state, C[:, step]))
    y = torch.stack(outs, 1)
    if D is not None:
        y = y + wide * (D.float()[:, None] if D.dim() == 1 else D.float())
    if z is not None:
        y = y * F.silu(z.float())
    return (y.to(x.dtype), state) if return_final_states else y.to(x.dtype)


def mamba_split_conv1d_scan_combined(
    zxbcdt,
    conv1d_weight,
    conv1d_bias,
    dt_bias,
    A,
    D,
    chunk_size,
    initial_states=None,
    seq_idx=None,
    dt_limit=(0.0, float("inf")),
    return_final_states=False,
    activation="silu",
    rmsnorm_weight=None,
    rmsnorm_eps=1e-6,
    outproj_weight=None,
    outproj_bias=None,
    headdim=None,
    ngroups=1,
    norm_before_gate=True,
    state_dtype=None,
):
    """Split the projected input into z, x, B, C, dt; convolve x, B, C; scan. zxbcdt: [batch, sequence, width]."""
    if seq_idx is not None or rmsnorm_weight is not None or outproj_weight is not None or activation != "silu":
        raise NotImplementedError("packed sequences, fused norm or projection, other activations")
    heads = dt_bias.shape[0]
    head_dim = headdim if D.dim() == 1 else D.shape[1]
    inner, channels = heads * head_dim, conv1d_weight.shape[0]
    z, conv_input, dt = torch.split(zxbcdt, [inner, channels, heads], -1)
    width = conv1d_weight.shape[-1]
    convolved = F.conv1d(
        conv_input.transpose(1, 2), conv1d_weight[:, None], conv1d_bias, padding=width - 1, groups=channels
    )
    convolved = F.silu(convolved[..., : z.shape[1]]).transpose(1, 2)
    state = (channels - inner) // (2 * ngroups)
    x, B, C = torch.split(convolved, [inner, ngroups * state, ngroups * state], -1)
    batch, steps = x.shape[:2]
    scanned = mamba_chunk_scan_combined(
        x.reshape(batch, steps, heads, head_dim),
        dt,
        A,
        B.reshape(batch, steps, ngroups, state),
        C.reshape(batch, steps, ngroups, state),
        chunk_size,
        D=D,
        z=z.reshape(batch, steps, heads, head_dim),
        dt_bias=dt_bias,
        dt_softplus=True,
        dt_limit=dt_limit,
        initial_states=initial_states,
        return_final_states=return_final_states,
    )
    if return_final_states:
        return scanned[0].reshape(batch, steps, inner), scanned[1]
    return scanned.reshape(batch, steps, inner)
