"""What transformers says of a class, read from its source: auto mappings, base classes, plans, weight conversions.

A plan is made without starting the lane, so nothing is imported here; class attributes are looked up as Python would,
through the bases, file by file.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from scaffold_tools.targets.roll.strategies_conversions import Conversion, conversions_of

_ROOT_CLASS = "PreTrainedModel"
_DEPTH = 12
"""Longest chain of bases that is followed."""


@dataclass(frozen=True)
class ClassFacts:
    """One class of transformers."""

    release: str
    """Version of transformers."""
    where: str
    """`models/llama/modeling_llama.py:429`."""
    auto_causal: str | None
    """The class that AutoModelForCausalLM takes for the model type."""
    auto_image_text: str | None
    """The class that AutoModelForImageTextToText takes."""
    pretrained: bool
    """Whether it inherits from PreTrainedModel."""
    attention_backend: bool
    """`_supports_attention_backend`, which `is_backend_compatible` returns."""
    can_set_attention: bool
    """What `_can_set_attn_implementation` finds in the file."""
    tp_plan: bool
    """Whether its config class has a tensor parallel plan."""
    pp_plan: bool
    """Whether its config class has a pipeline plan."""
    layer_classes: tuple[str, ...]
    """`_no_split_modules`: the layers that FSDP wraps."""
    conversions: tuple[Conversion, ...]
    checkpointing: bool = True
    """`supports_gradient_checkpointing`, without which enabling it raises."""
    positions: str | None = None
    """Digest of the code of `get_rope_index` of the class's own package; None where it has no such method."""

    def says(self, check: str) -> bool | None:
        """The answer of a class method that engines call; None for one that is not known here."""
        return {
            "is_backend_compatible": self.attention_backend,
            "_can_set_attn_implementation": self.can_set_attention,
        }.get(check)


def class_facts(site_packages: Path | None, architecture: str, model_type: str) -> ClassFacts | None:
    """Look a class up in the transformers below `site_packages`; None where it has no such class."""
    root = site_packages / "transformers" if site_packages is not None else None
    if root is None or not (root / "models").is_dir():
        return None
    path = _defining_file(root, architecture, model_type)
    if path is None:
        return None
    auto = root / "models" / "auto" / "modeling_auto.py"
    own = [(path, architecture)]
    config = _config_class(path, architecture)
    return ClassFacts(
        release=_release(root),
        where=f"{path.relative_to(root).as_posix()}:{_classes(path)[architecture].lineno}",
        auto_causal=_mapped(auto, "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", model_type),
        auto_image_text=_mapped(auto, "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES", model_type),
        pretrained=any(node.name == _ROOT_CLASS for _, node in _lineage(*own[0])),
        attention_backend=_is_true(_attribute(own, "_supports_attention_backend")),
        can_set_attention=_can_set_attention(path),
        tp_plan=_has_entries(_attribute(config, "base_model_tp_plan")),
        pp_plan=_has_entries(_attribute(config, "base_model_pp_plan")),
        layer_classes=_names(_attribute(own, "_no_split_modules")),
        conversions=conversions_of(root / "conversion_mapping.py", (architecture, model_type)),
        checkpointing=_is_true(_attribute(own, "supports_gradient_checkpointing")),
        positions=positions_code(path),
    )


@lru_cache(maxsize=64)
def _tree(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def _classes(path: Path) -> dict[str, ast.ClassDef]:
    tree = _tree(path)
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)} if tree is not None else {}


def _defining_file(root: Path, architecture: str, model_type: str) -> Path | None:
    """The file with the class: in the folder of the model type, else in whichever has it."""
    wanted = f"class {architecture}(".encode()
    near = sorted((root / "models" / model_type).glob("modeling_*.py"))
    for path in (*near, *sorted((root / "models").glob("*/modeling_*.py"))):
        if wanted in path.read_bytes() and architecture in _classes(path):
            return path
    return None


