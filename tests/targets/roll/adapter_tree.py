"""An mcore_adapter in miniature, written by hand: as much of it as a profile reads, in both layouts."""

from __future__ import annotations

from pathlib import Path

TEMPLATE = """
from dataclasses import dataclass, field
from typing import Any, Optional


@dataclass
class ConverOp:
    hf_names: list
    mca_names: list
    _mca_config: Any = None


@dataclass
class RenameConverOp(ConverOp):
    pass


@dataclass
class StackConverOp(ConverOp):
    dim: int = 0


@dataclass
class QKVConverOp(ConverOp):
    hidden_size: Optional[int] = None


@dataclass
class QKVBiasConverOp(ConverOp):
    pass


@dataclass
class Template:
    hf_model_type: str
    hf_layer_prefix: str
    config_hf_to_mca: dict
    weight_converters: list
    constant_mca_config: dict
    hf_moe_prefix: Optional[str] = None
    hf_invalid_keys: list = field(default_factory=list)

    def convert_hf_to_mca_config_kws(self, hf_config, **kw_args):
        return kw_args

    def add_hf_weight(self, name, weight):
        return None

    def add_mca_weight(self, name, weight, **kwargs):
        return None

    def get_lora_conver_op(self, name, pattern_to_conver_ops, lora_rank):
        return None


templates = {}


def register_template(hf_model_type, config_hf_to_mca, weight_converters, hf_layer_prefix, **kwargs):
    templates[hf_model_type] = Template(hf_model_type, hf_layer_prefix, config_hf_to_mca, weight_converters, {})
"""

DIST = """
from dataclasses import dataclass, field

WORDS = "embedding.word_embeddings.weight"
HEAD = "output_layer.weight"


@dataclass
class DistParallelConfig:
    pre_process_weights: list = field(default_factory=list)
    post_process_weights: list = field(default_factory=list)
    duplicated_weights: list = field(default_factory=list)
    column_parallel_weights: list = field(default_factory=list)
    row_parallel_weights: list = field(default_factory=list)
    swiglu_weights: list = field(default_factory=list)


lora_config = DistParallelConfig(duplicated_weights=[".mlp.linear_fc1.lora_A.weight"])

default_dist_config = DistParallelConfig(
    pre_process_weights=[WORDS],
    post_process_weights=[HEAD, "decoder.final_layernorm.weight"],
    duplicated_weights=[
        ".self_attention.linear_qkv.layer_norm_weight",
        ".mlp.linear_fc1.layer_norm_weight",
        "decoder.final_layernorm.weight",
        ".mlp.router.weight",
        ".pre_mlp_layernorm.weight",
        ".self_attention.q_layernorm.weight",
        ".self_attention.k_layernorm.weight",
    ],
    column_parallel_weights=[WORDS, HEAD, ".self_attention.linear_qkv.weight", ".mlp.linear_fc1.weight"],
    row_parallel_weights=[".self_attention.linear_proj.weight", ".mlp.linear_fc2.weight", ".linear_fc2.weight"],
    swiglu_weights=[".mlp.linear_fc1.weight", ".linear_fc1.weight"],
    grouped_column_map={".linear_fc1.weight": ".mlp.experts.weight1"},
).merge_configs(lora_config)

shared_moe_dist_config = DistParallelConfig(
    duplicated_weights=[".mlp.shared_experts.gate_weight"],
    row_parallel_weights=[".mlp.shared_experts.linear_fc2.weight"],
    swiglu_weights=[".mlp.shared_experts.linear_fc1.weight"],
)

mla_dist_config = DistParallelConfig(
    pre_process_weights=[WORDS],
    post_process_weights=[HEAD, "decoder.final_layernorm.weight"],
    duplicated_weights=[".input_layernorm.weight", "decoder.final_layernorm.weight", ".pre_mlp_layernorm.weight"],
    column_parallel_weights=[WORDS, HEAD, ".self_attention.linear_q_down_proj.weight"],
    row_parallel_weights=[".self_attention.linear_proj.weight", ".mlp.linear_fc2.weight", ".linear_fc2.weight"],
    swiglu_weights=[".mlp.linear_fc1.weight", ".linear_fc1.weight"],
)

dist_configs = {}


def register_dist_config(names, config):
    dist_configs[names] = config
"""

CONFIG = """
from dataclasses import dataclass
from typing import Optional

from megatron.core.transformer import MLATransformerConfig, TransformerConfig


@dataclass
class PretrainedConfig:
    hf_model_type: Optional[str] = None
    rope_parameters: Optional[dict] = None


@dataclass
class McaModelConfig(TransformerConfig, PretrainedConfig):
    position_embedding_type: str = "rope"
    padded_vocab_size: Optional[int] = None
    squared_relu: bool = False
    swiglu: bool = False
    tie_embeddings_and_output_weights: bool = False
    max_sequence_length: int = 0
    moe_use_shared_expert_gate: bool = False
    rotary_base: int = 10000
    rotary_percent: float = 1
    rotary_scaling: bool = False
    rotary_scaling_factor: float = 8.0
    transformer_impl: str = "transformer_engine"


@dataclass
class MLAMcaModelConfig(McaModelConfig, MLATransformerConfig):
    multi_latent_attention: Optional[bool] = True
"""

