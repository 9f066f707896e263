"""Templates of ROLL that are wrong on purpose, and the checks that have to say so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from targets.roll.proof_packages import Change

LOGITS = ("logits.max_abs",)
SPLIT = ({"tp": 2, "sp": True}, {"pp": 3})
"""Layouts of the toy with three layers."""


@dataclass(frozen=True)
class Mutant:
    """One deliberate mistake in a template that is right, and the checks that must catch it."""

    name: str
    change: Change
    caught_by: tuple[str, ...] = LOGITS
    model_type: str = "qwen3"
    config: dict[str, Any] = field(default_factory=dict)
    """Keys of the config that are changed."""
    exact_round_trip: bool | None = True
    """None: nothing is exported."""
    layouts: tuple[dict[str, Any], ...] = ()


def _drop(operation: str) -> str:
    return f"operations.remove(operation({operation!r}))"


QKV = ".self_attention.linear_qkv.weight"
FC1 = ".mlp.linear_fc1.weight"
MUTANTS: tuple[Mutant, ...] = (
    Mutant("eps_unmapped", Change('del keys["rms_norm_eps"]')),
    Mutant("rope_base_unmapped", Change('del keys["rope_parameters"], keys["rope_theta"]')),
    Mutant("rope_share_fixed", Change('constants["rotary_percent"] = 0.5')),
    Mutant("stale_constant_over_a_key", Change('constants["layernorm_epsilon"] = 1e-6')),
    Mutant("window_that_the_model_has_not", Change(fields='fields["window_size"] = (3, 0)')),
    Mutant("pairs_of_rope", Change('constants["rotary_interleaved"] = True')),
    Mutant("gate_and_up_swapped", Change(f"operation({FC1!r}).hf_names.reverse()")),
    Mutant(
        "keys_and_values_swapped",
        Change(f"one = operation({QKV!r})\none.hf_names = [one.hf_names[0], one.hf_names[2], one.hf_names[1]]"),
    ),
    Mutant(
        "heads_not_interleaved",
        Change(
            "class Halves(QKVConverOp):\n"
            "    def _hf_to_mca(self, weights):\n"
            "        return torch.cat(weights)\n"
            "    def _mca_to_hf(self, weights):\n"
            "        one = self.mca_config\n"
            "        rows = [one.num_attention_heads, one.num_query_groups, one.num_query_groups]\n"
            "        return list(weights[0].split([number * one.kv_channels for number in rows]))\n"
            f"one = operation({QKV!r})\n"
            "operations[operations.index(one)] = Halves(one.hf_names, one.mca_names)"
        ),
    ),
    Mutant(
        "norms_of_queries_and_keys_swapped",
        Change(
            'one, other = (operation(f".self_attention.{kind}_layernorm.weight") for kind in "qk")\n'
            "one.mca_names, other.mca_names = other.mca_names, one.mca_names"
        ),
    ),
    Mutant(
        "norms_before_attention_and_mlp_swapped",
        Change(
            'one = operation(".self_attention.linear_qkv.layer_norm_weight")\n'
            'other = operation(".mlp.linear_fc1.layer_norm_weight")\n'
            "one.mca_names, other.mca_names = other.mca_names, one.mca_names"
        ),
    ),
    Mutant(
        "biases_of_keys_and_values_swapped",
        Change('one = operation(".self_attention.linear_qkv.bias")\none.hf_names[1:] = one.hf_names[:0:-1]'),
        model_type="qwen2",
    ),
    Mutant("softmax_over_all_experts", Change('constants["moe_router_pre_softmax"] = True'), model_type="mixtral"),
    Mutant(
        "one_expert_more",
        Change("pass", 'fields["moe_router_topk"] += 1'),
        model_type="mixtral",
    ),
    Mutant("weights_of_experts_not_renormalised", Change(), model_type="qwen3_moe", config={"norm_topk_prob": False}),
    Mutant("experts_gate_swapped", Change('operation(".linear_fc1.weight").hf_names.reverse()'), model_type="mixtral"),
    Mutant(
        "experts_scaled",
        Change(fields='fields["moe_router_topk_scaling_factor"] = 1.5'),
        model_type="mixtral",
    ),
    Mutant(
        "head_size_unmapped",
        Change('del keys["head_dim"]'),
        ("import.hf_consumed",),
        exact_round_trip=None,
    ),
    Mutant(
        "tied_unmapped",
        Change('del keys["tie_word_embeddings"]'),
        ("import.megatron_filled",),
        config={"tie_word_embeddings": True},
        exact_round_trip=None,
    ),
    Mutant(
        "norms_of_heads_left_out",
        Change('constants["qk_layernorm"] = False'),
        ("import.hf_consumed",),
        exact_round_trip=None,
    ),
    Mutant(
        "layer_norm_for_rms_norm",
        Change('constants["normalization"] = "LayerNorm"'),
        ("import.megatron_filled",),
        exact_round_trip=None,
    ),
    Mutant(
        "operation_left_out",
        Change(_drop("decoder.final_layernorm.weight")),
        ("import.hf_consumed",),
        exact_round_trip=None,
    ),
    Mutant(
        "constant_that_is_no_field",
        Change('constants["layernorm_eps"] = 1e-6'),
        ("build.megatron",),
        exact_round_trip=None,
    ),
    Mutant("key_for_no_field", Change('keys["some_new_key"] = "no_such_field"'), ("lint.fields",)),
    Mutant(
        "two_for_one_tensor",
        Change('operations.append(RenameConverOp(".self_attn.q_norm.weigh", ".self_attention.q_layernorm.weigh"))'),
        ("lint.converters",),
    ),
    Mutant("no_distribution", Change(after='del dist_configs["qwen3"]'), ("registration",), exact_round_trip=None),
    Mutant(
        "rows_for_columns",
        Change(
            'name = ".self_attention.linear_proj.weight"\n'
            "rules.row_parallel_weights.remove(name)\n"
            "rules.column_parallel_weights.append(name)"
        ),
        ("lint.distribution", "sharded.import"),
        layouts=({"tp": 2, "sp": True},),
    ),
    Mutant(
        "whole_for_columns",
        Change('rules.duplicated_weights.append(".self_attention.linear_qkv.weight")'),
        ("lint.distribution", "sharded.import"),
        layouts=({"tp": 2, "sp": True},),
    ),
    Mutant(
        "last_norm_on_every_stage",
        Change('rules.post_process_weights.remove("decoder.final_layernorm.weight")'),
        ("lint.distribution", "sharded.import"),
        layouts=({"pp": 3},),
    ),
    Mutant(
        "gate_and_up_shared_out_as_one",
        Change(f"rules.swiglu_weights.remove({FC1!r})"),
        ("import.hf_consumed",),
        exact_round_trip=None,
    ),
    Mutant(
        "config_not_written_back", Change('template.constant_hf_config = {"rms_norm_eps": 1e-6}'), ("config.exported",)
    ),
    Mutant(
        "operation_that_remembers",
        Change(
            "class Remembering(RenameConverOp):\n"
            "    times = 0\n"
            "    def _hf_to_mca(self, weights):\n"
            "        Remembering.times += 1\n"
            "        return [weights[0] + (Remembering.times > 1)]\n"
            'one = operation("decoder.final_layernorm.weight")\n'
            "operations[operations.index(one)] = Remembering(one.hf_names, one.mca_names)"
        ),
        ("import.repeatable",),
    ),
    Mutant(
        "mask_taken_for_what_is_hidden",
        Change(
            after=(
                'class Masked(MODEL_MAPPING["qwen3"]):\n'
                "    def forward(self, input_ids, position_ids, attention_mask, **kwargs):\n"
                "        if attention_mask.dim() == 2:\n"
                "            input_ids = input_ids.masked_fill(attention_mask.bool(), 0)\n"
                "        return super().forward(input_ids, position_ids, attention_mask, **kwargs)\n"
                'MODEL_MAPPING["qwen3"] = Masked'
            )
        ),
        ("logits.as_called",),
    ),
    Mutant(
        "grouped_names_swapped",
        Change(
            after=(
                "dist_converter.te_moe_config = DistParallelConfig(\n"
                '    grouped_column_map={".linear_fc1.weight": ".mlp.experts.linear_fc2.weight"},\n'
                '    grouped_row_map={".linear_fc2.weight": ".mlp.experts.linear_fc1.weight"},\n'
                ")"
            )
        ),
        ("experts.grouped",),
        model_type="mixtral",
    ),
)
