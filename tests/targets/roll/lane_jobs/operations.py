"""In the lane: generated operations on counted tensors, against rows that are listed here one by one.

Prints {case: what is wrong}, empty where nothing is. The package `mcore_adapter` is the test's miniature.
"""

import importlib
import json
import sys
from types import SimpleNamespace

import torch

HIDDEN, HEADS, GROUPS, DIM, FFN, EXPERTS = 6, 4, 2, 3, 5, 3
CONFIG = {
    "num_attention_heads": HEADS,
    "num_query_groups": GROUPS,
    "kv_channels": DIM,
    "hidden_size": HIDDEN,
    "num_moe_experts": EXPERTS,
    "tensor_model_parallel_size": 2,
    "qk_head_dim": 2,
    "kv_lora_rank": 4,
    "qk_pos_emb_head_dim": 4,
    "mamba_num_heads": 4,
    "mamba_head_dim": 2,
    "mamba_num_groups": 2,
    "mamba_state_dim": 3,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 3,
    "linear_num_value_heads": 4,
    "linear_value_head_dim": 2,
}

SIZES = {"two": [4, 4], "mamba": [8, 8, 6, 6, 4], "delta": [6, 6, 8, 8, 4, 4]}


def rows(name, count):
    """Rows that say what they are: one number a row, in every column."""
    base = {"q": 1000, "k": 2000, "v": 3000, "gate": 4000, "up": 5000, "z": 6000}[name]
    return (base + torch.arange(count, dtype=torch.float32))[:, None].expand(count, HIDDEN).contiguous()


def groups_of(name, per_group):
    return rows(name, per_group * GROUPS * DIM).reshape(GROUPS, per_group * DIM, HIDDEN)


