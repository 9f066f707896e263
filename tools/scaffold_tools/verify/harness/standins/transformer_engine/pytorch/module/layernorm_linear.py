"""A norm and the linear layer after it, as one module with one set of names."""

import torch
import torch.nn.functional as F

from ..parallel import column_input
from .base import default_device
from .linear import ParallelLinear
from .norm import normalise


class LayerNormLinear(ParallelLinear):
    def __init__(
        self,
        in_features,
        out_features,
        eps=1e-5,
        sequence_parallel=False,
        fuse_wgrad_accumulation=False,
        tp_group=None,
        tp_size=1,
        get_rng_state_tracker=None,
        init_method=None,
        bias=True,
        normalization="LayerNorm",
        return_bias=False,
        params_dtype=None,
        parallel_mode=None,
        return_layernorm_output=False,
        return_layernorm_output_gathered=False,
        parameters_split=None,
        zero_centered_gamma=False,
        device="cuda",
        **kwargs,
    ):
        super().__init__()
        if parameters_split is not None or parallel_mode == "row":
            raise NotImplementedError("parameters_split, or a row-parallel LayerNormLinear")
        self.configure(
            in_features, out_features, sequence_parallel, tp_group, tp_size, bias, return_bias, parallel_mode
        )
        self.eps = eps
        self.normalization = normalization
        self.zero_centered_gamma = zero_centered_gamma
        self.return_layernorm_output = return_layernorm_output
        self.return_layernorm_output_gathered = return_layernorm_output_gathered
        made = {"dtype": params_dtype or torch.get_default_dtype(), "device": default_device(device)}
        start = 0.0 if zero_centered_gamma else 1.0
        self.layer_norm_weight = torch.nn.Parameter(torch.full((in_features,), start, **made))
        self.layer_norm_weight.sequence_parallel = self.sequence_parallel
        self.layer_norm_bias = None
        if normalization == "LayerNorm":
            self.layer_norm_bias = torch.nn.Parameter(torch.zeros(in_features, **made))
            self.layer_norm_bias.sequence_parallel = self.sequence_parallel
        self.make_parameters("", init_method, params_dtype, device)

    def forward(self, inp, is_first_microbatch=None, **kwargs):
        normed = normalise(
            inp, self.layer_norm_weight, self.layer_norm_bias, self.eps, self.normalization, self.zero_centered_gamma
        )
        gathered = normed
        if self.parallel_mode == "column":
            gathered = column_input(normed, self.tp_group, self.sequence_parallel)
        out = F.linear(gathered.to(self.weight.dtype), self.weight)
        if self.apply_bias:
            out = out + self.bias
        results = [out]
        if self.return_bias:
            results.append(self.bias)
        if self.return_layernorm_output:
            results.append(gathered if self.return_layernorm_output_gathered else normed)
        return tuple(results) if len(results) > 1 else out
