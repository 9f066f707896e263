"""A transformers in miniature: what a class inherits is spread over files, as theirs is."""

from __future__ import annotations

from pathlib import Path

MODELING_WREN = """
from ...modeling_utils import PreTrainedModel, ALL_ATTENTION_FUNCTIONS
from ..lark.modeling_lark import LarkPreTrainedModel


class WrenAttention(nn.Module):
    def forward(self):
        return ALL_ATTENTION_FUNCTIONS.get_interface("eager", eager_attention_forward)


class WrenPreTrainedModel(LarkPreTrainedModel):
    config: WrenConfig
    _no_split_modules = ["WrenDecoderLayer"]


class WrenForCausalLM(WrenPreTrainedModel, GenerationMixin):
    _tp_plan = {"lm_head": "colwise"}


class PlainForCausalLM(nn.Module):
    pass
"""
MODELING_LARK = """
from ...modeling_utils import PreTrainedModel


class LarkAttention(nn.Module):
    pass


class LarkPreTrainedModel(PreTrainedModel):
    _supports_attention_backend = True


class LarkForCausalLM(LarkPreTrainedModel):
    config_class = LarkConfig
    _supports_attention_backend = False
"""
CONVERSIONS = """
_MODEL_TO_CONVERSION_PATTERN = {"wren": "lark"}


def _build_checkpoint_conversion_mapping():
    mapping = {
        "lark": [
            WeightConverter(
                source_patterns=["mlp.experts.*.gate_proj.weight", "mlp.experts.*.up_proj.weight"],
                target_patterns="mlp.experts.gate_up_proj",
                operations=[MergeModulelist(dim=0), Concatenate(dim=1)],
            ),
            WeightConverter("mlp.experts.*.down_proj.weight", "mlp.experts.down_proj", operations=[MergeModulelist()]),
        ],
    }
    mapping["owl"] = mapping["lark"].copy()
    mapping["owl"] += [WeightRenaming("mlp.expert_bias", "mlp.bias")]
    mapping["HawkForCausalLM"] = mapping["lark"].copy() + [WeightRenaming("a", "b")]
    return mapping
"""


def transformers_tree(site_packages: Path) -> Path:
    """A transformers 5.99.0 with wren, lark and their tables."""
    root = site_packages / "transformers"
    for name, text, config in (("wren", MODELING_WREN, "WrenConfig"), ("lark", MODELING_LARK, "LarkConfig")):
        (root / "models" / name).mkdir(parents=True)
        (root / "models" / name / f"modeling_{name}.py").write_text(text)
        plan = 'base_model_tp_plan = {**{f"{s}": "colwise" for s in "ab"}}' if name == "wren" else "pass"
        (root / "models" / name / f"configuration_{name}.py").write_text(f"class {config}:\n    {plan}\n")
    (root / "models" / "wren" / "modeling_wren.py").write_text(
        MODELING_WREN.replace("from ..lark", "from .configuration_wren import WrenConfig\nfrom ..lark", 1)
    )
    (root / "models" / "auto").mkdir()
    (root / "models" / "auto" / "modeling_auto.py").write_text(
        "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = OrderedDict(\n"
        '    [("wren", "WrenForCausalLM"), ("lark", ("LarkForCausalLM", "LarkOther"))]\n)\n'
        "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES = OrderedDict([])\n"
    )
    (root / "modeling_utils.py").write_text("class PreTrainedModel:\n    _supports_attention_backend = False\n")
    (root / "conversion_mapping.py").write_text(CONVERSIONS)
    (root / "__init__.py").write_text('__version__ = "5.99.0"\n')
    return site_packages
