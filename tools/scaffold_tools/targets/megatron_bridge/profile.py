"""What a Megatron-Bridge is today, read from its source: never imported, never guessed from a version number.

The same reader serves a checkout (`src/megatron/bridge`) and an installed package (`megatron/bridge`). A checkout pins
megatron-core as a submodule that is often empty; then the fields of `TransformerConfig` come from the installed
megatron-core, and the profile says so.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scaffold_tools.errors import BadInput
from scaffold_tools.targets.megatron_bridge.flops_source import read_counted
from scaffold_tools.targets.megatron_bridge.recipes.layout import RecipeLayout, read_recipe_layout

_HINT = "give a checkout of NVIDIA-NeMo/Megatron-Bridge that has AutoBridge and @register_bridge, 0.6 or newer"


@dataclass(frozen=True)
class Registration:
    """One `@register_bridge`: which bridge the target already has for an architecture."""

    architecture: str
    by: Literal["class", "string"]
    module: str
    """`megatron.bridge.models.qwen.qwen3_bridge`."""
    bridge: str
    """The class, `Qwen3Bridge`."""
    model_type: str | None = None

    @property
    def name(self) -> str:
        """`module:Class`."""
        return f"{self.module}:{self.bridge}"


@dataclass(frozen=True)
class Profile:
    """The API of one Megatron-Bridge."""

    layout: Literal["package", "checkout"]
    source: str
    """The folder that holds `megatron/bridge`."""
    construction: Literal["provider", "config-builder"]
    """config-builder: `hf_config_to_model_config_kwargs` exists and `provider_bridge` is the deprecated path."""
    provider_fields: frozenset[str]
    """Every field of `GPTModelProvider`, those of megatron-core's TransformerConfig included."""
    config_mapping: tuple[tuple[str, str], ...]
    """CONFIG_MAPPING of the base bridge: (Hugging Face key, provider attribute), first present key wins."""
    activations: tuple[tuple[str, str], ...]
    """Hugging Face activation names that the base bridge accepts, and the function each becomes (`F.gelu`)."""
    mapping_classes: frozenset[str]
    registrations: tuple[Registration, ...]
    families: tuple[str, ...]
    """Folders under `models/`."""
    notes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ("ForCausalLM", "ForConditionalGeneration")
    """Ends of the architecture names that AutoBridge loads."""
    quantization_helpers: frozenset[str] = frozenset()
    """Functions of `models/conversion/quantization_utils.py`."""
    recipes: RecipeLayout | None = None
    """How training recipes are laid out; None where there are none that a generated one would fit beside."""
    counted: frozenset[str] = frozenset()
    """Attributes by which the count of floating point operations tells what a layer costs."""

    def registration(self, architecture: str) -> Registration | None:
        """The bridge that the target has for this architecture, or None."""
        return next((row for row in self.registrations if row.architecture == architecture), None)


def read_profile(root: Path, *, lane_site_packages: Path | None = None) -> Profile:
    """Read the profile of a checkout (`root` has `src/megatron/bridge`) or of site-packages (`root` has `megatron`).

    Raises:
        BadInput: `root` is not a Megatron-Bridge, or one that is too old for what is generated.
    """
    checkout = (root / "src" / "megatron" / "bridge").is_dir()
    source = root / "src" if checkout else root
    bridge = source / "megatron" / "bridge"
    conversion = bridge / "models" / "conversion"
    if not bridge.is_dir():
        raise BadInput(f"{root} is not a Megatron-Bridge: it has no megatron/bridge", hint=_HINT)
    base = _class(conversion / "model_bridge.py", "MegatronModelBridge")
    if base is None or "CONFIG_MAPPING" not in _class_assignments(base):
        raise BadInput(f"{root} is a Megatron-Bridge too old to generate for: no CONFIG_MAPPING", hint=_HINT)
    core, notes = _core(root if checkout else None, source, lane_site_packages)
    fields = _provider_fields(bridge, core)
    if "normalization" not in fields or "share_embeddings_and_output_weights" not in fields:
        raise BadInput(f"{root}: GPTModelProvider and TransformerConfig could not be read", hint=_HINT)
    return Profile(
        layout="checkout" if checkout else "package",
        source=str(source),
        construction="config-builder" if "hf_config_to_model_config_kwargs" in _methods(base) else "provider",
        provider_fields=fields,
        config_mapping=_string_pairs(_class_assignments(base)["CONFIG_MAPPING"]),
        activations=_activations(bridge / "utils" / "activation_map.py"),
        mapping_classes=frozenset(node.name for node in _classes(conversion / "param_mapping.py")),
        registrations=tuple(_registrations(source)),
        families=tuple(
            sorted(path.name for path in (bridge / "models").iterdir() if (path / "__init__.py").is_file())
        ),
        notes=notes,
        suffixes=_suffixes(conversion / "auto_bridge.py"),
        quantization_helpers=_functions(conversion / "quantization_utils.py"),
        recipes=read_recipe_layout(bridge),
        counted=read_counted(bridge),
    )


def _core(checkout: Path | None, source: Path, lane: Path | None) -> tuple[Path, tuple[str, ...]]:
    """Where megatron-core's source is, and what a reader must know about that choice."""
    candidates = [source] if checkout is None else [checkout / "3rdparty" / "Megatron-LM"]
    for folder in [*candidates, *([lane] if lane else [])]:
        if (folder / "megatron" / "core" / "transformer" / "transformer_config.py").is_file():
            borrowed = folder not in candidates
            note = "3rdparty/Megatron-LM is empty: fields of TransformerConfig were read from the lane's megatron-core"
            return folder / "megatron" / "core", (note,) if borrowed else ()
    raise BadInput(
        f"megatron-core's source was not found for {checkout or source}",
        hint="git submodule update --init 3rdparty/Megatron-LM, or scaffold doctor --install cpu",
    )