def _imports(path: Path) -> Iterator[tuple[str, str, Path]]:
    """(name here, name there, file) of every relative import."""
    tree = _tree(path)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1]
            target = folder.joinpath(*(node.module or "").split(".")) if node.module else folder
            for alias in node.names:
                yield alias.asname or alias.name, alias.name, target.with_suffix(".py")


def _lineage(path: Path, name: str, depth: int = 0) -> Iterator[tuple[Path, ast.ClassDef]]:
    """A class and its bases, nearest first; bases outside of transformers are left out."""
    node = _classes(path).get(name)
    if node is None:
        found = next(((there, file) for here, there, file in _imports(path) if here == name), None)
        if found is not None and depth < _DEPTH:
            yield from _lineage(found[1], found[0], depth + 1)
        return
    yield path, node
    for base in node.bases:
        if isinstance(base, ast.Name) and depth < _DEPTH:
            yield from _lineage(path, base.id, depth + 1)


def _attribute(starts: list[tuple[Path, str]], name: str) -> ast.expr | None:
    """What the class or its nearest base assigns to a class attribute."""
    for start in starts:
        for _, node in _lineage(*start):
            for statement in node.body:
                target = statement.targets[0] if isinstance(statement, ast.Assign) else None
                target = statement.target if isinstance(statement, ast.AnnAssign) else target
                if isinstance(target, ast.Name) and target.id == name:
                    return statement.value  # type: ignore[attr-defined]
    return None


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _has_entries(node: ast.expr | None) -> bool:
    """A table with something in it, whether literal or built from parts."""
    return isinstance(node, ast.Dict) and bool(node.values)


def _names(node: ast.expr | None) -> tuple[str, ...]:
    found = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else []
    return tuple(str(one.value) for one in found if isinstance(one, ast.Constant))


def _can_set_attention(path: Path) -> bool:
    """The heuristic of `_can_set_attn_implementation`, which reads the same file."""
    text = path.read_text(encoding="utf-8")
    if not re.search(r"class \w+Attention\(nn.Module\)", text):
        return True
    return "eager_attention_forward" in text and "ALL_ATTENTION_FUNCTIONS" in text


def positions_code(path: Path) -> str | None:
    """A digest of the code that numbers positions of text and images, docstring left out: equal code, equal positions.

    Of the last class of the file that has it, which is the one that heads use.
    """
    bodies = [
        item.body
        for node in _classes(path).values()
        for item in node.body
        if isinstance(item, ast.FunctionDef) and item.name == "get_rope_index"
    ]
    if not bodies:
        return None
    code = bodies[-1][1:] if ast.get_docstring(ast.Module(bodies[-1], [])) is not None else bodies[-1]
    return hashlib.sha256("".join(ast.dump(one) for one in code).encode()).hexdigest()


def _config_class(path: Path, architecture: str) -> list[tuple[Path, str]]:
    """The class that instances are configured with: `config_class = ...`, or the annotation of `config`."""
    for where, node in _lineage(path, architecture):
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == "config":
                return [(where, ast.unparse(statement.annotation))]
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "config_class":
                return [(where, ast.unparse(statement.value))]
    return []


def _mapped(path: Path, table: str, model_type: str) -> str | None:
    """The entry of `TABLE = OrderedDict([(model type, class), ...])`, the first of several classes."""
    tree = _tree(path)
    for node in tree.body if tree is not None else ():
        if not isinstance(node, ast.Assign) or ast.unparse(node.targets[0]) != table:
            continue
        for entry in ast.walk(node):
            if isinstance(entry, ast.Tuple) and len(entry.elts) == 2:
                key, value = entry.elts
                if isinstance(key, ast.Constant) and key.value == model_type:
                    first = value.elts[0] if isinstance(value, ast.Tuple) and value.elts else value
                    return str(first.value) if isinstance(first, ast.Constant) else None
    return None


def _release(root: Path) -> str:
    found = re.search(r'^__version__ = "([^"]+)"', (root / "__init__.py").read_text(encoding="utf-8"), re.M)
    return found.group(1) if found else "of unknown version"
