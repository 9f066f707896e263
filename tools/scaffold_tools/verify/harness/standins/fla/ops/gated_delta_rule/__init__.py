import torch

from fla.modules.l2norm import l2norm


def chunk_gated_delta_rule(
    q,
    k,
    v,
    g,
    beta,
    scale=None,
    initial_state=None,
    output_final_state=False,
    use_qk_l2norm_in_kernel=False,
    cu_seqlens=None,
    **kwargs,
):
    """The gated delta rule, one step a token in fp32 (Yang et al. 2024, arXiv 2412.06464, eq. 10).

    Args:
        q, k: [batch, sequence, heads, key dim].
        v: [batch, sequence, value heads, value dim]; value heads are a multiple of heads.
        g: log decay [batch, sequence, value heads].
        beta: write strength [batch, sequence, value heads].
    """
    if cu_seqlens is not None:
        raise NotImplementedError("packed sequences")
    dtype = v.dtype
    q, k, v, g, beta = (tensor.float() for tensor in (q, k, v, g, beta))
    if use_qk_l2norm_in_kernel:
        q, k = l2norm(q), l2norm(k)
    repeat = v.shape[2] // k.shape[2]
    q, k = q.repeat_interleave(repeat, 2), k.repeat_interleave(repeat, 2)
    batch, steps, heads, key_dim = k.shape
    scale = scale if scale is not None else key_dim**-0.5
    state = v.new_zeros(batch, heads, key_dim, v.shape[-1]) if initial_state is None else initial_state.float()
    outs = []
    for step in range(steps):
        state = state * g[:, step].exp()[..., None, None]
        read = torch.einsum("bhkv,bhk->bhv", state, k[:, step])
        write = (v[:, step] - read) * beta[:, step][..., None]
        state = state + k[:, step].unsqueeze(-1) * write.unsqueeze(-2)
        outs.append(torch.einsum("bhkv,bhk->bhv", state, q[:, step] * scale))
    return torch.stack(outs, 1).to(dtype), (state if output_final_state else None)
