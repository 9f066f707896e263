"""The model type of a loaded config, which ROLL looks everything up by: some types share the class of another one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

MAPPINGS = ("auto_mappings.py", "configuration_auto.py")
"""Files of transformers that name a config class for each model type."""
TABLE = "CONFIG_MAPPING_NAMES"
MODEL_TYPE = re.compile(r"""^    model_type(?:\s*:[^=\n]+)?\s*=\s*["']([^"']+)["']""", re.MULTILINE)


def loaded_type(site_packages: str | None, model_type: str) -> str:
    """What `AutoConfig` calls a config of this type: a few types share the class of another one, and get its name.

    Read from the source of transformers; without it, or where it says nothing, the type itself.
    """
    root = Path(site_packages) / "transformers" / "models" if site_packages else None
    if root is None or not root.is_dir() or _has_class_of_its_own(root, model_type):
        return model_type
    name = next((found for file in MAPPINGS for found in _mapped(root / "auto" / file, model_type)), None)
    return (_type_of_class(root, name) if name else None) or model_type


def _has_class_of_its_own(root: Path, model_type: str) -> bool:
    near = sorted((root / model_type.replace("-", "_")).glob("configuration_*.py"))
    files = (*near, *sorted(root.glob("*/configuration_*.py")))
    return any(model_type in MODEL_TYPE.findall(path.read_text(encoding="utf-8")) for path in files)


def _mapped(path: Path, model_type: str) -> Iterator[str]:
    """Classes that the table has for the type, as pairs or as entries of a dict."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in tree.body:
        if TABLE not in ast.unparse(node).partition("\n")[0]:
            continue
        for entry in ast.walk(node):
            for key, value in _pairs(entry):
                if isinstance(key, ast.Constant) and key.value == model_type and isinstance(value, ast.Constant):
                    yield str(value.value)


def _pairs(node: ast.AST) -> list[tuple[ast.expr | None, ast.expr]]:
    if isinstance(node, ast.Dict):
        return list(zip(node.keys, node.values, strict=True))
    return [(node.elts[0], node.elts[1])] if isinstance(node, ast.Tuple) and len(node.elts) == 2 else []


def _type_of_class(root: Path, name: str) -> str | None:
    """`model_type` in the body of a config class."""
    for path in sorted(root.glob("*/configuration_*.py")):
        text = path.read_text(encoding="utf-8")
        head = re.search(rf"^class {re.escape(name)}\b", text, re.MULTILINE)
        found = MODEL_TYPE.search(text, head.end()) if head else None
        if found:
            return found[1]
    return None
