"""Families that Megatron-Bridge has a bridge for: ours means the same as upstream's, or the difference has a reason.

Both import one toy. The same tensors under the same names say that the mappings agree; provider fields are compared
once both providers are finalized; and where upstream's logits are wrong, repairing its model shows the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scaffold_tools.verify.lane import LaneSession
from targets.blocks.models import Model
from targets.blocks.packages import write_package
from targets.blocks.pipeline import blueprint_of

pytestmark = pytest.mark.lane

RIGHT, WRONG = 1e-4, 1e-2
"""Largest difference of logits from Hugging Face's: below the one, above the other."""

ELSEWHERE: dict[str, str] = {
    "bias_activation_fusion": "which kernel computes the same",
    "bias_dropout_fusion": "which kernel computes the same",
    "persist_layer_norm": "which kernel computes the same",
    "masked_softmax_fusion": "which kernel computes the same",
    "attention_softmax_in_fp32": "the dtype of a softmax, which is the model's own in fp32",
    "cross_entropy_loss_fusion": "the loss",
    "cross_entropy_fusion_impl": "the loss",
    "cp_comm_type": "how ranks of context parallelism talk",
    "make_vocab_size_divisible_by": "padding of the vocabulary",
    "moe_aux_loss_coeff": "training of the router",
    "moe_router_bias_update_rate": "training of the router",
    "moe_router_load_balancing_type": "training of the router",
    "transformer_layer_spec": "a function; the modules that it gives are compared by their tensors and logits",
}
"""Provider fields that may differ, for they do not tell what the model computes."""


@dataclass(frozen=True)
class Family:
    """A config that both bridges take, and where they differ for a reason."""

    config: dict[str, Any]
    attributes: dict[str, str] = field(default_factory=dict)
    """Field -> why ours has another value."""
    names: tuple[tuple[str, str], ...] = ()
    """(end of upstream's name, end of ours) of tensors that are the same."""
    repair: tuple[str, ...] = ()
    """What upstream does not do, without which its logits are wrong."""


def config(model_type: str, architecture: str, **changes: Any) -> dict[str, Any]:
    return {"architectures": [architecture], "model_type": model_type, "num_hidden_layers": 2, **changes}


FAMILIES: dict[str, Family] = {
    "llama": Family(config("llama", "LlamaForCausalLM")),
    "qwen3": Family(config("qwen3", "Qwen3ForCausalLM")),
    "qwen3_moe": Family(config("qwen3_moe", "Qwen3MoeForCausalLM")),
    "gemma2": Family(
        config("gemma2", "Gemma2ForCausalLM", num_hidden_layers=3),
        {
            "softmax_scale": "upstream's core attention reads query_pre_attn_scalar itself",
            "window_attn_skip_freq": "upstream's core attention gives every other layer the window, without asking",
        },
        repair=("the model's epsilon on norms after attention and MLP",),
    ),
    "deepseek_v3": Family(
        config("deepseek_v3", "DeepseekV3ForCausalLM", num_hidden_layers=4, first_k_dense_replace=1),
        {
            "rope_type": "upstream says yarn whatever the config says",
            "moe_router_pre_softmax": "a sigmoid router has no softmax",
        },
        names=(
            ("linear_q_up_proj.layer_norm_weight", "q_layernorm.weight"),
            ("linear_kv_up_proj.layer_norm_weight", "kv_layernorm.weight"),
        ),
        repair=("the epsilon that the code writes out on norms of latents", "the rotary type of the config"),
    ),
}


PROBED: dict[str, Model] = {}
"""Models by type; a probe is what costs most here."""


@pytest.fixture(scope="module", params=FAMILIES)
def compared(request: Any, lane: LaneSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Family, Any]:
    family, folder = FAMILIES[request.param], tmp_path_factory.mktemp(request.param)
    return family, compare(lane, family, folder)


def compare(lane: LaneSession, family: Family, folder: Path, wrong: tuple[str, Any] | None = None) -> Any:
    if family.config["model_type"] not in PROBED:
        PROBED[family.config["model_type"]] = Model(family.config, blueprint_of(lane, family.config))
    found = PROBED[family.config["model_type"]]
    model = found if wrong is None else found.with_fact(*wrong)
    return lane.call(
        "agreement",
        {
            "workdir": str(folder / "work"),
            "config": family.config,
            "architecture": model.blueprint.architecture,
            "path": str(folder),
            "package": write_package(model, folder),
            "repair": family.repair,
        },
    )


def test_the_same_tensors_reach_the_same_parameters_in_the_same_form(compared: tuple[Family, Any]) -> None:
    family, found = compared
    renamed = {name: verdict for name, verdict in found["tensors"].items() if verdict != "equal"}
    twins = {
        name: f"equal to {name.rpartition('self_attention.')[0]}self_attention.{ours}"
        for name in renamed
        for theirs, ours in family.names
        if name.endswith(theirs)
    }
    taken = {verdict.removeprefix("equal to ") for verdict in twins.values()}
    assert {name: renamed[name] for name in twins} == twins
    assert {name for name in renamed if name not in twins} == taken
    assert len(found["tensors"]) > 10
    assert found["bridges"][0].startswith("megatron.bridge.models.")
    assert found["bridges"][1].startswith("scaffold_")


def test_provider_fields_have_the_same_values(compared: tuple[Family, Any]) -> None:
    family, found = compared
    assert set(found["attributes"]) - set(ELSEWHERE) == set(family.attributes), found["attributes"]


def test_logits_are_right_and_upstreams_are_once_it_does_what_it_leaves_out(compared: tuple[Family, Any]) -> None:
    family, found = compared
    theirs, ours = found["logits"]
    assert ours < RIGHT
    if family.repair:
        assert theirs > WRONG
        assert found["repaired"] < RIGHT
    else:
        assert theirs < RIGHT


def test_a_disagreement_shows(lane: LaneSession, tmp_path: Path) -> None:
    family = FAMILIES["qwen3"]
    found = compare(lane, family, tmp_path, ("rope.pairing", "interleaved"))
    assert set(found["attributes"]) == {"rotary_interleaved"}
    assert found["logits"][1] > WRONG
