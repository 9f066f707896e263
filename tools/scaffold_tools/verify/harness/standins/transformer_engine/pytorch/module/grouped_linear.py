"""One linear layer an expert; the rows of the input come grouped by expert."""

import torch
import torch.nn.functional as F

from .linear import ParallelLinear


class GroupedLinear(ParallelLinear):
    def __init__(
        self,
        num_gemms,
        in_features,
        out_features,
        sequence_parallel=False,
        fuse_wgrad_accumulation=False,
        tp_group=None,
        tp_size=1,
        get_rng_state_tracker=None,
        rng_tracker_name=None,
        init_method=None,
        bias=True,
        return_bias=False,
        params_dtype=None,
        parallel_mode=None,
        device="cuda",
        ub_name=None,
        single_grouped_weight=False,
        single_grouped_bias=False,
        **kwargs,
    ):
        super().__init__()
        if single_grouped_weight or single_grouped_bias:
            raise NotImplementedError("single grouped parameters")
        self.num_gemms = num_gemms
        self.configure(
            in_features, out_features, sequence_parallel, tp_group, tp_size, bias, return_bias, parallel_mode
        )
        for index in range(num_gemms):
            self.make_parameters(str(index), init_method, params_dtype, device)

    def forward(self, inp, m_splits, is_first_microbatch=None, **kwargs):
        splits = m_splits.tolist() if torch.is_tensor(m_splits) else list(m_splits)
        parts = []
        for index, rows in enumerate(torch.split(inp.reshape(-1, inp.shape[-1]), splits)):
            out = F.linear(rows, getattr(self, f"weight{index}"))
            parts.append(out + getattr(self, f"bias{index}") if self.apply_bias else out)
        joined = torch.cat(parts, 0).view(*inp.shape[:-1], -1)
        if self.return_bias:
            return joined, [getattr(self, f"bias{index}") for index in range(self.num_gemms)]
        return joined
