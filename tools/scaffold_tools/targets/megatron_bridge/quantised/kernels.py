"""The table of dequantisers: a stored format is undone by one function, a template fragment.

The arithmetic of each row is held by tests against tensors that the defining library made
(`tests/data/quantised/make.py`), never against a formula of this project.
"""

from __future__ import annotations

from typing import NamedTuple

SCALE = ("weight_scale_inv", "weight_scale", "scale_inv", "scale")
"""Names that checkpoints have for the scales of FP8 values, and never two of them for one weight."""


class Argument(NamedTuple):
    """A tensor that a dequantiser takes besides the values."""

    name: str
    """The parameter of the function."""
    parts: tuple[str, ...]
    """Names of the part; the first one that is stored is taken."""
    required: bool = True


class KernelRow(NamedTuple):
    """How one stored format is undone."""

    formats: tuple[str, ...]
    """Formats of the classification."""
    values: str
    """The part that holds the values."""
    function: str
    fragments: tuple[str, ...]
    """Templates of `dequantize/kernels`, what is used first."""
    arguments: tuple[Argument, ...]
    reason: str
    """The code that defines the format."""
    modules: tuple[str, ...] = ()
    """Modules of the standard library that the fragments use."""


SCALED = ("float8", "scaled")
FP4 = ("e2m1",)

KERNELS: tuple[KernelRow, ...] = (
    KernelRow(
        ("nvfp4",),
        "weight",
        "dequantize_nvfp4",
        ("float8", *FP4, "nvfp4"),
        (Argument("scale", ("weight_scale",)), Argument("global_scale", ("weight_scale_2",))),
        "modelopt/torch/quantization/qtensor/nvfp4_tensor.py: the global scale is a factor",
    ),
    KernelRow(
        ("nvfp4",),
        "weight_packed",
        "dequantize_nvfp4",
        ("float8", *FP4, "nvfp4_divided"),
        (Argument("scale", ("weight_scale",)), Argument("global_scale", ("weight_global_scale",))),
        "compressed_tensors/compressors/nvfp4: the global scale is a divisor",
    ),
    KernelRow(
        ("mxfp4",),
        "weight_packed",
        "dequantize_mxfp4",
        (*FP4, "powers", "mxfp4"),
        (Argument("scale", ("weight_scale",)),),
        "compressed_tensors/compressors/mxfp4",
    ),
    KernelRow(
        ("mxfp4",),
        "weight",
        "dequantize_mxfp4",
        (*FP4, "powers", "mxfp4"),
        (Argument("scale", SCALE),),
        "transformers/integrations/finegrained_fp8.py Fp8Dequantize, whose values may be packed FP4",
    ),
    KernelRow(
        ("mxfp4",),
        "blocks",
        "dequantize_mxfp4_blocks",
        (*FP4, "powers", "mxfp4_blocks"),
        (Argument("scales", ("scales",)),),
        "transformers/integrations/mxfp4.py convert_moe_packed_tensors, which turns inputs and outputs round",
    ),
    KernelRow(
        ("int-packed",),
        "weight_packed",
        "dequantize_packed_integers",
        ("int32", "packed_integers"),
        (
            Argument("scale", ("weight_scale",)),
            Argument("shape", ("weight_shape",)),
            Argument("zero_point", ("weight_zero_point",), required=False),
            Argument("g_idx", ("weight_g_idx",), required=False),
        ),
        "compressed_tensors/compressors/pack_quantized",
    ),
    KernelRow(
        ("gptq",),
        "qweight",
        "dequantize_gptq",
        ("int32", "gptq"),
        (
            Argument("zeros", ("qzeros",)),
            Argument("scale", ("scales",)),
            Argument("g_idx", ("g_idx",), required=False),
        ),
        "gptqmodel/nn_modules/qlinear/torch.py and the conversion of format v1 to v2",
    ),
    KernelRow(
        ("awq",),
        "qweight",
        "dequantize_awq",
        ("awq",),
        (Argument("zeros", ("qzeros",)), Argument("scale", ("scales",))),
        "awq/utils/packing_utils.py dequantize_gemm",
    ),
    KernelRow(
        ("bnb-nf4", "bnb-fp4", "bnb-4bit"),
        "weight",
        "dequantize_bitsandbytes_4bit",
        ("bitsandbytes4",),
        (
            Argument("absmax", ("weight.absmax",)),
            Argument("levels", ("weight.quant_map",)),
            Argument("state", ("weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4")),
            Argument("nested_absmax", ("weight.nested_absmax",), required=False),
            Argument("nested_levels", ("weight.nested_quant_map",), required=False),
        ),
        "bitsandbytes/functional.py dequantize_4bit",
        ("json", "math"),
    ),
    KernelRow(
        ("bnb-int8",),
        "weight",
        "dequantize_bitsandbytes_8bit",
        (*SCALED, "bitsandbytes8"),
        (Argument("absmax", ("SCB",)),),
        "bitsandbytes/functional.py int8_vectorwise_dequant",
    ),
    KernelRow(
        ("mxfp8",),
        "weight",
        "dequantize_mxfp8",
        (*SCALED, "powers", "mxfp8"),
        (Argument("scale", SCALE),),
        "modelopt/torch/quantization/qtensor/mxfp8_tensor.py",
    ),
    KernelRow(
        ("fp8-block",),
        "weight",
        "dequantize_fp8_blocks",
        ("float8", "fp8_blocks"),
        (Argument("scale", SCALE),),
        "transformers/integrations/finegrained_fp8.py Fp8Dequantize; blocks that do not divide: compressed_tensors",
    ),
    KernelRow(
        ("fp8-channel", "fp8-tensor"),
        "weight",
        "dequantize_scaled",
        SCALED,
        (Argument("scale", SCALE),),
        "compressed_tensors/quantization/lifecycle/forward.py dequantize",
    ),
    KernelRow(
        ("int8",),
        "weight",
        "dequantize_scaled",
        SCALED,
        (Argument("scale", ("weight_scale",)), Argument("zero_point", ("weight_zero_point",), required=False)),
        "compressed_tensors/quantization/lifecycle/forward.py dequantize",
    ),
    KernelRow(
        ("int4-modelopt",),
        "weight",
        "dequantize_int4_rows",
        (*SCALED, "int4_rows"),
        (Argument("scale", ("weight_scale",)),),
        "modelopt/torch/export/quant_utils.py pack_int4_in_uint8",
    ),
    KernelRow(
        ("torchao",),
        "_weight_qdata",
        "dequantize_scaled",
        SCALED,
        (
            Argument("scale", ("_weight_scale",)),
            Argument("zero_point", ("_weight_zero_point",), required=False),
        ),
        "torchao/quantization: Int8Tensor, Float8Tensor and IntxUnpackedToInt8Tensor, a value an element",
    ),
)


def kernel(format_name: str, values: str) -> KernelRow | None:
    """The row that undoes a format whose values lie in this part; None where none does."""
    return next((row for row in KERNELS if format_name in row.formats and row.values == values), None)
