"""From features to code: which template fragments a modeling module is made of, and what they import.

Every table is read from top to bottom; a row holds when any of its features is present.
"""

from __future__ import annotations

from typing import NamedTuple

from scaffold_tools.targets.megatron_bridge.blocks.features import (
    BLOCK_FEATURES,
    MIXERS,
    SPEC_FEATURES,
    replaces_mlp,
)
from scaffold_tools.targets.megatron_bridge.blocks.model import Import, Naming
from scaffold_tools.targets.megatron_bridge.blocks.spec_lines import (
    ENGINE_LINEARS,
    exception_lines,
    qkv_linear,
    spec_lines,
)

_TE = "megatron.core.extensions.transformer_engine"


class Fragment(NamedTuple):
    """One piece of a modeling module: a template, and the names that its code uses."""

    template: str
    features: frozenset[str]
    imports: tuple[Import, ...] = ()
    modules: tuple[str, ...] = ()
    """Plain `import x`."""
    engine: tuple[str, ...] = ()
    """Names of megatron-core's Transformer Engine extension, imported so that their absence is no import error."""


def _any(*features: str) -> frozenset[str]:
    return frozenset(features)


_CONFIG = Import("megatron.core.transformer", "TransformerConfig")
_TENSOR = Import("torch", "Tensor")
_SPEC = Import("megatron.core.transformer", "ModuleSpec")

