"""Which families the report is about, and why each is there."""

from __future__ import annotations

FAMILIES: dict[str, str] = {
    "qwen3": "dense, q/k norm",
    "qwen3_moe": "mixture of experts",
    "glm4_moe": "experts from a layer on, correction bias, MTP",
    "olmoe": "custom block: q/k norm over all heads",
    "nemotron": "LayerNorm with 1 + weight, squared ReLU, no gate",
    "deepseek_v3": "latent attention, groups of experts, FP8",
    "gpt_oss": "sinks, biases, fused experts, window",
    "minimax_m2": "q/k norm over all heads, sigmoid router",
    "olmo2": "upstream has none: norms after attention and MLP",
}
"""model_type -> what it stands for; the config is the default of transformers' class."""

_FP8 = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}
_YARN = {
    **{"rope_type": "yarn", "rope_theta": 10000.0, "factor": 40, "original_max_position_embeddings": 4096},
    **{"beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0},
}

PUBLISHED: dict[str, dict[str, object]] = {
    "deepseek_v3": {"quantization_config": _FP8, "num_nextn_predict_layers": 1, "rope_parameters": _YARN},
    "minimax_m2": {"quantization_config": _FP8, "rotary_dim": 64},
}
"""What published configs have beside the defaults of the class, where upstream's tests are about it."""

BLUEPRINTS = ("qwen3", "qwen3_moe", "deepseek_v3")
"""Whose blueprints are kept for `tests/targets/test_checkout_golden.py`: dense, experts, latent attention."""

SHARED = (
    "tests/unit_tests/models/test_models_imports.py",
    "tests/unit_tests/models/test_autobridge_registration_matrix.py",
    "tests/unit_tests/models/test_no_size_specific_provider_classes.py",
    "tests/unit_tests/recipes/test_all_recipe_factories.py",
    "tests/unit_tests/recipes/test_recipe_environment_defaults.py",
    "tests/unit_tests/doc_consistency",
    "tests/unit_tests/conversion/launcher/test_slurm_examples.py",
)
"""Upstream's tests of the whole tree: imports, registrations, recipes, documents, provider names, launchers."""
