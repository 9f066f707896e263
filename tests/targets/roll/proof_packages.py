"""Templates of ROLL with a change, each in a small package that takes the original's place when it is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SOURCE = '''
import copy

import torch
from mcore_adapter.models.auto.config_auto import CONFIG_MAPPING
from mcore_adapter.models.auto.modeling_auto import MODEL_MAPPING
from mcore_adapter.models.converter import dist_converter
from mcore_adapter.models.converter.dist_converter import DistParallelConfig, dist_configs
from mcore_adapter.models.converter.template import (
    ConcatConverOp,
    QKVBiasConverOp,
    QKVConverOp,
    RenameConverOp,
    StackConverOp,
    templates,
)

template = copy.deepcopy(templates["{model_type}"])
keys, constants, operations = template.config_hf_to_mca, template.constant_mca_config, template.weight_converters
rules = dist_configs["{model_type}"] = copy.deepcopy(dist_configs["{model_type}"])


def operation(name):
    """The operation that makes a Megatron name."""
    return next(one for one in operations if name in one.mca_names)


{change}


class Changed(type(template)):
    def convert_hf_to_mca_config_kws(self, hf_config, **kw_args):
        fields = super().convert_hf_to_mca_config_kws(hf_config, **kw_args)
        rope = getattr(hf_config, "rope_parameters", None) or {{}}
        {fields}
        return fields


template.__class__ = Changed
template.__post_init__()
templates["{model_type}"] = template
{after}
'''


@dataclass(frozen=True)
class Change:
    """Lines that change a template, its fields, or what is registered beside it."""

    change: str = "pass"
    """Of `keys`, `constants`, `operations` and `rules`, before the tables of the template are made again."""
    fields: str = "pass"
    """Of `fields`, what the config class is called with; `hf_config` and its `rope` are at hand."""
    after: str = ""
    """With everything registered."""


def write_package(folder: Path, name: str, model_type: str, change: Change) -> str:
    """Write the package into a folder; returns its module."""
    package = folder / name
    package.mkdir(parents=True)
    source = SOURCE.format(
        model_type=model_type,
        change=change.change,
        fields=change.fields.replace("\n", "\n        "),
        after=change.after,
    )
    (package / "__init__.py").write_text(source)
    return name
