"""The rendered provider and modeling modules: the target's own linter is content, nothing is superfluous."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from scaffold_tools.blueprint.facts import Const, PerLayer
from scaffold_tools.paths import data_dir
from scaffold_tools.render.renderer import Renderer
from scaffold_tools.render.style import Style, format_many, lint_many
from scaffold_tools.targets.megatron_bridge.blocks import choose_blocks, modeling_context, provider_context
from targets.blocks.models import MODELS, Model
from targets.blueprints import key

_COMMON = {"year": 2026, "provenance": "Generated.", "title": "Model", "stem": "model"}
_STRICT = Style(select=(*Style().select, "F", "E7", "UP006", "UP007"))


def render(model: Model) -> dict[str, str]:
    plan = choose_blocks(model.blueprint)
    renderer = Renderer(data_dir("templates") / "megatron_bridge")
    words = {**_COMMON, **provider_context(plan, modeling_module=f"scaffold_x.modeling_{plan.naming.stem}")}
    files = {f"{plan.naming.stem}_provider.py": renderer.render("provider.py.j2", words)}
    files[f"modeling_{plan.naming.stem}.py"] = renderer.render("modeling.py.j2", {**_COMMON, **modeling_context(plan)})
    return format_many(files)


def variants() -> dict[str, Model]:
    """The models, and combinations that no model of the table has."""
    gemma2, gemma3, hunyuan = (MODELS[name]() for name in ("gemma2", "gemma3_text", "hunyuan"))
    windows = PerLayer("layer_types", (("full_attention", key("large")), ("sliding_attention", key("small"))))
    found = {name: make() for name, make in MODELS.items() if choose_blocks(make().blueprint).modeling_needed}
    return found | {
        "windows": gemma3.with_fact("attention.window", [64, 128] * 3, windows),
        "windows_capped": gemma2.with_fact("attention.window", [64, 128] * 3, windows),
        "windows_rotated_norm": hunyuan.with_fact("attention.window", [64, 128] * 3, windows),
        "own_norm": gemma3.with_fact("qk_norm.eps", 1e-3, key("qk_norm_eps")),
        "own_rotated_norm": hunyuan.with_fact("qk_norm.eps", 1e-3, key("qk_norm_eps")),
        "own_norm_kind": gemma3.with_fact("norm.kind", "layernorm", Const("layernorm")).with_fact(
            "norm.bias", True, Const(True)
        ),
        "no_qkv_bias": MODELS["granite"]().with_fact("bias.mlp", True, Const(True)),
        "no_qkv_bias_shared_norm": MODELS["phi"]().with_fact("bias.qkv", False, Const(False)),
        "gate_by_value": gemma3.with_fact("attention.gate.curve", "silu", Const("silu")).with_fact(
            "attention.gate.by_head", False, Const(False)
        ),
        "chunks": hunyuan.with_fact("attention.chunk", [64, None] * 3, PerLayer("layer_types", ())),
        "chunks_without_norms": MODELS["granite"]().with_fact("attention.chunk", [64, None] * 3, Const(None)),
        "chunks_capped": gemma2.with_fact("attention.chunk", [64, None] * 3, Const(None)),
        "mish": MODELS["granite"]().with_fact("mlp.activation", "mish", Const("mish")),
        "swish": MODELS["granite"]()
        .with_fact("mlp.activation", "swish", Const("swish"))
        .with_fact("mlp.activation.beta", 1.702, key("swiglu_alpha")),
        "laplace": MODELS["granite"]().with_fact("mlp.activation", "laplace", Const("laplace")),
        "gelu_10": MODELS["granite"]().with_fact("mlp.activation", "gelu_10", Const("gelu_10")),
        "everything": gemma2.with_fact("attention.clip_qkv", 8.0, key("clip_qkv"))
        .with_fact("residual.multiplier", 0.2, key("residual_multiplier"))
        .with_fact("logits.multiplier", 0.5, key("logit_scale"))
        .with_fact("bias.o", True, key("attention_bias")),
    }


@pytest.mark.parametrize("name", sorted(variants()))
def test_rendered_modules_are_clean(name: str) -> None:
    files = render(variants()[name])
    assert lint_many(files, _STRICT) == ()


@pytest.mark.parametrize("name", sorted(variants()))
def test_public_names_are_documented_and_used(name: str) -> None:
    files = render(variants()[name])
    text = "\n".join(files.values())
    for path, source in files.items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                assert ast.get_docstring(node), f"{path}: {node.name}"
                used = text.count(node.name) > 1 or node.name.endswith(("ModelProvider", "_activation"))
                assert used, f"{path}: {node.name} is never used"


def test_only_what_a_model_needs_is_there() -> None:
    gemma = "\n".join(render(MODELS["gemma"]()).values())
    assert "EmbeddingMixin" in gemma
    for foreign in ("RotaryEmbedding", "CoreAttention", "layer_spec", "OutputLayer", "TENorm", "SelfAttention"):
        assert foreign not in gemma


def test_hostile_titles_stay_text() -> None:
    plan = choose_blocks(MODELS["gemma2"]().blueprint)
    renderer = Renderer(data_dir("templates") / "megatron_bridge")
    words = {**_COMMON, "title": 'x"""\nimport os\n', **modeling_context(plan)}
    tree = ast.parse(renderer.render("modeling.py.j2", words))
    assert "os" not in {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}


def test_templates_hold_no_model_names() -> None:
    folder = Path(data_dir("templates")) / "megatron_bridge"
    text = "\n".join(path.read_text() for path in (*folder.glob("blocks/*.j2"), folder / "modeling.py.j2"))
    for name in ("Gemma", "gemma2", "Granite", "Olmo", "Llama", "Cohere", "HunYuan"):
        assert name not in text
