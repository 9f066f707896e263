"""Names of fusible operators; Megatron subclasses and mentions them, `use_transformer_engine_op_fuser` stays off."""

import torch


class FusibleOperation(torch.nn.Module):
    def __init__(self, *args, **kwargs):
        raise NotImplementedError(f"te.pytorch.ops.{type(self).__name__}: the stand-in has no fused operators")


NAMES = (
    *("Sequential", "LayerNorm", "RMSNorm", "BasicLinear", "Linear", "GroupedLinear", "Bias", "Dropout", "Quantize"),
    *("SwiGLU", "GEGLU", "ReGLU", "GELU", "ReLU", "SiLU", "ScaledSwiGLU", "ConstantScale"),
    *("MakeExtraOutput", "AddExtraInput", "ReduceScatter", "AllReduce"),
)
globals().update({name: type(name, (FusibleOperation,), {}) for name in NAMES})
