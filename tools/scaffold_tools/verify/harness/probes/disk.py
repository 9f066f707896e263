"""Names of tensors in a saved checkpoint, found by content: transformers 5 joins on load what files hold apart.

Every parameter of the toy is random, so a block of one that equals a tensor on disk is that tensor.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from typing import Any

import torch


def disk_names(model: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Names on disk by name in memory (None where nothing saved equals it), and the saved tensors."""
    from safetensors.torch import load_file

    memory = {name: digest(tensor) for name, tensor in model.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, max_shard_size="1GB")
        saved = load_file(f"{folder}/model.safetensors")
    disk = {digest(tensor): name for name, tensor in saved.items()}
    return {name: disk.get(found) for name, found in memory.items()}, saved


def digest(tensor: torch.Tensor) -> str:
    """Hash of numbers and shape."""
    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(data + repr(tuple(tensor.shape)).encode()).hexdigest()


def expert_roles(
    roles: list[dict[str, Any]],
    names: dict[str, Any],
    saved: dict[str, torch.Tensor],
    memory: dict[str, torch.Tensor],
) -> list[dict[str, Any]]:
    """Roles with those of experts' matrices told for the tensors on disk.

    `packing` of a row becomes that of the tensor on disk: `stacked` (all experts in one tensor), `transposed`
    ([in, out]), `concat:gate,up` and the like where gate and up are one tensor.
    """
    disk = {digest(tensor): name for name, tensor in saved.items()}
    found = []
    for row in roles:
        if not row["role"].startswith("moe.expert.") or names.get(row["tensor"]) or row["tensor"] not in memory:
            found.append(row)
            continue
        rows = list(_pieces(row, memory[row["tensor"]], disk))
        found.extend(rows or [row])
    return found


def _pieces(row: dict[str, Any], whole: torch.Tensor, disk: dict[str, str]) -> Iterator[dict[str, Any]]:
    words = (row["packing"] or "").split(";")
    layout = next((word for word in words if ":" in word), None)
    turned = "transposed" in words
    for role, block, packing in _blocks(row["role"], whole, layout, turned and row["param"] == "weight"):
        for extra, form in (((), block), (("transposed",), block.transpose(-1, -2) if block.dim() > 1 else block)):
            own = [*packing, *(["stacked"] if _is_stack(form, row["param"]) else []), *extra]
            if (name := disk.get(digest(form))) is not None:
                yield {"role": role, "tensor": name, "param": row["param"], "packing": ";".join(own) or None}
                break


def _is_stack(block: torch.Tensor, param: str) -> bool:
    return block.dim() == (3 if param == "weight" else 2)


def _blocks(
    role: str, whole: torch.Tensor, layout: str | None, turned: bool
) -> Iterator[tuple[str, torch.Tensor, list[str]]]:
    """(role, block in [.., out, in], packing) of everything that files may hold of one parameter in memory."""
    if turned:
        whole = whole.transpose(-1, -2)
    halves = [("", whole, [layout] if layout else [])]
    if layout is not None:
        kind, _, order = layout.partition(":")
        axis = 1  # rows of [E, out, in] or [E, out]
        size = whole.shape[axis] // 2
        steps = (slice(0, size), slice(size, None)) if kind == "concat" else (slice(0, None, 2), slice(1, None, 2))
        for name, step in zip(order.split(","), steps, strict=True):
            halves.append((name, whole[:, step], []))
    for name, block, packing in halves:
        own = f"moe.expert.{name}" if name else role
        yield own, block, packing
        for expert in block:
            yield own, expert, packing
