"""At full size, without weights: every tensor once, every parameter, every shape. Each mistake was made on purpose."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from mutants import QWEN3, Mutant, write_package
from test_verify import CONFIGS

from scaffold.cli import run
from scaffold_tools.source.inventory import TensorInfo, TensorTable
from scaffold_tools.verify.evidence import Check
from scaffold_tools.verify.lane import LaneSession
from scaffold_tools.verify.run import Integration
from scaffold_tools.verify.static import Layout, verify_static

CONFIG = CONFIGS["Qwen3ForCausalLM"] | {"architectures": ["Qwen3ForCausalLM"]}
DEEPSEEK = Path(__file__).parent.parent / "data" / "configs" / "deepseek-ai--DeepSeek-V3" / "config.json"
FINAL = "decoder.final_layernorm.weight"
SECONDS = 90
"""Several times what it takes on two busy cores; looking at every pair of 45,000 tensors takes far longer."""
MEGABYTES = 2000


def table(lane: LaneSession, config: dict[str, Any]) -> TensorTable:
    rows = lane.call("tensor_table", {"config": config, "architecture": config["architectures"][0]})["tensors"]
    tensors = tuple(TensorInfo(row["name"], tuple(row["shape"]), row["dtype"]) for row in rows)
    return TensorTable(tensors, "transformers-class")


@pytest.fixture(scope="module")
def tensors(lane: LaneSession) -> TensorTable:
    return table(lane, CONFIG)


def check(
    lane: LaneSession, tensors: TensorTable, integration: Integration, layouts: tuple[Layout, ...] = ()
) -> dict[str, Check]:
    found = verify_static(
        lane, integration, config=CONFIG, architecture="Qwen3ForCausalLM", tensors=tensors, layouts=layouts
    )
    return {f"{one.name} {one.value}" if one.name == "static.layout" else one.name: one for one in found}


def mutant(lane: LaneSession, tensors: TensorTable, folder: Path, **changes: Any) -> dict[str, Check]:
    module = write_package(folder, Mutant(f"static_{abs(hash(str(changes))):x}", base=QWEN3, **changes))
    return check(lane, tensors, Integration("package", folder, module))


def failed(checks: dict[str, Check]) -> set[str]:
    return {name for name, one in checks.items() if one.status != "passed"}


@pytest.mark.lane
def test_a_right_integration_passes_and_says_which_splits_are_possible(
    lane: LaneSession, tensors: TensorTable
) -> None:
    checks = check(lane, tensors, Integration("installed"), (Layout(tp=8, pp=4), Layout(tp=3), Layout(ep=2)))
    assert failed(checks) == {"static.layout tp3 pp1 ep1", "static.layout tp1 pp1 ep2"}
    assert "16 heads" in checks["static.layout tp3 pp1 ep1"].detail
    assert "0 experts" in checks["static.layout tp1 pp1 ep2"].detail
    assert checks["static.consumed"].value == f"{len(tensors.tensors)}/{len(tensors.tensors)}"


@pytest.mark.lane
def test_a_split_that_nobody_asked_for_is_left_out_where_the_model_forbids_it(
    lane: LaneSession, tensors: TensorTable
) -> None:
    layouts = (Layout(tp=2, asked=False), Layout(tp=3, asked=False), Layout(ep=2, asked=False))
    checks = check(lane, tensors, Integration("installed"), layouts)
    assert [name for name in checks if name.startswith("static.layout")] == ["static.layout tp2 pp1 ep1"]
    assert failed(checks) == set()


@pytest.mark.lane
@pytest.mark.parametrize(
    ("changes", "caught_by", "said"),
    [
        (
            {"mappings": f"mappings[:] = [m for m in mappings if m.megatron_param != {FINAL!r}]"},
            {"static.produced", "static.consumed"},
            "no mapping: decoder.final_layernorm.weight",
        ),
        (
            {"mappings": f"replace(mappings, {FINAL!r}, hf_param='model.layers.0.input_layernorm.weight')"},
            {"static.consumed"},
            "read more than once: model.layers.0.input_layernorm.weight",
        ),
        ({"provider": "provider.ffn_hidden_size += 64"}, {"static.shapes"}, "after mapping"),
        ({"provider": "provider.num_layers -= 1"}, {"static.consumed"}, "never read: model.layers.27."),
        ({"provider": "provider.add_qkv_bias = True"}, {"static.produced"}, "no mapping: decoder.layers.0."),
    ],
)
def test_a_mistake_shows_without_weights(
    lane: LaneSession,
    tensors: TensorTable,
    tmp_path: Path,
    changes: dict[str, str],
    caught_by: set[str],
    said: str,
) -> None:
    checks = mutant(lane, tensors, tmp_path, **changes)
    assert failed(checks) == caught_by
    assert any(said in one.detail for one in checks.values())


@pytest.mark.lane
def test_a_tensor_that_only_the_real_checkpoint_has_is_never_read(lane: LaneSession, tensors: TensorTable) -> None:
    extra = TensorInfo("model.layers.3.self_attn.q_proj.bias", (2048,), "BF16")
    checks = check(lane, TensorTable((*tensors.tensors, extra), "headers"), Integration("installed"))
    assert failed(checks) == {"static.consumed"}
    assert extra.name in checks["static.consumed"].detail


@pytest.mark.lane
def test_a_model_of_671_billion_parameters_is_checked_in_seconds(lane: LaneSession) -> None:
    config = json.loads(DEEPSEEK.read_text())
    del config["quantization_config"]
    tensors = table(lane, config)
    started = time.process_time()
    checks = verify_static(
        lane,
        Integration("installed"),
        config=config,
        architecture=config["architectures"][0],
        tensors=tensors,
        layouts=(Layout(tp=8, pp=16, ep=32),),
    )
    assert {one.status for one in checks} == {"passed"}
    assert len(tensors.tensors) > 45_000
    assert sum(one.seconds or 0.0 for one in checks) + time.process_time() - started < SECONDS
    assert lane.peak_mb is not None
    assert lane.peak_mb < MEGABYTES


@pytest.mark.lane
def test_static_checks_are_part_of_the_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    monkeypatch.chdir(tmp_path)
    bridge = f"{QWEN3.module}:{QWEN3.bridge}"
    given = ["verify", "--bridge", bridge, "--hf", "config.json", "--static", "--tp", "2", "--json"]
    assert run(given) == 0
    outcome = json.loads(capsys.readouterr().out)
    kept = json.loads((Path(outcome["run_folder"]) / "evidence.json").read_text())
    for evidence in (outcome["evidence"], kept):
        assert [one["value"] for one in evidence["checks"] if one["name"] == "static.layout"] == ["tp2 pp1 ep1"]
    assert run(["verify", "--vpp", "2"]) == 2
    assert "--vpp is chunks of each stage" in capsys.readouterr().err