FRAGMENTS: tuple[Fragment, ...] = (
    Fragment("activation", _any("activation"), (_TENSOR,)),
    Fragment(
        "xielu",
        _any("xielu"),
        (_CONFIG, _TENSOR, Import("megatron.core.transformer.utils", "make_sharded_tensors_for_checkpoint")),
        ("torch", "torch.nn.functional as F"),
    ),
    Fragment("activation_uses", _any("activation_math"), (), ("math",)),
    Fragment("activation_uses", _any("activation_functional"), (), ("torch.nn.functional as F",)),
    Fragment("activation_uses", _any("activation_torch"), (), ("torch",)),
    Fragment("norm", _any("plain_norm"), (_CONFIG, _TENSOR), ("torch", "torch.nn.functional as F")),
    Fragment(
        "qk_norm_heads",
        _any("qk_norm_heads"),
        (
            _CONFIG,
            _TENSOR,
            Import("megatron.core", "parallel_state"),
            Import("megatron.core.transformer.module", "MegatronModule"),
        ),
        ("torch",),
    ),
    Fragment(
        "qk_norm_heads",
        _any("qk_norm_full_width"),
        (
            Import("megatron.core.tensor_parallel", "copy_to_tensor_model_parallel_region"),
            Import("megatron.core.tensor_parallel", "reduce_from_tensor_model_parallel_region"),
        ),
    ),
    Fragment("qk_norm_own", _any("qk_norm_own"), (_CONFIG,)),
    Fragment("embedding", _any("embedding_multiplier"), (_TENSOR,), ("torch",)),
    Fragment(
        "embed_norm",
        _any("embed_norm"),
        (_TENSOR, Import("megatron.bridge.models.gemma.modules", "extend_instance")),
        ("torch",),
    ),
    Fragment("positions", _any("positions"), (_CONFIG, _TENSOR), ("torch",)),
    Fragment(
        "head_transform",
        _any("head_transform"),
        (_CONFIG, _TENSOR, Import("megatron.core.transformer.module", "MegatronModule")),
        ("torch", "torch.nn.functional as F"),
    ),
    Fragment("head_transform", _any("head_transform_math"), (), ("math",)),
    Fragment(
        "head_bias",
        _any("head_bias"),
        (
            Import("megatron.core.tensor_parallel", "ColumnParallelLinear"),
            Import("megatron.core.tensor_parallel", "set_tensor_model_parallel_attributes"),
            Import("megatron.core.transformer.utils", "make_sharded_tensors_for_checkpoint"),
        ),
        ("torch",),
    ),
    Fragment(
        "output",
        _any("logits_multiplier", "logits_softcap", "head_bias", "head_transform"),
        (_TENSOR,),
        ("torch",),
    ),
    Fragment("final_norm", _any("final_norm_eps"), (_CONFIG,), ("torch",)),
    Fragment(
        "norm_on_sum",
        _any("norm_on_sum"),
        (
            _CONFIG,
            _TENSOR,
            Import("megatron.core.transformer", "TransformerLayer"),
            Import("megatron.core.utils", "make_viewless_tensor"),
        ),
    ),
    Fragment(
        "normed_residual",
        _any("residual_after_norm"),
        (
            _TENSOR,
            Import("megatron.core.transformer", "TransformerLayer"),
            Import("megatron.core.utils", "make_viewless_tensor"),
        ),
    ),
    Fragment(
        "normed_residual",
        _any("residual_after_norm_mixers"),
        (Import("megatron.core.transformer.attention", "Attention"),),
    ),
    Fragment(
        "rope",
        _any("rope"),
        (
            _CONFIG,
            _TENSOR,
            Import("megatron.core.models.common.embeddings.rotary_pos_embedding", "RotaryEmbedding"),
            Import("transformers", "PreTrainedConfig"),
            Import("transformers.modeling_rope_utils", "ROPE_INIT_FUNCTIONS"),
        ),
        ("torch",),
    ),
    Fragment("latent_norm", _any("latent_norm"), (_CONFIG,), (), ("TENorm", "TEColumnParallelLinear")),
    Fragment(
        "latent_rope",
        _any("latent_rope"),
        (
            _CONFIG,
            _TENSOR,
            Import("megatron.core.models.common.embeddings.rotary_pos_embedding", "RotaryEmbedding"),
            Import("transformers", "PreTrainedConfig"),
            Import("transformers.modeling_rope_utils", "ROPE_INIT_FUNCTIONS"),
        ),
        ("torch",),
    ),
    Fragment("latent_attention", _any("latent_plain_query"), (), (), ("TEColumnParallelLinear",)),
    Fragment("latent_attention", _any("latent_bias"), (), (), ("TELinear",)),
    Fragment(
        "latent_attention",
        _any("own_latent_attention"),
        (Import("megatron.core.transformer.multi_latent_attention", "MLASelfAttention"),),
    ),
    Fragment(
        "latent_attention",
        _any("own_sparse_attention"),
        (Import("megatron.core.transformer.experimental_attention_variant.absorbed_mla", "AbsorbedMLASelfAttention"),),
    ),
    Fragment("row_linear", _any("post_norm"), (_CONFIG, _TENSOR), (), ("TENorm", "TERowParallelLinear")),
    Fragment(
        "pre_norm_linear",
        _any("pre_linear_norm"),
        (
            _CONFIG,
            _TENSOR,
            Import("megatron.core", "parallel_state"),
            Import("megatron.core.tensor_parallel", "copy_to_tensor_model_parallel_region"),
            Import("megatron.core.tensor_parallel", "reduce_from_tensor_model_parallel_region"),
            Import("megatron.core.tensor_parallel", "set_tensor_model_parallel_attributes"),
            Import("megatron.core.transformer.module", "MegatronModule"),
            Import("megatron.core.transformer.utils", "make_sharded_tensors_for_checkpoint"),
        ),
        ("torch",),
        ("TERowParallelLinear",),
    ),
    Fragment("output_linear", _any("proj_bias"), (_CONFIG,), (), ("TERowParallelLinear",)),
    Fragment("qkv_linear", _any("no_qkv_bias"), (_CONFIG,)),
    Fragment(
        "key_bias",
        _any("key_bias"),
        (
            _CONFIG,
            _TENSOR,
            Import("megatron.core", "parallel_state"),
            Import("megatron.core.tensor_parallel", "copy_to_tensor_model_parallel_region"),
            Import("megatron.core.tensor_parallel", "reduce_from_tensor_model_parallel_region"),
            Import("megatron.core.tensor_parallel", "set_tensor_model_parallel_attributes"),
            Import("megatron.core.transformer.module", "MegatronModule"),
            Import("megatron.core.transformer.utils", "make_sharded_tensors_for_checkpoint"),
        ),
        ("torch", "torch.nn.functional as F"),
    ),
    Fragment(
        "residual_factors",
        _any("residual_factors"),
        (
            _CONFIG,
            _TENSOR,
            _SPEC,
            Import("megatron.core.fusions.fused_bias_dropout", "get_bias_dropout_add"),
            Import("collections.abc", "Callable"),
        ),
        ("torch",),
    ),
    Fragment("core_attention_fused", _any("fused_core_attention")),
    Fragment(
        "difference",
        _any("difference"),
        (
            _CONFIG,
            _TENSOR,
            Import("megatron.core.tensor_parallel", "copy_to_tensor_model_parallel_region"),
            Import("megatron.core.transformer.utils", "make_sharded_tensors_for_checkpoint"),
        ),
        ("math", "torch", "torch.nn.functional as F"),
        ("TEDotProductAttention",),
    ),
    Fragment(
        "core_attention_eager",
        _any("eager_attention"),
        (
            _CONFIG,
            _TENSOR,
            Import("megatron.core", "tensor_parallel"),
            Import("megatron.core.packed_seq_params", "PackedSeqParams"),
            Import("megatron.core.process_groups_config", "ProcessGroupCollection"),
            Import("megatron.core.transformer.enums", "AttnMaskType"),
            Import("megatron.core.transformer.module", "MegatronModule"),
        ),
        ("torch",),
    ),
    Fragment(
        "self_attention",
        _any("self_attention"),
        (_TENSOR, Import("megatron.core.transformer.attention", "SelfAttention")),
    ),
    Fragment(
        "bias_dropout_add",
        _any("residual_multiplier", "mlp_output_multiplier"),
        (
            _TENSOR,
            Import("megatron.core.fusions.fused_bias_dropout", "get_bias_dropout_add"),
            Import("collections.abc", "Callable"),
        ),
        ("torch",),
    ),
    Fragment(
        "layer",
        _any("parallel_residual"),
        (
            _TENSOR,
            Import("megatron.core.transformer", "TransformerLayer"),
            Import("megatron.core.utils", "make_viewless_tensor"),
        ),
    ),
    Fragment(
        "moe_router",
        _any("own_router"),
        (_TENSOR, _CONFIG, Import("megatron.core.transformer.moe.router", "TopKRouter")),
        ("torch",),
    ),
    Fragment(
        "sparse_mixer",
        _any("sparse_mixer"),
        (_TENSOR, _CONFIG, Import("megatron.core.transformer.moe.router", "TopKRouter")),
        ("torch",),
    ),
    Fragment(
        "capped_router",
        _any("capped_router"),
        (_TENSOR, Import("megatron.core.transformer.moe.router", "TopKRouter")),
        ("torch",),
    ),
    Fragment(
        "moe_layer",
        _any("expert_post_norm", "expert_output_factor"),
        (_TENSOR, Import("megatron.core.transformer.moe.moe_layer", "MoELayer"), _SPEC),
    ),
    Fragment("moe_layer", _any("expert_post_norm"), (_CONFIG,), (), ("TENorm",)),
    Fragment(
        "moe_submodules",
        _any("expert_spec"),
        (Import("megatron.core.transformer.moe.moe_layer", "MoESubmodules"),),
    ),
    Fragment(
        "mamba",
        _any("mamba", "mamba_beside"),
        (
            _CONFIG,
            _TENSOR,
            _SPEC,
            Import("megatron.core.inference.contexts", "BaseInferenceContext"),
            Import("megatron.core.packed_seq_params", "PackedSeqParams"),
            Import("megatron.core.process_groups_config", "ProcessGroupCollection"),
            Import("megatron.core.ssm.mamba_mixer", "MambaMixer"),
            Import("megatron.core.ssm.mamba_mixer", "MambaMixerSubmodules"),
        ),
        (),
        ("TERowParallelLinear",),
    ),
    Fragment("mamba", _any("mamba"), (), (), ("TELayerNormColumnParallelLinear",)),
    Fragment("mamba", _any("mamba_beside"), (), (), ("TEColumnParallelLinear",)),
    Fragment("mamba", _any("mamba_multipliers"), (), ("torch",)),
    Fragment(
        "mixer",
        _any("own_mixer"),
        (
            _CONFIG,
            _TENSOR,
            _SPEC,
            Import("collections.abc", "Callable"),
            Import("dataclasses", "dataclass"),
            Import("megatron.core.process_groups_config", "ProcessGroupCollection"),
            Import("megatron.core.ssm.utils", "_split_tensor_factory"),
            Import("megatron.core.tensor_parallel", "get_cuda_rng_tracker"),
            Import("megatron.core.tensor_parallel.layers", "set_tensor_model_parallel_attributes"),
            Import("megatron.core.transformer.module", "MegatronModule"),
            Import("megatron.core.transformer.spec_utils", "build_module"),
            Import("megatron.core.transformer.utils", "ensure_metadata_has_dp_cp_group"),
            Import("megatron.core.transformer.utils", "make_sharded_tensors_for_checkpoint"),
            Import("megatron.core.transformer.utils", "sharded_state_dict_default"),
            Import("megatron.core.utils", "divide"),
        ),
        ("torch", "torch.nn.functional as F"),
        ("TERowParallelLinear",),
    ),
    Fragment("mixer", _any("selective", "short_conv", "lru"), (), (), ("TELayerNormColumnParallelLinear",)),
    Fragment("causal_convolution", _any("selective", "short_conv", "lru")),
    Fragment(
        "selective",
        _any("selective"),
        (
            Import("megatron.core.tensor_parallel", "copy_to_tensor_model_parallel_region"),
            Import("megatron.core.tensor_parallel", "reduce_from_tensor_model_parallel_region"),
        ),
        ("math",),
    ),
    Fragment("short_conv", _any("short_conv")),
    Fragment("lru", _any("lru")),
    Fragment(
        "lightning",
        _any("lightning"),
        (
            Import("megatron.core.tensor_parallel", "copy_to_tensor_model_parallel_region"),
            Import("megatron.core.tensor_parallel", "reduce_from_tensor_model_parallel_region"),
        ),
        (),
        ("TEColumnParallelLinear",),
    ),
    Fragment(
        "delta",
        _any("delta"),
        (
            _SPEC,
            _TENSOR,
            Import("megatron.core.ssm.gated_delta_net", "GatedDeltaNet"),
            Import("megatron.core.ssm.gated_delta_net", "GatedDeltaNetSubmodules"),
        ),
        (),
        ("TELayerNormColumnParallelLinear", "TENorm", "TERowParallelLinear"),
    ),
    Fragment(
        "block_spec",
        _any("mixer_pre_norms"),
        (
            _SPEC,
            Import("megatron.core.transformer.mlp", "MLP"),
            Import("megatron.core.transformer.mlp", "MLPSubmodules"),
        ),
        (),
        ("TELayerNormColumnParallelLinear", "TERowParallelLinear"),
    ),
    Fragment(
        "block_spec",
        _any(*(f"{kind}_some" for kind in MIXERS), "some_bare_layers", "lone_mlps"),
        (Import("megatron.core.transformer.transformer_layer", "get_transformer_layer_offset"),),
    ),
    Fragment(
        "block_spec",
        _any("bare_layers", "some_bare_layers", "lone_mlps"),
        (
            Import("megatron.core.transformer.identity_op", "IdentityFuncOp"),
            Import("megatron.core.transformer.identity_op", "IdentityOp"),
        ),
    ),
    Fragment(
        "block_spec",
        _any("layer_exceptions"),
        (Import("megatron.core.transformer.transformer_layer", "get_transformer_layer_offset"),),
        ("copy",),
    ),
    Fragment(
        "block_spec",
        BLOCK_FEATURES,
        (
            _CONFIG,
            Import("megatron.core.transformer.transformer_block", "TransformerBlockSubmodules"),
        ),
    ),
    Fragment("block_spec", _any("mixer"), (), ("copy",)),
    Fragment(
        "block_spec",
        _any("stock_layers"),
        (Import("megatron.core.models.gpt.gpt_layer_specs", "get_gpt_decoder_block_spec"),),
    ),
    Fragment(
        "block_spec",
        _any("key_selection"),
        (
            Import(
                "megatron.core.models.gpt.experimental_attention_variant_module_specs",
                "get_transformer_block_with_experimental_attention_variant_spec",
            ),
        ),
    ),
    Fragment("block_spec", _any("residual_multiplier", "mlp_output_multiplier"), (_SPEC,)),
    Fragment(
        "layer_spec",
        SPEC_FEATURES,
        (_SPEC, _CONFIG, Import("megatron.bridge.models.gpt_provider", "transformer_engine_layer_spec")),
    ),
)


