"""The fields of every configuration class of an installed transformers, read from its source without importing it.

As a script: `python tests/classify/config_classes.py <folder of the transformers package>` prints what the key table
does not recognise, most frequent first.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ConfigClass:
    family: str
    name: str
    keys: frozenset[str]
    decoder: bool
    """The class of a decoder-only language model: its model type is one that AutoModelForCausalLM builds."""


def config_classes(package: Path) -> tuple[ConfigClass, ...]:
    causal = causal_model_types(package)
    return tuple(
        read_class(path.parent.name, node, causal)
        for path in sorted(package.glob("models/*/configuration_*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Config")
    )


def causal_model_types(package: Path) -> frozenset[str]:
    text = (package / "models/auto/modeling_auto.py").read_text(encoding="utf-8")
    block = re.search(r"MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = OrderedDict\((.*?)\n\)", text, re.DOTALL)
    assert block is not None
    return frozenset(re.findall(r'\(\s*"([^"]+)",', block.group(1)))


def read_class(family: str, node: ast.ClassDef, causal: frozenset[str]) -> ConfigClass:
    keys: set[str] = set()
    model_type = ""
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            keys.add(item.target.id)
        elif isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
            if item.targets[0].id == "model_type" and isinstance(item.value, ast.Constant):
                model_type = str(item.value.value)
        elif isinstance(item, ast.FunctionDef) and item.name == "__init__":
            keys |= {argument.arg for argument in (*item.args.args, *item.args.kwonlyargs)} - {"self"}
    encoder_decoder = bool(keys & {"encoder_layers", "decoder_layers", "num_encoder_layers", "type_vocab_size"})
    return ConfigClass(family, node.name, frozenset(keys), model_type in causal and not encoder_decoder)


def unrecognised(classes: tuple[ConfigClass, ...]) -> Counter[str]:
    from scaffold_tools.classify.keys import lookup

    return Counter(key for item in classes for key in item.keys if lookup(key) is None)


if __name__ == "__main__":
    found = config_classes(Path(sys.argv[1]))
    for wanted in (tuple(item for item in found if item.decoder), found):
        missing = unrecognised(wanted)
        total = sum(len(item.keys) for item in wanted)
        print(f"{len(wanted)} classes, {total} fields, {1 - missing.total() / total:.1%} recognised")
        print(", ".join(f"{key} ({count})" for key, count in missing.most_common(400)))
