"""Inventories with whole tensor tables in the layouts that checkpoints really have."""

from __future__ import annotations

from typing import Any

from classify.inventories import LLAMA, published
from scaffold_tools.source.inventory import Inventory, Source, TensorInfo, TensorTable

__all__ = ["LLAMA", "Layout", "dense_layout", "inventory", "published", "quantised", "with_experts"]

Layout = dict[str, tuple[str, list[int]]]
"""Tensor name -> (safetensors dtype, shape)."""


def inventory(
    config: dict[str, Any],
    layout: Layout | None = None,
    *,
    derived: bool = False,
    quantization: dict[str, Any] | None = None,
    files: tuple[str, ...] = (),
) -> Inventory:
    table = None
    if layout is not None:
        tensors = tuple(TensorInfo(name, tuple(shape), dtype) for name, (dtype, shape) in layout.items())
        table = TensorTable(tensors, "transformers-class" if derived else "headers")
    return Inventory(Source("x", "config", "x"), config, table, None, quantization, files)


def dense_layout(*, head: bool = True, layers: int = 2) -> Layout:
    """An unquantised Llama of the sizes of `LLAMA`."""
    layout: Layout = {"model.embed_tokens.weight": ("BF16", [1000, 512]), "model.norm.weight": ("BF16", [512])}
    if head:
        layout["lm_head.weight"] = ("BF16", [1000, 512])
    for index in range(layers):
        at = f"model.layers.{index}"
        for name, rows in (("q_proj", 512), ("k_proj", 256), ("v_proj", 256), ("o_proj", 512)):
            layout[f"{at}.self_attn.{name}.weight"] = ("BF16", [rows, 512])
        for name, shape in (("gate_proj", [1024, 512]), ("up_proj", [1024, 512]), ("down_proj", [512, 1024])):
            layout[f"{at}.mlp.{name}.weight"] = ("BF16", shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            layout[f"{at}.{name}.weight"] = ("BF16", [512])
    return layout


def with_experts(layers: tuple[int, ...] = (0, 1), experts: int = 4) -> Layout:
    layout = dense_layout()
    for layer in layers:
        at = f"model.layers.{layer}.mlp"
        for name in [key for key in layout if key.startswith(f"{at}.")]:
            del layout[name]
        layout[f"{at}.gate.weight"] = ("BF16", [experts, 512])
        for expert in range(experts):
            for name, shape in (("gate_proj", [128, 512]), ("up_proj", [128, 512]), ("down_proj", [512, 128])):
                layout[f"{at}.experts.{expert}.{name}.weight"] = ("BF16", shape)
    return layout


def quantised(replace: dict[str, tuple[str, Any]]) -> Layout:
    """The dense layout with every projection stored as `part -> (dtype, shape from output and input width)`."""
    layout: Layout = {}
    for name, (dtype, shape) in dense_layout().items():
        if "_proj" not in name:
            layout[name] = (dtype, shape)
            continue
        module = name.removesuffix("weight")
        for part, (kind, form) in replace.items():
            layout[module + part] = (kind, form(*shape))
    return layout
