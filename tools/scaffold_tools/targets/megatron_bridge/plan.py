"""From a blueprint to a plan for Megatron-Bridge: every file whole, nothing written."""

from __future__ import annotations

import datetime
import hashlib
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.paths import data_dir
from scaffold_tools.render import Renderer, Style, format_many
from scaffold_tools.targets.megatron_bridge import context as contexts
from scaffold_tools.targets.megatron_bridge import documents, stubs
from scaffold_tools.targets.megatron_bridge.blocks import (
    BlockPlan,
    choose_blocks,
    modeling_context,
    provider_context,
)
from scaffold_tools.targets.megatron_bridge.example_config import example_config
from scaffold_tools.targets.megatron_bridge.flops import flops_words, uncounted
from scaffold_tools.targets.megatron_bridge.mapping_words import local_names, mapping_words
from scaffold_tools.targets.megatron_bridge.mappings import Mappings, map_roles
from scaffold_tools.targets.megatron_bridge.naming import Names, names_of
from scaffold_tools.targets.megatron_bridge.profile import Profile, read_profile
from scaffold_tools.targets.megatron_bridge.quantised import files as quantised
from scaffold_tools.targets.megatron_bridge.replaced import check_replaced
from scaffold_tools.targets.megatron_bridge.rules import Setting, Settlement, settle
from scaffold_tools.targets.megatron_bridge.surroundings import (
    Surroundings,
    by_hand_notes,
    design_surroundings,
    surrounding_edits,
    surrounding_files,
)
from scaffold_tools.targets.megatron_bridge.switches import Code, follow
from scaffold_tools.workspace.plan import Change, Plan

__all__ = ["Options", "make_plan", "read_profile"]

_YEAR = re.compile(rb"\A(?:#![^\n]*\n)?# Copyright \(c\) (\d{4}), NVIDIA CORPORATION")
_NO_MODEL = "path/to/model"
_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Options:
    """What a plan depends on besides blueprint and profile."""

    model_id: str | None = None
    """`org/name` for the commands in documents, the blueprint's name by default; anything else: a placeholder."""
    revision: str | None = None
    """The 40-hex commit that the blueprint was made from."""
    year: int | None = None
    """For the copyright line; this year by default."""
    with_stubs: bool = False
    """Where gaps remain, plan a module with marked places for what is missing, and a test that fails until then."""


@dataclass(frozen=True)
class _File:
    path: str
    template: str
    summary: str
    context: dict[str, Any]


@dataclass(frozen=True)
class _Design:
    """All decisions for one model, before any text."""

    blueprint: Blueprint
    profile: Profile
    names: Names
    blocks: BlockPlan
    settlement: Settlement
    settings: tuple[Setting, ...]
    mappings: Mappings
    flags: Mapping[str, bool]
    """Flags of other sizes that the code is right for, too, with their values."""
    gaps: tuple[Gap, ...]
    common: dict[str, Any]
    stub: bool
    """Whether a module for the gaps is part of it."""
    surroundings: Surroundings
    """Recipes and the like, in a checkout."""


def make_plan(blueprint: Blueprint, *, root: Path, profile: Profile, options: Options | None = None) -> Plan:
    """Plan the integration of one model.

    Without a checkout (`profile.layout == "package"`) `root` is the folder of the installable package, which also is
    what an import needs on its path; else it is the root of the checkout.

    Raises:
        BadInput: names that cannot be put into code.
    """
    design = _design(blueprint, profile, options or Options())
    files = _package_files(design) if profile.layout == "package" else _checkout_files(design, root)
    if profile.layout == "checkout" and not design.names.registered:
        files += _card(design, root, options)
    changes = _render(files, root, _style(design), replaces=profile.layout == "checkout")
    by_hand: tuple[str, ...] = ()
    if profile.layout == "checkout":
        from scaffold_tools.targets.megatron_bridge.checkout import edits

        shared = edits(design.names, design.blocks, blueprint, root)
        changes = (*changes, *shared.changes, *surrounding_edits(design.surroundings, root))
        by_hand = (*design.names.why, *shared.notes)
    folder = design.names.package if profile.layout == "package" else f"megatron.bridge.models.{design.names.family}"
    own = profile.registration(blueprint.architecture)
    notes = profile.notes if own is None else (*profile.notes, f"takes the place of {own.name}")
    if own is not None and profile.layout == "checkout":
        notes = (*notes, *check_replaced(changes, root))
    notes = (*notes, *quantised.notes(blueprint.stored), *design.surroundings.notes, *by_hand)
    notes = (*notes, *uncounted(blueprint, design.blocks, profile.counted), *by_hand_notes(design.surroundings, root))
    return Plan(
        target="megatron-bridge",
        layout=profile.layout,
        root=str(root),
        package=folder,
        changes=changes,
        gaps=design.gaps,
        notes=notes,
        next_commands=(f"pip install -e {root.name}",) if profile.layout == "package" else (),
        stub=next((file.path for file in files if file.template == "gaps.py.j2"), None),
        copy_script=next((file.path for file in files if file.template == "dequantize/script.py.j2"), None),
        switched=dict(design.flags) if not design.gaps else {},
    )