CORE = """
from dataclasses import dataclass

from ..model_parallel_config import ModelParallelConfig


@dataclass
class TransformerConfig(ModelParallelConfig):
FIELDS


@dataclass
class MLATransformerConfig(TransformerConfig):
    q_lora_rank: int = 512
    kv_lora_rank: int = 512
    qk_head_dim: int = 128
    qk_pos_emb_head_dim: int = 64
    v_head_dim: int = 128
    rope_type: str = "yarn"
    original_max_position_embeddings: int = 4096
    beta_fast: float = 32
    beta_slow: float = 1
    mscale: float = 1.0
    mscale_all_dim: float = 0.0
"""

CORE_FIELDS = (
    *("num_layers", "hidden_size", "num_attention_heads", "num_query_groups", "kv_channels", "ffn_hidden_size"),
    *("hidden_dropout", "attention_dropout", "normalization", "layernorm_epsilon", "layernorm_zero_centered_gamma"),
    *("add_bias_linear", "add_qkv_bias", "qk_layernorm", "rotary_interleaved", "softmax_scale", "window_size"),
    *("window_attn_skip_freq", "no_rope_freq", "bias_activation_fusion", "multi_latent_attention"),
    *("activation_func", "gated_linear_unit"),
    *("num_moe_experts", "moe_ffn_hidden_size", "moe_router_topk", "moe_router_score_function", "moe_layer_freq"),
    *("moe_router_pre_softmax", "moe_router_topk_scaling_factor", "moe_router_num_groups", "moe_router_group_topk"),
    *("moe_router_enable_expert_bias", "moe_router_bias_update_rate", "moe_router_load_balancing_type"),
    *("moe_router_dtype", "moe_shared_expert_intermediate_size", "moe_shared_expert_gate", "moe_aux_loss_coeff"),
)

FACTORY = """
class McaGPTModel(GPTModel, PretrainedModel):
    def __init__(self, config, **kwargs):
        transformer_layer_spec = self._get_transformer_layer_spec(config)
        super().__init__(
            config=config,
            transformer_layer_spec=transformer_layer_spec,
            vocab_size=config.padded_vocab_size,
            position_embedding_type=config.position_embedding_type,
            rotary_base=config.rotary_base,
        )

    def _get_transformer_layer_spec(self, config=None):
        return None
"""

WREN = """
from ..auto.config_auto import register_config
from ..auto.modeling_auto import register_model
from ..converter.dist_converter import default_dist_config, register_dist_config
from ..converter.template import QKVConverOp, RenameConverOp, Template, register_template
from ..model_config import McaModelConfig
from ..model_factory import McaGPTModel


@dataclass
class WrenConverOp(QKVConverOp):
    extra: int = 0


class WrenTemplate(Template):
    pass


register_config("wren", McaModelConfig)
register_model("wren", McaGPTModel)
register_dist_config("wren", default_dist_config)
register_template("wren", template_class=WrenTemplate, hf_layer_prefix="model.layers.", weight_converters=[])
"""

INIT = """from . import (
    robin,
    wren,
)
from .auto import AutoConfig, AutoModel


__all__ = ["AutoConfig", "AutoModel"]
"""

GATHER = """
class ModelConverter:
    def _needs_moe_allgather(self, mca_name, ep_world_size):
        return self.mca_config.hf_model_type in ["wren_vl_moe"] and ep_world_size > 1
"""

OLD_REGISTRATIONS = """

register_template(
    "robin",
    hf_layer_prefix="model.layers.",
    config_hf_to_mca={"hidden_size": "hidden_size"},
    weight_converters=[RenameConverOp(hf_names="lm_head.weight", mca_names="output_layer.weight")],
)

register_template(
    "wren",
    hf_layer_prefix="model.layers.",
    config_hf_to_mca={"hidden_size": "hidden_size"},
    weight_converters=[RenameConverOp(hf_names="lm_head.weight", mca_names="output_layer.weight")],
)
"""

ADAPTER = "mcore_adapter/src/mcore_adapter"


def write_adapter(root: Path, *, older: bool = False) -> tuple[Path, Path]:
    """(checkout, site-packages) below `root`; `older` has its templates at the end of template.py."""
    checkout, packages = root / "ROLL", root / "site-packages"
    robin = WREN.replace("wren", "robin").replace("Wren", "Robin")
    files = {
        f"{ADAPTER}/models/converter/template.py": TEMPLATE + (OLD_REGISTRATIONS if older else ""),
        f"{ADAPTER}/models/converter/dist_converter.py": DIST,
        f"{ADAPTER}/models/converter/model_converter.py": GATHER,
        f"{ADAPTER}/models/model_config.py": CONFIG,
        f"{ADAPTER}/models/model_factory.py": FACTORY,
        f"{ADAPTER}/models/__init__.py": "from .auto import AutoConfig, AutoModel\n" if older else INIT,
        "roll/third_party/megatron/model_update.py": GATHER,
    }
    if not older:
        files |= {f"{ADAPTER}/models/wren/__init__.py": WREN, f"{ADAPTER}/models/robin/__init__.py": robin}
    for name, text in files.items():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(text.lstrip("\n"))
    core = packages / "megatron" / "core"
    (core / "transformer").mkdir(parents=True)
    (packages / "megatron_core-0.99.0.dist-info").mkdir()
    fields = "\n".join(f"    {name}: object = None" for name in CORE_FIELDS)
    (core / "transformer" / "transformer_config.py").write_text(CORE.replace("FIELDS", fields).lstrip("\n"))
    parallel = "class ModelParallelConfig:\n    tensor_model_parallel_size: int = 1\n"
    (core / "model_parallel_config.py").write_text(parallel)
    return checkout, packages
