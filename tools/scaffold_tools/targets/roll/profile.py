"""What a ROLL is today, read from its source: never imported, never guessed from a version number.

The same reader serves a checkout (`mcore_adapter/src/mcore_adapter`) and an installed package (`mcore_adapter`); the
one of that name on PyPI is not ROLL's. The fields that its config classes inherit come from the megatron-core in the
lane's site-packages, the one that code is run with.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scaffold_tools.errors import BadInput
from scaffold_tools.targets.roll import syntax
from scaffold_tools.targets.roll.presets import DistPreset, read_presets

ADAPTER = Path("mcore_adapter/src/mcore_adapter")
"""The package, relative to a checkout."""

Layout = Literal["package per model", "end of template.py"]
"""package per model: `models/<family>/__init__.py` and an import line. end of template.py: one call after another."""

_FACTORY = "models/model_factory.py"


@dataclass(frozen=True)
class Operation:
    """A class that converts tensors of one side to tensors of the other."""

    name: str
    module: str
    """`mcore_adapter.models.converter.template`, or the package of the model that it is local to."""
    parameters: tuple[str, ...]
    """Fields beyond `hf_names` and `mca_names`."""


@dataclass(frozen=True)
class Registration:
    """One `register_template`: a model type that ROLL has."""

    model_type: str
    module: str
    """`mcore_adapter.models.llama`."""
    template: str | None
    """The subclass of Template that it names; None for Template itself."""
    config: str | None = None
    """The class of `register_config`."""
    model: str | None = None
    """The class of `register_model`."""

    @property
    def name(self) -> str:
        """`module:model_type`."""
        return f"{self.module}:{self.model_type}"


@dataclass(frozen=True)
class RollProfile:
    """The API of one ROLL."""

    root: str
    """The checkout, or the folder that holds an installed mcore_adapter."""
    source: str
    """The folder that has to be on the path for `import mcore_adapter`."""
    layout: Layout
    config_fields: frozenset[str]
    """Fields of `McaModelConfig`, inherited ones included."""
    mla_fields: frozenset[str]
    """Fields of `MLAMcaModelConfig`, inherited ones included; empty where there is no such class."""
    operations: tuple[Operation, ...]
    presets: tuple[DistPreset, ...]
    registrations: tuple[Registration, ...]
    template_fields: tuple[str, ...]
    """Fields of Template, which `register_template` takes as keywords."""
    hooks: tuple[str, ...]
    """Methods of Template."""
    model_arguments: tuple[tuple[str, str], ...]
    """Keywords and code with which `McaGPTModel` calls megatron-core's GPTModel."""
    model_hooks: tuple[str, ...]
    """Methods of `McaGPTModel`."""
    moe_allgather: tuple[tuple[str, tuple[str, ...]], ...]
    """(file, model types) of lists of models whose experts are gathered before they are written."""
    families: tuple[str, ...]
    """Packages under `models/` that hold models."""
    core: str | None
    """Version of the megatron-core whose fields these are; None where it lay in no installed package."""
    edits: bool = True
    """Whether a plan edits this checkout; else it makes a package of its own, which registers when imported."""
    notes: tuple[str, ...] = ()
    site_packages: str | None = None
    """The lane's installed packages, where transformers and engines are looked up."""

    def fields(self, latent: bool) -> frozenset[str]:
        """Fields of the config class of a model with or without latent attention."""
        return self.mla_fields if latent else self.config_fields

    def registration(self, model_type: str) -> Registration | None:
        """What ROLL has for a model type, or None."""
        return next((row for row in self.registrations if row.model_type == model_type), None)

    def preset(self, name: str) -> DistPreset | None:
        """The distribution rules of that name, or None."""
        return next((row for row in self.presets if row.name == name), None)

    def has_operation(self, name: str) -> bool:
        """Whether the shared converter module has an operation of that name."""
        return any(row.name == name and row.module.endswith("converter.template") for row in self.operations)


def read_profile(root: Path, lane_site_packages: Path | None = None) -> RollProfile:
    """Read the profile of a checkout.

    Raises:
        BadInput: `root` is no ROLL, one that is too old for what is generated, or megatron-core was not found.
    """
    checkout = (root / ADAPTER).is_dir()
    adapter = root / ADAPTER if checkout else root / "mcore_adapter"
    models = adapter / "models"
    if not models.is_dir():
        raise BadInput(f"{root} is not a ROLL: it has no {ADAPTER}", hint=syntax.HINT)
    template = syntax.tree_of(models / "converter" / "template.py")
    known = syntax.classes(template)
    if "Template" not in known or "register_template" not in syntax.functions(template):
        raise BadInput(f"{root} is a ROLL too old to generate for: no register_template", hint=syntax.HINT)
    dist = models / "converter" / "dist_converter.py"
    presets = read_presets(syntax.tree_of(dist))
    if not any(row.name == "default_dist_config" for row in presets):
        raise BadInput(f"{dist} has no default_dist_config: too old to generate for", hint=syntax.HINT)
    factory = syntax.classes(syntax.tree_of(adapter / _FACTORY))
    if "McaGPTModel" not in factory:
        raise BadInput(f"{adapter / _FACTORY} has no McaGPTModel: too old to generate for", hint=syntax.HINT)
    registrations = tuple(_registrations(adapter, models))
    config_fields, mla_fields = _config_fields(models, _core(root, lane_site_packages))
    return RollProfile(
        root=str(root),
        source=str(adapter.parent),
        layout=_layout(registrations),
        config_fields=config_fields,
        mla_fields=mla_fields,
        operations=tuple(_operations(adapter, models)),
        presets=presets,
        registrations=registrations,
        template_fields=syntax.annotated(known["Template"]),
        hooks=tuple(syntax.methods(known["Template"])),
        model_arguments=_model_arguments(factory["McaGPTModel"]),
        model_hooks=tuple(syntax.methods(factory["McaGPTModel"])),
        moe_allgather=tuple(_allgather(root)),
        families=tuple(sorted(path.parent.name for path in models.glob("*/__init__.py") if _is_family(path))),
        core=_core_version(lane_site_packages),
        edits=checkout,
        site_packages=None if lane_site_packages is None else str(lane_site_packages),
    )