def _design(blueprint: Blueprint, profile: Profile, options: Options) -> _Design:
    names = names_of(blueprint, profile)
    blocks = choose_blocks(blueprint)
    settlement = settle(blueprint, profile, blocks.covered_facts)
    settings = (*settlement.settings, *contexts.block_settings(blocks, blueprint, profile))
    if blocks.layer_spec is not None:  # the family's own spec builds layers with and without experts
        settings = tuple(row for row in settings if row.attribute != "transformer_layer_spec")
    code = follow(blueprint, profile, blocks, Code(settings, map_roles(blueprint, blocks.megatron_names)))
    settings, mappings = code.settings, code.mappings
    wanted = options.model_id or blueprint.model_name
    model_id = wanted if _MODEL_ID.fullmatch(wanted) else None
    origin = f" from {model_id}" if model_id else ""
    at = f" at revision {options.revision}" if options.revision and model_id else ""
    common = {
        "year": options.year or datetime.datetime.now(tz=datetime.UTC).year,
        "provenance": f"Generated with scaffold{origin}{at}.",
        "model_id": model_id or _NO_MODEL,
        "title": names.prefix,
        "stem": names.stem,
        "summary": _summary(blocks),
        **documents.document(blueprint),
        "quantized": quantised.document(blueprint.stored, names, profile.layout),
    }
    known = {(gap.subject, gap.reason) for gap in blueprint.gaps}
    found = (*settlement.gaps, *mappings.gaps, *blocks.gaps, *quantised.quantised_gaps(blueprint.stored))
    if profile.layout == "checkout" and not blueprint.architecture.endswith(profile.suffixes):
        found = (*found, _unlisted(blueprint.architecture))
    gaps = (*blueprint.gaps, *(gap for gap in found if (gap.subject, gap.reason) not in known))
    stub = options.with_stubs and bool(gaps)
    around = design_surroundings(
        blueprint, profile, names, blocks=blocks, mappings=mappings, model_id=common["model_id"]
    )
    return _Design(
        blueprint, profile, names, blocks, settlement, settings, mappings, code.flags, gaps, common, stub, around
    )


def _summary(blocks: BlockPlan) -> list[str]:
    """Lines that say what of the model stock Megatron Core lacks; none where it lacks nothing."""
    names = [block.name for block in blocks.blocks]
    text = f"Beyond stock Megatron Core: {', '.join(names)}."
    return textwrap.wrap(text, 110) if names else []


def _unlisted(architecture: str) -> Gap:
    return Gap(
        "registration",
        f"AutoBridge loads architectures by the end of their names, and {architecture} ends in none of them",
        write_what="the name in SUPPORTED_HF_ARCHITECTURES of models/conversion/auto_bridge.py",
        check="scaffold verify: registration",
    )


