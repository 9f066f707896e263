"""Roles go from the toy's tensors to the checkpoint's; what is left over or missing is said."""

from __future__ import annotations

from typing import Any

from scaffold_tools.blueprint.roles import derive_roles, pattern_of_group
from scaffold_tools.source.inventory import TensorInfo

OBSERVED: dict[str, Any] = {
    "roles": [
        {"role": "embed.tokens", "tensor": "model.embed.weight", "param": "weight", "packing": None},
        {"role": "attn.q", "tensor": "model.layers.0.q.weight", "param": "weight", "packing": None},
        {"role": "attn.q", "tensor": "model.layers.1.q.weight", "param": "weight", "packing": None},
    ],
    "names": {},
    "facts": {"tied_embeddings": True},
}


def tensor(name: str, *shape: int) -> TensorInfo:
    return TensorInfo(name, shape, "BF16")


TABLE = [tensor("model.embed.weight", 10, 4), *(tensor(f"model.layers.{i}.q.weight", 4, 4) for i in range(3))]


def test_a_role_covers_every_layer_of_the_checkpoint() -> None:
    found = derive_roles(OBSERVED, TABLE, 3)
    row = next(row for row in found.rows if row.role == "attn.q")
    assert (row.pattern, row.layers, row.shape) == ("model.layers.*.q.weight", (0, 1, 2), (4, 4))
    assert found.gaps == ()


def test_a_tensor_that_no_part_of_the_code_uses_is_a_gap() -> None:
    found = derive_roles(OBSERVED, [*TABLE, tensor("model.layers.0.extra.weight", 2, 2)], 3)
    assert [gap.subject for gap in found.gaps] == ["model.layers.*.extra.weight"]


def test_a_tensor_that_the_checkpoint_lacks_is_a_gap() -> None:
    found = derive_roles(OBSERVED, TABLE[1:], 3)
    assert [gap.subject for gap in found.gaps] == ["model.embed.weight"]


def test_names_without_the_wrapper_prefix_are_found() -> None:
    bare = [tensor(info.name.removeprefix("model."), *info.shape) for info in TABLE]
    found = derive_roles(OBSERVED, bare, 3)
    assert {row.pattern for row in found.rows} == {"embed.weight", "layers.*.q.weight"}
    assert found.gaps == () and found.notes


def test_a_stored_copy_of_a_tied_head_is_no_gap() -> None:
    found = derive_roles(OBSERVED, [*TABLE, tensor("lm_head.weight", 10, 4)], 3)
    assert found.gaps == ()
    assert next(row for row in found.rows if row.role == "buffer").pattern == "lm_head.weight"


def test_a_bias_that_the_config_does_not_announce_is_a_role() -> None:
    found = derive_roles(OBSERVED, [*TABLE, tensor("model.layers.0.q.bias", 4)], 3)
    row = next(row for row in found.rows if row.param == "bias")
    assert (row.role, row.pattern) == ("attn.q", "model.layers.*.q.bias")


def test_saved_rotary_frequencies_are_buffers() -> None:
    found = derive_roles(OBSERVED, [*TABLE, tensor("model.layers.0.rotary_emb.inv_freq", 2)], 3)
    assert found.gaps == ()


def test_without_a_table_the_names_are_the_classes_and_shapes_unknown() -> None:
    found = derive_roles(OBSERVED, None, 5)
    row = next(row for row in found.rows if row.role == "attn.q")
    assert row.layers == (0, 1, 2, 3, 4) and row.shape == ()


def test_a_mixture_of_one_expert_counts_it_all_the_same() -> None:
    names = ["model.layers.0.mlp.experts.0.up.weight", "model.layers.1.mlp.experts.0.up.weight"]
    assert pattern_of_group(names, experts=True) == "model.layers.*.mlp.experts.*.up.weight"
    assert pattern_of_group(names) == "model.layers.*.mlp.experts.0.up.weight"


def test_a_number_beside_that_of_the_expert_stays() -> None:
    names = [f"h.0.experts.{expert}.net.2.weight" for expert in range(3)]
    assert pattern_of_group(names, experts=True) == "h.*.experts.*.net.2.weight"