def megatron_qkv(*names):
    """For each query group the rows of its queries, then those of its key, then those of its value."""
    share = {"q": HEADS // GROUPS, "gate": HEADS // GROUPS, "k": 1, "v": 1}
    return torch.cat([groups_of(name, share[name]) for name in names], dim=1).flatten(0, 1)


def fused_qkv(order, blocks):
    share = {"q": HEADS, "k": GROUPS, "v": GROUPS}
    parts = [rows(name, share[name] * DIM).reshape(blocks, -1, HIDDEN) for name in order]
    return torch.cat(parts, dim=1).flatten(0, 1)


def halves(order, interleaved):
    first, second = (rows(name, FFN) for name in order)
    return torch.stack([first, second], dim=1).flatten(0, 1) if interleaved else torch.cat([first, second])


def sharded(sizes):
    """(parts one after the other, the same with the shares of each of two ranks together)."""
    parts = [1000.0 * index + torch.arange(size) for index, size in enumerate(sizes)]
    parts = [part[:, None].expand(-1, HIDDEN).contiguous() for part in parts]
    ranks = [torch.cat([part.chunk(2)[rank] for part in parts]) for rank in range(2)]
    return parts, torch.cat(ranks)


def stacked(tensors):
    return tensors.tensors if hasattr(tensors, "tensors") else [tensors]


def cases(module):
    """(name, operation, its Hugging Face tensors, what megatron-core has)."""
    for given in json.loads(sys.argv[2]):
        name, kind, order, turned = given["name"], given["kind"], given["order"], given["transposed"]
        op = getattr(module, name)
        plain = (lambda one: one.t().contiguous()) if turned else (lambda one: one)
        if kind == "fused_qkv":
            blocks = GROUPS if given["blocks"] == "groups" else int(given["blocks"])
            yield name, op, [plain(fused_qkv(order, blocks))], [megatron_qkv("q", "k", "v")]
            yield name + " bias", op, [fused_qkv(order, blocks)[:, 0]], [megatron_qkv("q", "k", "v")[:, 0]]
        elif kind == "fused_gate_up":
            yield name, op, [plain(halves(order, given["interleaved"]))], [rows("gate", FFN), rows("up", FFN)]
        elif kind == "q_kv":
            blocks = GROUPS if given["blocks"] == "groups" else 1
            both = torch.cat([rows(one, GROUPS * DIM).reshape(blocks, -1, HIDDEN) for one in order], dim=1)
            yield name, op, [plain(rows("q", HEADS * DIM)), plain(both.flatten(0, 1))], [megatron_qkv("q", "k", "v")]
        elif kind == "transposed_qkv":
            parts = [rows("q", HEADS * DIM), rows("k", GROUPS * DIM), rows("v", GROUPS * DIM)]
            yield name, op, [part.t().contiguous() for part in parts], [megatron_qkv("q", "k", "v")]
        elif kind == "joined_gated_qkv":
            parts = [
                rows("q", HEADS * DIM),
                rows("gate", HEADS * DIM),
                rows("k", GROUPS * DIM),
                rows("v", GROUPS * DIM),
            ]
            yield name, op, parts, [megatron_qkv("q", "gate", "k", "v")]
        elif kind == "transposed_stack":
            parts = [rows("gate", FFN), rows("up", FFN)]
            yield name, op, [part.t().contiguous() for part in parts], parts
        elif kind == "transpose":
            yield name, op, [rows("up", FFN).t().contiguous()], [rows("up", FFN)]
        elif kind == "squeeze":
            yield name, op, [rows("up", FFN)[None, :, 0]], [rows("up", FFN)[:, 0]]
        elif kind == "rotated_rows":
            head = torch.tensor([0, 1, 2, 4, 3, 5])  # rows 2, 3 and 4, 5 are the halves; pairs are (2, 4) and (3, 5)
            heads = rows("q", HEADS * 6).reshape(HEADS, 6, HIDDEN)
            yield name, op, [heads.flatten(0, 1)], [heads[:, head].flatten(0, 1)]
        elif kind == "sharded_rows":
            parts, ranks = sharded(
                {"two": [4, 4], "mamba": [8, 8, 6, 6, 4], "delta": [6, 6, 8, 8, 4, 4]}[given["case"]]
            )
            held, found = list(parts), []
            for count in given["groups"]:
                found.append(torch.cat(held[:count]))
                held = held[count:]
            yield name, op, found, [ranks]


def experts(module):
    """(name, operation, its Hugging Face tensors, what each expert has)."""
    for given in json.loads(sys.argv[2]):
        name, kind, order, turned = given["name"], given["kind"], given["order"], given["transposed"]
        plain = (lambda one: one.t().contiguous()) if turned else (lambda one: one)
        each = [torch.full((), 10000.0 * index) for index in range(EXPERTS)]
        if kind == "stacked_experts":
            yield (
                name,
                getattr(module, name),
                [[plain(rows("up", FFN) + n) for n in each]],
                [[rows("up", FFN) + n] for n in each],
            )
        elif kind == "stacked_gate_up":
            one = [plain(halves(order, given["interleaved"]) + n) for n in each]
            yield name, getattr(module, name), [one], [[rows("gate", FFN) + n, rows("up", FFN) + n] for n in each]
        elif kind == "stacked_pair":
            both = [[plain(rows(part, FFN) + n) for n in each] for part in ("gate", "up")]
            yield name, getattr(module, name), both, [[rows("gate", FFN) + n, rows("up", FFN) + n] for n in each]
        elif kind == "stacked_bias":
            vectors = [rows("up", 6)[:, 0] + n for n in each]
            yield name, getattr(module, name), [vectors], [list(one.chunk(2)) for one in vectors]


def same(found, wanted):
    return len(found) == len(wanted) and all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


RANK = 2


def adapter_of(operation, theirs, ours):
    """Whether a B of LoRA, with the rows of the weight and fewer columns, comes out with the rows of each tensor."""
    from mcore_adapter.models.converter.convert_utils import StackedTensors

    narrow = [one[:, :RANK].contiguous() for one in ours]
    given = [StackedTensors(tensors=narrow, dim=0)] if len(narrow) > 1 else narrow
    return same(operation._mca_to_hf(given), [one[:, :RANK].contiguous() for one in theirs])


def main():
    module = importlib.import_module(sys.argv[1])
    moving = {given["name"] for given in json.loads(sys.argv[2]) if given["moves_rows"]}
    wrong, config = {}, SimpleNamespace(**CONFIG)
    for name, operation, theirs, ours in cases(module):
        op = operation(hf_names=[str(n) for n in range(len(theirs))], mca_names=["m"], _mca_config=config)
        found = op._hf_to_mca([one.clone() for one in theirs])
        found = stacked(found) if not isinstance(found, list) else [part for one in found for part in stacked(one)]
        if not same(found, ours):
            wrong[name] = "there: " + str([one.flatten()[:12].tolist() for one in found])[:300]
        from mcore_adapter.models.converter.convert_utils import StackedTensors

        given = [StackedTensors(tensors=list(ours), dim=0)] if len(ours) > 1 else list(ours)
        if not same(op._mca_to_hf(given), theirs):
            wrong.setdefault(name, "back")
        if name in moving and not adapter_of(op, theirs, ours):
            wrong.setdefault(name, "LoRA")
    for name, operation, theirs, ours in experts(module):
        names = [str(n) for n in range(len(theirs))]
        op = operation(hf_names=names, mca_names=["expert.{}.weight"], _mca_config=config)
        whole = {key: torch.stack(list(one)) for key, one in zip(names, theirs, strict=True)}
        found = op.hf_to_mca(whole)
        if list(found) != [f"expert.{index}.weight" for index in range(EXPERTS)]:
            wrong[name] = f"names: {list(found)}"
        elif not all(same(stacked(found[f"expert.{n}.weight"]), one) for n, one in enumerate(ours)):
            wrong[name] = "there"
        if not same(op.stack(list(found.values())), list(whole.values())):
            wrong.setdefault(name, "back")
    print(json.dumps(wrong))


main()