def _module_files(design: _Design, folder: str, code: contexts.Code) -> list[_File]:
    """The modules of one model: bridge, and where needed mappings, provider and modeling code."""
    names, blocks, common = design.names, design.blocks, design.common
    plain = {**common, "provenance": ""}  # the bridge alone says where it came from
    bridge = contexts.bridge_context(
        design.blueprint,
        design.profile,
        names=names,
        code=code,
        settings=design.settings,
        mappings=design.mappings,
        blocks=blocks,
        stub=design.stub,
    )
    stored = design.blueprint.stored
    hook = quantised.hook_context(stored, names, code.folder)
    bridge = {
        **bridge,
        **hook,
        "imports": [*bridge["imports"], *_missing(bridge["imports"], hook.get("hook_imports", []))],
    }
    if design.stub:
        bridge = stubs.with_stub(bridge, names, code)
    files = [_File(f"{folder}/{names.bridge_module}.py", "bridge.py.j2", "the bridge", {**common, **bridge})]
    if local_names(design.mappings):
        words = {**common, **mapping_words(design.mappings, design.blueprint)}
        files.append(_File(f"{folder}/{names.stem}_mappings.py", "mappings.py.j2", "mappings of fused tensors", words))
    if blocks.provider_class is not None:
        words = {**plain, **provider_context(blocks, modeling_module=f"{code.folder}.modeling_{names.stem}")}
        words["defaults"] = contexts.provider_defaults(design.blueprint, design.settings, blocks)
        words["flops"] = flops_words(design.blueprint, blocks, design.profile.counted)
        files.append(_File(f"{folder}/{names.stem}_provider.py", "provider.py.j2", "the provider", words))
    if blocks.modeling_needed:
        words = {**plain, **modeling_context(blocks)}
        files.append(_File(f"{folder}/modeling_{names.stem}.py", "modeling.py.j2", "custom blocks", words))
    if stored is not None and hook["dequantizes"]:
        words = quantised.module_context(stored, design.profile, plain)
        path = f"{folder}/{quantised.hook_module(names)}.py"
        files.append(_File(path, "dequantize/module.py.j2", "dequantises on import", words))
    if design.stub:
        words = {**plain, **stubs.stub_context(bridge, design.gaps, names, code)}
        files.append(_File(f"{folder}/{stubs.stub_module(names)}.py", "gaps.py.j2", "places for the missing", words))
    return files


