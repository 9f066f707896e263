"""Inventories to classify: published configs, and tables of tensors as a checkpoint's headers give them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from scaffold_tools.source.inventory import Inventory, Source, TensorInfo, TensorTable

CONFIGS = Path(__file__).resolve().parent.parent / "data" / "configs"

Tensor = tuple[str, str, tuple[int, ...]]
"""Name, dtype, shape."""

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
}
LINEAR = {"self_attn.q_proj": (512, 512), "mlp.gate_proj": (1024, 512), "mlp.down_proj": (512, 1024)}
"""Output and input width of some linear layers of `LLAMA`."""


def inventory(
    config: dict[str, Any],
    tensors: Iterable[Tensor] | None = None,
    *,
    origin: Literal["headers", "transformers-class"] = "headers",
    quantization: dict[str, Any] | None = None,
    files: tuple[str, ...] = (),
) -> Inventory:
    """An inventory as `read_inventory` makes it."""
    table = None
    if tensors is not None:
        table = TensorTable(tuple(TensorInfo(name, shape, dtype) for name, dtype, shape in tensors), origin)
    return Inventory(Source("here", "folder", "here"), config, table, quantization=quantization, files=files)


def published(folder: str) -> Inventory:
    """A published config, with hf_quant_config.json where there is one."""
    config = json.loads((CONFIGS / folder / "config.json").read_text(encoding="utf-8"))
    extra = CONFIGS / folder / "hf_quant_config.json"
    return inventory(config, quantization=json.loads(extra.read_text("utf-8")) if extra.exists() else None)


def dense(*, head: bool = True, layers: int = 2) -> list[Tensor]:
    """The BF16 checkpoint of `LLAMA`, with the linear layers of `LINEAR` only."""
    found: list[Tensor] = [("model.embed_tokens.weight", "BF16", (1000, 512)), ("model.norm.weight", "BF16", (512,))]
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        found += [(f"{prefix}.{name}.weight", "BF16", shape) for name, shape in LINEAR.items()]
        found += [
            (f"{prefix}.{name}.weight", "BF16", (512,)) for name in ("input_layernorm", "post_attention_layernorm")
        ]
    return [*found, ("lm_head.weight", "BF16", (1000, 512))] if head else found


def moe(first: int = 0, layers: int = 2) -> list[Tensor]:
    """`dense`, with two experts instead of an MLP from layer `first` on."""
    found = [tensor for tensor in dense(layers=layers) if not (".mlp." in tensor[0] and _layer(tensor[0]) >= first)]
    for layer in range(first, layers):
        found.append((f"model.layers.{layer}.mlp.gate.weight", "BF16", (2, 512)))
        for expert in range(2):
            found.append((f"model.layers.{layer}.mlp.experts.{expert}.down_proj.weight", "BF16", (512, 1024)))
    return found


def _layer(name: str) -> int:
    return int(name.split(".")[2])
