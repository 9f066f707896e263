"""Linear, column- or row-parallel."""

import torch
import torch.nn.functional as F

from ..parallel import column_input, row_output, world_size
from .base import TransformerEngineBaseModule, default_device


def mark(parameter, partition_dim):
    """The attributes by which Megatron knows how a parameter is split."""
    parameter.tensor_model_parallel = True
    parameter.partition_dim = partition_dim
    parameter.partition_stride = 1


class ParallelLinear(TransformerEngineBaseModule):
    """Sizes, groups and parameters that all linear layers share."""

    def configure(self, in_features, out_features, sequence_parallel, tp_group, tp_size, bias, return_bias, mode):
        if mode not in (None, "column", "row"):
            raise ValueError(f"parallel_mode is None, 'column' or 'row', not {mode!r}")
        self.tp_group = tp_group
        self.tp_size = tp_size if tp_group is None else world_size(tp_group)
        for size, split in ((out_features, mode == "column"), (in_features, mode == "row")):
            if split and size % self.tp_size:
                raise ValueError(f"{size} features do not divide by tensor parallel size {self.tp_size}")
        self.in_features = in_features // self.tp_size if mode == "row" else in_features
        self.out_features = out_features // self.tp_size if mode == "column" else out_features
        self.parallel_mode = mode
        self.use_bias = bias
        self.return_bias = return_bias
        self.apply_bias = bias and not return_bias
        self.sequence_parallel = sequence_parallel and self.tp_size > 1 and mode is not None

    def make_parameters(self, suffix, init_method, dtype, device):
        """`weight<suffix>` [out, in] and `bias<suffix>` [out] (without bias: an empty tensor, as in the library)."""
        made = {"dtype": dtype or torch.get_default_dtype(), "device": default_device(device)}
        weight = torch.nn.Parameter(torch.empty(self.out_features, self.in_features, **made))
        if weight.device.type != "meta":
            with torch.no_grad():
                weight.normal_(0, 0.02)
                if init_method is not None:
                    init_method(weight)
        mark(weight, 1 if self.parallel_mode == "row" else 0)
        setattr(self, f"weight{suffix}", weight)
        if not self.use_bias:
            setattr(self, f"bias{suffix}", torch.empty(0, **made))
            return
        bias = torch.nn.Parameter(torch.zeros(self.out_features, **made))
        if self.parallel_mode == "row":
            bias.sequence_parallel = self.sequence_parallel
        elif self.parallel_mode == "column":
            mark(bias, 0)
        setattr(self, f"bias{suffix}", bias)

    def extra_repr(self):
        return f"{self.in_features} -> {self.out_features}, bias={self.use_bias}, {self.parallel_mode}"


class Linear(ParallelLinear):
    def __init__(
        self,
        in_features,
        out_features,
        sequence_parallel=False,
        fuse_wgrad_accumulation=False,
        tp_group=None,
        tp_size=1,
        get_rng_state_tracker=None,
        init_method=None,
        bias=True,
        return_bias=False,
        params_dtype=None,
        parallel_mode=None,
        parameters_split=None,
        device="cuda",
        **kwargs,
    ):
        super().__init__()
        if parameters_split is not None:
            raise NotImplementedError("parameters_split")
        self.configure(
            in_features, out_features, sequence_parallel, tp_group, tp_size, bias, return_bias, parallel_mode
        )
        self.make_parameters("", init_method, params_dtype, device)

    def forward(self, inp, is_first_microbatch=None, **kwargs):
        if self.parallel_mode == "column":
            inp = column_input(inp, self.tp_group, self.sequence_parallel)
        out = F.linear(inp.to(self.weight.dtype), self.weight)
        if self.parallel_mode == "row":
            out = row_output(out, self.tp_group, self.sequence_parallel)
        if self.apply_bias:
            out = out + self.bias
        return (out, self.bias) if self.return_bias else out