def _layout(registrations: tuple[Registration, ...]) -> Layout:
    """Where most templates are registered."""
    inside = sum(row.module.endswith(".converter.template") for row in registrations)
    return "end of template.py" if inside * 2 > len(registrations) else "package per model"


def _is_family(path: Path) -> bool:
    return path.parent.name not in ("converter", "auto")


def _core(root: Path, lane: Path | None) -> Path:
    if lane is not None and (lane / "megatron" / "core" / "transformer" / "transformer_config.py").is_file():
        return lane / "megatron" / "core"
    raise BadInput(
        f"megatron-core's source was not found for {root}: its config classes inherit from it",
        hint="scaffold doctor --install cpu",
    )


def _core_version(lane: Path | None) -> str | None:
    found = sorted(lane.glob("megatron_core-*.dist-info")) if lane is not None else []
    return found[-1].name.removeprefix("megatron_core-").removesuffix(".dist-info") if found else None


def _config_fields(models: Path, core: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Fields of both config classes, through all their bases."""
    known: dict[str, ast.ClassDef] = {}
    for path in (
        core / "model_parallel_config.py",
        core / "transformer" / "transformer_config.py",
        models / "model_config.py",
    ):
        known.update(syntax.classes(syntax.tree_of(path)))

    def collect(name: str, seen: set[str]) -> set[str]:
        node = known.get(name)
        if node is None or name in seen:
            return set()
        seen.add(name)
        return set(syntax.annotated(node)).union(*(collect(base, seen) for base in syntax.bases(node)))

    fields = collect("McaModelConfig", set())
    if "num_layers" not in fields or "padded_vocab_size" not in fields:
        raise BadInput(f"the fields of McaModelConfig could not be read from {models}", hint=syntax.HINT)
    return frozenset(fields), frozenset(collect("MLAMcaModelConfig", set()))


def _operations(adapter: Path, models: Path) -> Iterator[Operation]:
    """Subclasses of ConverOp, however far down, in the shared module and in the models' packages."""
    shared = models / "converter" / "template.py"
    own: dict[str, tuple[str, ...]] = {"ConverOp": ()}
    for path in (shared, *sorted(path for path in models.rglob("*.py") if path != shared)):
        text = path.read_bytes()
        if b"ConverOp" not in text:
            continue
        module = _module(adapter, path)
        for name, node in syntax.classes(syntax.tree_of(path)).items():
            base = next((one for one in syntax.bases(node) if one in own), None)
            if name == "ConverOp" or base is None:
                continue
            fields = (*own[base], *(one for one in syntax.annotated(node) if one not in ("hf_names", "mca_names")))
            own.setdefault(name, fields)
            yield Operation(name, module, fields)


def _registrations(adapter: Path, models: Path) -> Iterator[Registration]:
    for path in sorted(models.rglob("*.py")):
        if b"register_template" not in path.read_bytes():
            continue
        tree = syntax.tree_of(path)
        companions = _companions(path.parent)
        for node in tree.body:
            call = node.value if isinstance(node, ast.Expr) else None
            if not isinstance(call, ast.Call) or syntax.call_name(call) != "register_template":
                continue
            words = syntax.keywords(call)
            named = words.get("hf_model_type", call.args[0] if call.args else None)
            template = words.get("template_class")
            for model_type in syntax.texts(named):
                yield Registration(
                    model_type,
                    _module(adapter, path),
                    ast.unparse(template) if template is not None else None,
                    companions.get(("register_config", model_type)),
                    companions.get(("register_model", model_type)),
                )


def _companions(folder: Path) -> dict[tuple[str, str], str]:
    """(function, model type) -> class, from calls and decorators in a model's package."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted(folder.glob("*.py")):
        for node in ast.walk(syntax.tree_of(path)):
            if isinstance(node, ast.ClassDef):
                for call in node.decorator_list:
                    name = syntax.call_name(call)
                    if isinstance(call, ast.Call) and name in ("register_config", "register_model") and call.args:
                        found.update({(name, one): node.name for one in syntax.texts(call.args[0])})
            elif isinstance(node, ast.Call) and len(node.args) == 2:
                name = syntax.call_name(node)
                if name in ("register_config", "register_model"):
                    found.update({(name, one): ast.unparse(node.args[1]) for one in syntax.texts(node.args[0])})
    return found


def _model_arguments(node: ast.ClassDef) -> tuple[tuple[str, str], ...]:
    """Keywords of `super().__init__(...)`."""
    start = syntax.methods(node).get("__init__")
    for call in ast.walk(start) if start is not None else ():
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__":
            return tuple((name, ast.unparse(value)) for name, value in syntax.keywords(call).items())
    return ()


def _allgather(root: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Lists that a `hf_model_type` is looked up in, in the two files that move experts between ranks."""
    for name in (ADAPTER / "models/converter/model_converter.py", Path("roll/third_party/megatron/model_update.py")):
        if not (root / name).is_file():
            continue
        for node in ast.walk(syntax.tree_of(root / name)):
            if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.In):
                continue
            if ast.unparse(node.left).endswith("hf_model_type"):
                yield name.as_posix(), syntax.texts(node.comparators[0])


def _module(adapter: Path, path: Path) -> str:
    parts = path.relative_to(adapter.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