def _missing(there: Sequence[dict[str, str]], wanted: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return [row for row in wanted if row not in there]


def _script(design: _Design, folder: str) -> list[_File]:
    """The script that writes an unquantised copy, where one is needed."""
    stored, names = design.blueprint.stored, design.names
    if stored is None or not quantised.is_covered(stored):
        return []
    path = f"{folder}/{quantised.script_name(names)}"
    words = quantised.script_context(stored, names, {**design.common, "provenance": ""})
    return [_File(path, "dequantize/script.py.j2", "writes an unquantised copy", words)]


def _test_words(design: _Design, code: contexts.Code) -> dict[str, Any]:
    names, provider = design.names, design.blocks.provider_class
    attributes = sorted({row.attribute for row in design.settings})
    plain = [row.attribute for row in design.settings if not row.imports and row.attribute != "transformer_layer_spec"]
    groups = documents.expectations(design.blueprint, design.settings)
    checked = [row for row in design.settings if not row.code.startswith("partial(")]
    modules = {(module, name) for row in checked for module, name in row.imports}
    symbols = {row.symbol for row in design.blocks.provider_settings if row.symbol is not None}
    modules |= {(f"{code.folder}.modeling_{names.stem}", symbol) for symbol in symbols}
    return {
        **design.common,
        "package": code.package,
        "package_prefix": f"{code.package}.",
        "architecture": design.blueprint.architecture,
        "model_type": design.blueprint.model_type,
        "bridge_class": names.bridge_class,
        "bridge_import": f"{code.folder}.{names.bridge_module}",
        "provider_class": provider,
        "provider_import": f"{code.folder}.{names.stem}_provider",
        "returns": provider or "GPTModelProvider",
        "test_imports": [{"module": module, "name": name} for module, name in sorted(modules)],
        "config_part": design.blueprint.config_part,
        "test_config": [{"key": key, "value": value} for key, value in example_config(design.blueprint).items()],
        "expectations": groups,
        "calls": documents.CALLS,
        "converts": any(row.role.startswith("moe.") for row in design.blueprint.roles),
        "attributes": attributes,
        "compared": sorted({*plain, "num_layers", "hidden_size", "layernorm_epsilon", "rotary_base"}),
    }


def _package_files(design: _Design) -> list[_File]:
    names, stem = design.names, design.names.stem
    folder = names.package
    code = contexts.Code(folder=names.package, package=names.package)
    words = {
        **design.common,
        "package": names.package,
        "distribution": names.package.replace("_", "-"),
        "description": f"{names.prefix} for Megatron Bridge",
        "architecture": design.blueprint.architecture,
        "bridge_class": names.bridge_class,
        "bridge_module": names.bridge_module,
        "provider_class": design.blocks.provider_class,
        "provider_module": f"{names.stem}_provider",
    }
    tests = _test_words(design, code)
    gaps = stubs.stub_test_context(tests, names, code)
    missing = [_File(f"tests/test_{stem}_gaps.py", "test_gaps.py.j2", "fails while a gap is open", gaps)]
    return [
        _File("pyproject.toml", "package/pyproject.toml.j2", "makes it installable", words),
        _File("README.md", "package/README.md.j2", "import and export commands", words),
        _File(f"{folder}/__init__.py", "package/init.py.j2", "registers the bridge when imported", words),
        *_module_files(design, folder, code),
        _File(f"tests/test_{names.stem}_bridge.py", "test_bridge.py.j2", "unit tests", tests),
        _File(f"tests/test_{names.stem}_conversion.py", "package/test_conversion.py.j2", "toy conversion", tests),
        *(missing if design.stub else ()),
        *_script(design, "examples"),
        _File(f"docs/{stem.replace('_', '-')}.md", "docs.md.j2", "documentation page", words),
    ]


def _checkout_files(design: _Design, root: Path) -> list[_File]:
    from scaffold_tools.targets.megatron_bridge.checkout import new_files

    names = design.names
    folder = f"src/megatron/bridge/models/{names.family}"
    code = contexts.Code(folder=f"megatron.bridge.models.{names.family}", package=None)
    tests = _test_words(design, code)
    rows = new_files(names, tests, root=root)
    if design.stub:
        path = f"tests/unit_tests/models/{names.family}/test_{names.stem}_gaps.py"
        words = stubs.stub_test_context(tests, names, code)
        rows.append((path, "test_gaps.py.j2", "fails while a gap is open", words))
    rows += surrounding_files(design.surroundings, tests, root=root)
    script = _script(design, f"examples/models/{names.family}/{names.stem}")
    return [*_module_files(design, folder, code), *(_File(*row) for row in rows), *script]


def _card(design: _Design, root: Path, options: Options | None) -> list[_File]:
    from scaffold_tools.targets.megatron_bridge.cards import TEMPLATE, design_card

    known = design.common["model_id"]
    card = design_card(
        known if _MODEL_ID.fullmatch(known) and known != _NO_MODEL else None,
        options.revision if options else None,
        stem=design.names.stem,
        architecture=design.blueprint.architecture,
        root=root,
    )
    return [] if card is None else [_File(card.path, TEMPLATE, "verification card", card.words)]


def _style(design: _Design) -> Style:
    """Upstream's ruff settings; a package of its own is first-party to itself."""
    if design.profile.layout == "checkout":
        return Style()
    return replace(Style(), known_first_party=(*Style().known_first_party, design.names.package))


def _render(files: Sequence[_File], root: Path, style: Style, *, replaces: bool) -> tuple[Change, ...]:
    renderer = Renderer(data_dir("templates") / "megatron_bridge")
    texts = {file.path: renderer.render(file.template, _dated(file, root)) for file in files}
    texts.update(format_many({path: text for path, text in texts.items() if path.endswith(".py")}, style))
    return tuple(_change(root, file, texts[file.path], replaces=replaces) for file in files)


def _dated(file: _File, root: Path) -> dict[str, Any]:
    """A file that is there keeps the year of its copyright line, whenever it is generated again."""
    there = root / file.path
    found = _YEAR.search(there.read_bytes()[:200]) if "year" in file.context and there.is_file() else None
    return file.context if found is None else {**file.context, "year": int(found[1])}


def _change(root: Path, file: _File, text: str, *, replaces: bool) -> Change:
    """A whole file; it may take the place of what a checkout has there, but not of what a user wrote in a package."""
    script = file.path.endswith(".sh")
    change = Change(path=file.path, kind="create", content=text, summary=file.summary, executable=script)
    before = root / file.path
    if not replaces or not before.is_file():
        return change
    return replace(change, before_sha256=hashlib.sha256(before.read_bytes()).hexdigest())