def templates(features: frozenset[str]) -> list[str]:
    """The fragments of the modeling module in their order, without repetition."""
    used = [row.template for row in _used(features) if row.template != "activation_uses"]
    return list(dict.fromkeys(used))


def names_used(features: frozenset[str]) -> tuple[list[Import], list[str], list[str]]:
    """(from-imports, plain imports, Transformer Engine names) of the modeling module."""
    imports = [item for row in _used(features) for item in row.imports]
    modules = [item for row in _used(features) for item in row.modules]
    engine = {item for row in _used(features) for item in row.engine}
    extra_imports, extra_modules, extra_engine = _uses_by_feature(features)
    engine |= extra_engine
    if engine:
        imports.append(Import("megatron.bridge.utils.import_utils", "safe_import_from"))
    return imports + extra_imports, modules + extra_modules, sorted(engine)


def _used(features: frozenset[str]) -> list[Fragment]:
    other = "layer_spec" if features & BLOCK_FEATURES else "block_spec"
    return [row for row in FRAGMENTS if row.features & features and row.template != other]


# (all of these features, from-imports, plain imports, Transformer Engine names)
_USES: tuple[tuple[frozenset[str], tuple[Import, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    (_any("copies_config"), (), ("copy",), ()),
    (_any("qk_norm_no_bias"), (_TENSOR,), ("torch", "torch.nn.functional as F"), ()),
    (
        _any("fused_core_attention"),
        (_CONFIG,),
        (),
        ("TEDotProductAttention",),
    ),
    (
        _any("qk_norm_after_rope"),
        (_TENSOR, _CONFIG, Import("megatron.core.transformer.identity_op", "IdentityOp")),
        (),
        (),
    ),
    (
        _any("qk_norm_after_rope", "fused_core_attention"),
        (Import("megatron.core.transformer.utils", "sharded_state_dict_default"),),
        (),
        (),
    ),
    (_any("alibi"), (Import("megatron.core.utils", "get_pg_rank"),), ("math",), ()),
    (_any("rope_attention_factor"), (), ("torch",), ()),
    (_any("mamba_beside"), (Import("megatron.core.transformer.spec_utils", "build_module"),), (), ()),
    (_any("query_temperature"), (), ("torch",), ()),
    (_any("own_gate"), (), ("copy", "torch"), ("TEColumnParallelLinear",)),
    (_any("own_gate_functional"), (), ("torch.nn.functional as F",), ()),
    (
        _any("chunks", "fused_core_attention"),
        (_TENSOR, Import("megatron.core.transformer.enums", "AttnMaskType")),
        ("torch.nn.functional as F",),
        (),
    ),
    (_any("sinusoid"), (), ("math",), ()),
)


def _uses_by_feature(features: frozenset[str]) -> tuple[list[Import], list[str], set[str]]:
    imports: list[Import] = []
    modules: list[str] = []
    engine: set[str] = set()
    for needed, more_imports, more_modules, more_engine in _USES:
        if needed <= features:
            imports += more_imports
            modules += more_modules
            engine |= set(more_engine)
    if "eager_attention" in features and "layer_windows" not in features:
        imports.append(Import("megatron.core.transformer.utils", "is_layer_window_attention"))
    engine |= _engine_norms(features)
    imports += _imports_of_spec_lines(features, engine)
    if "expert_layers" in features and features & {"no_pre_mlp_norm", "shared_pre_norm"}:
        imports.append(Import("megatron.core.transformer.identity_op", "IdentityOp"))
    if features & BLOCK_FEATURES and replaces_mlp(features):
        imports.append(_SPEC)
    if "plain_norm" in features and not features & BLOCK_FEATURES:
        imports.append(Import("megatron.core.transformer.transformer_block", "TransformerBlockSubmodules"))
        imports.append(Import("megatron.core.transformer.transformer_block", "get_num_layers_to_build"))
    return imports, modules, engine


def _engine_norms(features: frozenset[str]) -> set[str]:
    """Names of Transformer Engine that norms and projections of these features are built with."""
    rows = (
        *(("qk_norm_own", "qk_norm_no_bias"), ("embed_norm", "plain_norm"), ("qk_norm_after_rope", "qk_norm_own")),
        *(("norm_on_sum", "plain_norm"), ("final_norm_eps", "plain_norm"), ("head_transform", "plain_norm")),
    )
    engine = {"TENorm" for needed, instead in rows if needed in features and instead not in features}
    if "no_qkv_bias" in features:
        engine.add(qkv_linear(features - {"no_qkv_bias"}, ""))
    return engine


def _imports_of_spec_lines(features: frozenset[str], engine: set[str]) -> list[Import]:
    """What the lines of the layer spec import; names of Transformer Engine go into `engine`."""
    imports: list[Import] = []
    exceptions = exception_lines(features, Naming("", ""), {})
    if any(value == "IdentityOp" for _, _, value in exceptions):
        imports.append(Import("megatron.core.transformer.identity_op", "IdentityOp"))
    for target, value in (*spec_lines(features, Naming("", "")), *(line[1:] for line in exceptions)):
        if value.startswith("TE"):
            engine.add(value)
        if target == "mlp":
            imports.append(Import("megatron.core.transformer.mlp", "MLP"))
            imports.append(Import("megatron.core.transformer.mlp", "MLPSubmodules"))
            engine |= {name for name in ENGINE_LINEARS if name in value}
    return imports