def _provider_fields(bridge: Path, core: Path) -> frozenset[str]:
    places = (
        (bridge / "models" / "gpt_provider.py", "GPTModelProvider"),
        (bridge / "models" / "model_provider.py", "ModelProviderMixin"),
        (bridge / "models" / "transformer_config.py", "TransformerConfig"),
        (core / "transformer" / "transformer_config.py", "TransformerConfig"),
        (core / "model_parallel_config.py", "ModelParallelConfig"),
    )
    names: set[str] = set()
    for path, name in places:
        found = _class(path, name)
        if found is None:
            continue
        for node in found.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not _is_classvar(node):
                names.add(node.target.id)
    return frozenset(names)


def _is_classvar(node: ast.AnnAssign) -> bool:
    return "ClassVar" in ast.unparse(node.annotation)


def _suffixes(path: Path) -> tuple[str, ...]:
    """SUPPORTED_HF_ARCHITECTURES; the two that AutoBridge had before it was a list, where there is none."""
    for node in _tree(path).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        named = any(isinstance(one, ast.Name) and one.id == "SUPPORTED_HF_ARCHITECTURES" for one in targets)
        if named and isinstance(value, ast.Tuple):
            return tuple(str(item.value) for item in value.elts if isinstance(item, ast.Constant))
    return ("ForCausalLM", "ForConditionalGeneration")


def _activations(path: Path) -> tuple[tuple[str, str], ...]:
    for node in _tree(path).body:
        target = node.target if isinstance(node, ast.AnnAssign) else None
        is_map = isinstance(target, ast.Name) and target.id == "ACTIVATION_FUNC_MAP"
        if is_map and isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict):
            return tuple(
                (key.value, ast.unparse(value))
                for key, value in zip(node.value.keys, node.value.values, strict=True)
                if isinstance(key, ast.Constant) and isinstance(key.value, str)
            )
    return ()


def _registrations(source: Path) -> Iterator[Registration]:
    for path in sorted((source / "megatron" / "bridge").rglob("*.py")):
        text = path.read_bytes()
        if b"register_bridge" not in text or path.name == "model_bridge.py":
            continue
        tree = ast.parse(text)
        constants = _string_constants(tree)
        module = ".".join(path.relative_to(source).with_suffix("").parts)
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef):
                continue
            for decorator in node.decorator_list:
                row = _registration(decorator, node.name, module, constants)
                if row is not None:
                    yield row


def _registration(decorator: ast.expr, bridge: str, module: str, constants: dict[str, str]) -> Registration | None:
    if not isinstance(decorator, ast.Call) or not ast.unparse(decorator.func).endswith("register_bridge"):
        return None
    keywords = {word.arg: word.value for word in decorator.keywords}
    source = keywords.get("source")
    model_type = keywords.get("model_type")
    kind = model_type.value if isinstance(model_type, ast.Constant) and isinstance(model_type.value, str) else None
    if isinstance(source, ast.Constant) and isinstance(source.value, str):
        return Registration(source.value, "string", module, bridge, kind)
    if isinstance(source, ast.Name) and source.id in constants:
        return Registration(constants[source.id], "string", module, bridge, kind)
    if isinstance(source, ast.Name | ast.Attribute):
        name = source.id if isinstance(source, ast.Name) else source.attr
        return Registration(name, "class", module, bridge, kind)
    return None


def _string_constants(tree: ast.Module) -> dict[str, str]:
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _tree(path: Path) -> ast.Module:
    if not path.is_file():
        raise BadInput(f"{path} does not exist: not a Megatron-Bridge that can be generated for", hint=_HINT)
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise BadInput(f"{path} cannot be parsed: {error.msg} at line {error.lineno}", hint=_HINT) from error


def _functions(path: Path) -> frozenset[str]:
    """Names of a module's functions; none where there is no such module."""
    if not path.is_file():
        return frozenset()
    return frozenset(node.name for node in _tree(path).body if isinstance(node, ast.FunctionDef))


def _classes(path: Path) -> list[ast.ClassDef]:
    return [node for node in _tree(path).body if isinstance(node, ast.ClassDef)]


def _class(path: Path, name: str) -> ast.ClassDef | None:
    return next((node for node in _classes(path) if node.name == name), None)


def _methods(node: ast.ClassDef) -> set[str]:
    return {item.name for item in node.body if isinstance(item, ast.FunctionDef)}


def _class_assignments(node: ast.ClassDef) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in node.body:
        if not isinstance(item, ast.Assign | ast.AnnAssign):
            continue
        for target in item.targets if isinstance(item, ast.Assign) else [item.target]:
            if isinstance(target, ast.Name):
                found[target.id] = item.value
    return found


def _string_pairs(node: ast.expr | None) -> tuple[tuple[str, str], ...]:
    if not isinstance(node, ast.List | ast.Tuple):
        return ()
    pairs = []
    for pair in node.elts:
        words = [item.value for item in getattr(pair, "elts", ()) if isinstance(item, ast.Constant)]
        if len(words) == 2 and all(isinstance(word, str) for word in words):
            pairs.append((str(words[0]), str(words[1])))
    return tuple(pairs)
