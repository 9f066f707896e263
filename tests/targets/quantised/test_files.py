"""What a quantised checkpoint adds to a plan, and what is a gap instead."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest

from classify.layouts import LLAMA, inventory, quantised
from classify.test_quantised import FORMATS, groups, same
from scaffold_tools.blueprint.facts import Stored, StoredGroup
from scaffold_tools.blueprint.stored import derive_stored
from scaffold_tools.classify.model import classify
from scaffold_tools.classify.quant_formats import FORMATS as FORMAT_ROWS
from scaffold_tools.paths import data_dir, harness_dir
from scaffold_tools.render import Renderer
from scaffold_tools.targets.megatron_bridge.plan import make_plan
from scaffold_tools.targets.megatron_bridge.profile import Profile
from scaffold_tools.targets.megatron_bridge.quantised.files import module_context, quantised_gaps
from scaffold_tools.targets.megatron_bridge.quantised.kernels import KERNELS
from scaffold_tools.targets.megatron_bridge.quantised.words import told
from scaffold_tools.verify.stored import coverage
from scaffold_tools.workspace.plan import Plan
from targets.blocks.packages import lane_profile
from targets.blueprints import qwen3

COMMON = {"year": 2026, "provenance": "", "title": "X", "stem": "x", "model_id": "o/x"}
CHECKOUT = Profile(
    *("checkout", "src", "provider", frozenset(), (), (), frozenset(), (), ()),
    quantization_helpers=frozenset({"dequantize_fp8_blockwise"}),
)


def stored_of(parts: dict[str, tuple[str, object]], config: dict[str, object] | None = None) -> Stored:
    given = inventory({**LLAMA, **({"quantization_config": config} if config else {})}, quantised(parts))
    stored = derive_stored(given, classify(given), ())
    assert stored is not None
    return stored


def form(name: str) -> Stored:
    return stored_of(FORMATS[name].parts, FORMATS[name].config)


def plan_for(stored: Stored | None, root: Path) -> Plan:
    return make_plan(dataclasses.replace(qwen3(), stored=stored), root=root, profile=lane_profile())


def text_of(plan: Plan, end: str) -> str:
    (found,) = [change.content for change in plan.changes if change.path.endswith(end)]
    return found


@pytest.mark.lane
def test_an_unquantised_model_gets_no_word_of_it(tmp_path: Path) -> None:
    plan = plan_for(None, tmp_path)
    assert plan.copy_script is None
    assert not [change.path for change in plan.changes if "quant" in change.path or "quant" in change.content.lower()]


@pytest.mark.lane
def test_a_quantised_model_gets_hook_module_script_and_words_on_export(tmp_path: Path) -> None:
    plan = plan_for(form("fp8 in blocks"), tmp_path)
    assert plan.copy_script == "examples/dequant_qwen3.py"
    assert "load_dequantized(hf_param, hf_state_dict)" in text_of(plan, "/qwen3_bridge.py")
    assert "dequant_qwen3.py" in text_of(plan, "README.md")
    assert any("export writes bfloat16" in note for note in plan.notes)
    assert not plan.gaps


@pytest.mark.lane
def test_only_packed_weights_need_names_that_are_not_on_disk(tmp_path: Path) -> None:
    packed = plan_for(form("gptq"), tmp_path)
    plain = plan_for(form("fp8 in blocks"), tmp_path)
    bridges = [
        next(c.content for c in plan.changes if c.path == "scaffold_qwen3/qwen3_bridge.py") for plan in (packed, plain)
    ]
    assert ["build_conversion_tasks" in text for text in bridges] == [True, False]


@pytest.mark.lane
def test_a_script_holds_the_arithmetic_of_its_own_format_alone(tmp_path: Path) -> None:
    script = text_of(plan_for(form("fp8 in blocks"), tmp_path), "dequant_qwen3.py")
    functions = {node.name for node in ast.walk(ast.parse(script)) if isinstance(node, ast.FunctionDef)}
    assert {name for name in functions if name.startswith("dequantize_")} == {"dequantize_fp8_blocks"}
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(script))
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "")])
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {"torch", "safetensors"} < imported
    assert not {"megatron", "transformers", "numpy", "tqdm"} & imported


UNKNOWN = {
    "hqq": {"W_q": ("U8", same), "meta": ("F32", lambda o, i: [1])},
    "fp8 without scales": {"weight": ("F8_E4M3", same)},
    "gptq in three bits": {
        "qweight": ("I32", lambda o, i: [i * 3 // 32, o]),
        "qzeros": ("I32", lambda o, i: [i // 128, o * 3 // 32]),
        "scales": ("F16", lambda o, i: [i // 128, o]),
    },
    "torchao with a factor on activations": {
        "_weight_qdata": ("I8", same),
        "_weight_scale": ("F32", lambda o, i: [o, 1]),
        "_weight_act_pre_scale": ("F32", lambda o, i: [i]),
    },
    "torchao packed for a kernel": {
        "_weight_qdata": ("I8", lambda o, i: [o, i // 2]),
        "_weight_scale": ("BF16", lambda o, i: [i // 64, o]),
        "_weight_zero_point": ("BF16", lambda o, i: [i // 64, o]),
    },
    "packed integers without their shape": {
        "weight_packed": ("I32", lambda o, i: [o, i // 8]),
        "weight_scale": ("BF16", groups(32)),
    },
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_nothing_undoes_is_a_gap_and_no_half_finished_code(kind: str) -> None:
    gaps = quantised_gaps(stored_of(UNKNOWN[kind]))
    assert gaps
    assert all(gap.write_what for gap in gaps)


@pytest.mark.parametrize("name", FORMATS)
def test_every_known_form_has_a_name_in_a_sentence_and_no_gap(name: str) -> None:
    assert quantised_gaps(form(name)) == ()
    assert "{" not in told(form(name))


def test_every_row_undoes_a_format_that_the_classification_knows() -> None:
    known = {(row.format, row.packed) for row in FORMAT_ROWS}
    assert {(name, row.values) for row in KERNELS for name in row.formats} <= known
    assert all(row.reason for row in KERNELS)


def test_the_helper_of_a_checkout_takes_the_place_of_the_same_arithmetic() -> None:
    renderer = Renderer(data_dir("templates") / "megatron_bridge")

    def module(stored: Stored, profile: Profile) -> str:
        return renderer.render("dequantize/module.py.j2", module_context(stored, profile, COMMON))

    shared = module(form("fp8 in blocks"), CHECKOUT)
    assert "import dequantize_fp8_blockwise" in shared
    assert "float16" not in shared.replace("bfloat16", "")
    without = module(form("fp8 in blocks"), dataclasses.replace(CHECKOUT, quantization_helpers=frozenset()))
    assert "dequantize_fp8_blockwise" not in without
    # It takes matrices in square blocks only.
    assert "dequantize_fp8_blockwise" not in module(form("fp8 in blocks of another size"), CHECKOUT)
    stacked = StoredGroup("fp8-block", 8, (128, 128), "weight", "", "", (("scale_inv", "_scale_inv"),), (), 1)
    assert "dequantize_fp8_blockwise" not in module(Stored((stacked,)), CHECKOUT)


@pytest.mark.lane
def test_the_installed_megatron_bridge_says_which_helpers_it_has() -> None:
    assert "dequantize_fp8_blockwise" in lane_profile().quantization_helpers


def test_coverage_is_measured_from_headers_or_said_to_be_open() -> None:
    whole = form("fp8 in blocks")
    (check,) = coverage(whole)
    assert (check.status, check.value) == ("passed", "14/14")
    (check,) = coverage(dataclasses.replace(whole, unmatched=("model.layers.0.lost.weight_scale_inv",)))
    assert check.status == "failed"
    assert "lost" in check.detail
    (check,) = coverage(dataclasses.replace(whole, certainty="declared"))
    assert check.status == "skipped"
    assert coverage(None) == ()


def test_every_format_that_is_undone_can_be_put_on_a_toy() -> None:
    packers = (harness_dir() / "toys" / "quantise.py").read_text()
    assert not [name for row in KERNELS for name in row.formats if f'"{name}":' not in packers]
