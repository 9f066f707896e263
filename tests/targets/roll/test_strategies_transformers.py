"""Class attributes are looked up in source as Python would look them up, and agree with the classes themselves."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from scaffold_tools.targets.roll.strategies_conversions import conversions_of
from scaffold_tools.targets.roll.strategies_transformers import class_facts
from targets.roll.transformers_tree import transformers_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return transformers_tree(tmp_path_factory.mktemp("site-packages"))


def test_attributes_come_from_the_nearest_base_across_files(tree):
    wren = class_facts(tree, "WrenForCausalLM", "wren")
    lark = class_facts(tree, "LarkForCausalLM", "lark")
    assert wren is not None and lark is not None
    assert (wren.pretrained, wren.attention_backend) == (True, True)
    assert lark.attention_backend is False  # its own line wins over its base's
    assert wren.layer_classes == ("WrenDecoderLayer",)
    assert wren.where.startswith("models/wren/modeling_wren.py:")
    assert wren.release == "5.99.0"


def test_the_heuristic_for_attention_reads_the_file(tree):
    assert class_facts(tree, "WrenForCausalLM", "wren").can_set_attention is True
    assert class_facts(tree, "LarkForCausalLM", "lark").can_set_attention is False  # attention of its own


def test_plans_are_those_of_the_config_class(tree):
    assert class_facts(tree, "WrenForCausalLM", "wren").tp_plan is True  # built from parts, not a literal
    assert class_facts(tree, "LarkForCausalLM", "lark").tp_plan is False


def test_auto_mappings_are_read(tree):
    assert class_facts(tree, "WrenForCausalLM", "wren").auto_causal == "WrenForCausalLM"
    assert class_facts(tree, "LarkForCausalLM", "lark").auto_causal == "LarkForCausalLM"  # the first of two
    assert class_facts(tree, "WrenForCausalLM", "other").auto_causal is None


def test_a_plain_module_is_not_pretrained(tree):
    assert class_facts(tree, "PlainForCausalLM", "wren").pretrained is False


def test_a_class_that_is_not_there_is_none(tree):
    assert class_facts(tree, "NopeForCausalLM", "nope") is None
    assert class_facts(tree / "nowhere", "WrenForCausalLM", "wren") is None
    assert class_facts(None, "WrenForCausalLM", "wren") is None


def test_conversions_follow_copies_additions_and_aliases(tree):
    path = tree / "transformers" / "conversion_mapping.py"
    plain = conversions_of(path, ("WrenForCausalLM", "wren"))
    assert [row.parameters for row in plain] == [("mlp.experts.gate_up_proj",), ("mlp.experts.down_proj",)]
    assert plain[0].operations == ("MergeModulelist", "Concatenate")
    assert conversions_of(path, ("owl",))[-1].stored == ("mlp.expert_bias",)
    assert len(conversions_of(path, ("HawkForCausalLM", "lark"))) == 3  # the class goes before the type
    assert conversions_of(path, ("nope",)) == ()


_ASK = """
import json, sys
import transformers
from transformers.conversion_mapping import get_checkpoint_conversion_mapping as conversions
out = {}
for name, kind in json.loads(sys.argv[1]):
    cls = getattr(transformers, name)
    config = cls.config_class
    out[name] = [
        cls.is_backend_compatible(), cls._can_set_attn_implementation(),
        bool(getattr(config, "base_model_tp_plan", None)), bool(getattr(config, "base_model_pp_plan", None)),
        sorted(cls._no_split_modules or []), len(conversions(name) or conversions(kind) or []),
    ]
print(json.dumps(out))
"""
CLASSES = [
    ("DiffLlamaForCausalLM", "diffllama"),
    ("ExaoneMoeForCausalLM", "exaone_moe"),
    ("HrmTextForCausalLM", "hrm_text"),
    ("Qwen3_5ForCausalLM", "qwen3_5"),
]


@pytest.mark.lane
def test_what_is_read_is_what_the_classes_say():
    from scaffold_tools.verify.lane_env import ensure_lane

    python = ensure_lane(install=False).python
    place = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site_packages = Path(subprocess.run(place, capture_output=True, text=True, check=True).stdout.strip())
    asked = subprocess.run([python, "-c", _ASK, json.dumps(CLASSES)], capture_output=True, text=True, check=True)
    said = json.loads(asked.stdout.splitlines()[-1])
    for name, kind in CLASSES:
        read = class_facts(site_packages, name, kind)
        assert read is not None
        mine = [read.attention_backend, read.can_set_attention, read.tp_plan, read.pp_plan]
        assert [*mine, sorted(read.layer_classes), len(read.conversions)] == said[name], name
