"""What code that a model wrote may not contain. Not a sandbox: a fence against accidents and fooled checks.

Verification runs the code, with the user's rights, without tokens and with the hub switched off. The fence refuses
what an integration never needs: other imports than the target's and torch's, builtins that run text or open files,
and changes to objects of other modules, with which a check could be made to pass.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from scaffold_tools.errors import Refused

MAX_CHARACTERS = 200_000

_IMPORTS = (
    "__future__ abc collections contextlib copy dataclasses einops enum functools itertools logging math",
    "mcore_adapter megatron",  # the targets' own packages
    "operator re torch transformer_engine transformers types typing typing_extensions warnings",
)
IMPORTS = frozenset(" ".join(_IMPORTS).split())
"""First parts of the modules that code of a family may import; its own package is added."""

# (module, why not): parts of allowed packages that run, load or download something, or decide about the check.
MODULES: tuple[tuple[str, str], ...] = (
    (r"torch\.(hub|multiprocessing|package|serialization)\b.*", "it loads or starts something"),
    (r"torch\.utils\.(cpp_extension|model_zoo|bundled_inputs)\b.*", "it loads or starts something"),
    (r"transformers\.(dynamic_module_utils|utils\.hub)\b.*", "it downloads or runs other code"),
    (r"transformers\.models\..*\.modeling_.*", "the check would compare the Hugging Face code with itself"),
)

# (builtins, why not).
NAMES: tuple[tuple[str, str], ...] = (
    ("eval exec compile __import__", "it runs text"),
    ("open input breakpoint exit quit", "it reaches out of the computation"),
    ("globals locals vars setattr delattr __builtins__ __loader__ __spec__", "it changes what belongs to others"),
)

# (attributes, why not).
ATTRIBUTES: tuple[tuple[str, str], ...] = (
    ("__builtins__ __globals__ __code__ __closure__ __loader__ __import__", "it leads out of the module"),
    ("__subclasses__ __bases__ __mro__ __getattribute__ __reduce__ __reduce_ex__", "it leads out of the module"),
    ("f_globals f_builtins gi_frame tb_frame modules", "it leads out of the module"),
    ("from_pretrained save_pretrained push_to_hub hub load_state_dict_from_url", "it reads or writes elsewhere"),
    ("load_library load_inline", "it loads code"),
)
CALLS = frozenset({"torch.load", "torch.save", "torch.compile"})

_WHY_NAME = {name: why for names, why in NAMES for name in names.split()}
_WHY_ATTRIBUTE = {name: why for names, why in ATTRIBUTES for name in names.split()}


def check_code(text: str, *, package: str) -> None:
    """Refuse code that is outside the fence.

    Args:
        text: a Python module.
        package: the family's own package, which may be imported.

    Raises:
        Refused: not Python, too long, or something that code of a family does not need; says the line.
    """
    if len(text) > MAX_CHARACTERS:
        raise Refused(f"a module of {len(text)} characters", hint=f"at most {MAX_CHARACTERS}")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Refused(f"this is not Python: {error}", hint="send the whole module, or a change that fits") from error
    imported = _imported(tree)
    for node in ast.walk(tree):
        for what in _faults(node, package, imported):
            line = getattr(node, "lineno", 0)
            raise Refused(f"line {line}: {what}", hint="code of a family needs torch, its target and its own package")


def _imported(tree: ast.AST) -> frozenset[str]:
    """Names that imports bind; what they stand for belongs to somebody else."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return frozenset(names)


def _faults(node: ast.AST, package: str, imported: frozenset[str]) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            for alias in names:
                yield from _module_faults(alias.name, package)
        case ast.ImportFrom(module=module, names=names, level=level):
            if level == 0:
                yield from _module_faults(module or "", package)
                for alias in names:
                    yield from _module_faults(f"{module}.{alias.name}", package)
        case ast.Name(id=name) if name in _WHY_NAME:
            yield f"the name {name}: {_WHY_NAME[name]}"
        case ast.Attribute(attr=name) if name in _WHY_ATTRIBUTE or _dotted(node) in CALLS:
            yield f"the attribute {name}: {_WHY_ATTRIBUTE.get(name, 'it reads, writes or compiles')}"
        case ast.Assign(targets=targets):
            for target in targets:
                yield from _target_faults(target, imported)
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
            yield from _target_faults(target, imported)
        case ast.Delete(targets=targets):
            for target in targets:
                yield from _target_faults(target, imported)


def _module_faults(name: str, package: str) -> Iterator[str]:
    if name.split(".", maxsplit=1)[0] not in IMPORTS and name != package and not name.startswith(f"{package}."):
        yield f"the import of {name}"
    for pattern, why in MODULES:
        if re.fullmatch(pattern, name):
            yield f"the import of {name}: {why}"


def _target_faults(target: ast.expr, imported: frozenset[str]) -> Iterator[str]:
    """An assignment into an object that an import brought."""
    if isinstance(target, (ast.Tuple, ast.List)):
        for part in target.elts:
            yield from _target_faults(part, imported)
        return
    place: ast.expr = target
    while isinstance(place, (ast.Attribute, ast.Subscript, ast.Starred)):
        place = place.value
    if place is not target and isinstance(place, ast.Name) and place.id in imported:
        yield f"an assignment into {place.id}, which belongs to another module"


def _dotted(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed([*parts, node.id])) if isinstance(node, ast.Name) else ""
