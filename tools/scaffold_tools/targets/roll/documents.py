"""What a model brings along beside its package: example configs, documentation in both languages, a test, edits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from scaffold_tools.blueprint.facts import Blueprint, TensorRole
from scaffold_tools.edit.links import add_link_line
from scaffold_tools.errors import BadInput
from scaffold_tools.paths import data_dir
from scaffold_tools.render import Renderer, Style, format_many
from scaffold_tools.targets.megatron_bridge.emission import plain_key
from scaffold_tools.targets.megatron_bridge.example_config import example_config
from scaffold_tools.targets.roll.documents_examples import Command, Example, examples, sizes_of
from scaffold_tools.targets.roll.documents_fields import unknown_keys
from scaffold_tools.targets.roll.documents_support import Support, support_notes, support_of
from scaffold_tools.targets.roll.engines import TITLES
from scaffold_tools.targets.roll.naming import Names
from scaffold_tools.targets.roll.profile import RollProfile
from scaffold_tools.targets.roll.strategies import edits
from scaffold_tools.workspace.plan import Change

_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_MARK = "Generated with scaffold"
"""Stands in what we write into files that others may have written too."""
_STYLE = replace(Style(), known_first_party=("mcore_adapter", "roll"))


class Wanted(Protocol):
    """What is read of a plan's options."""

    @property
    def model_id(self) -> str | None:
        """`org/name` for documents; None: the blueprint's name."""

    @property
    def revision(self) -> str | None:
        """The commit that the blueprint was made from."""


@dataclass(frozen=True)
class Language:
    """Where documents of one language lie, and its words."""

    folder: str
    overview: str
    template: str
    site: str
    words: Mapping[str, str]
    """English as it stands in values -> this language; what is not there stays."""
    link: str
    """Text of the entry in the overview, `{}` for the model."""
    command: str
    """What stands above a command, `{}` for the strategy and the engine."""
    alone: str
    """The same where there is no engine."""


_DOCS = "docs_roll/docs"
_ZH = "docs_roll/i18n/zh-Hans/docusaurus-plugin-content-docs/current"
_PLACE = "User Guides/Configuration"

LANGUAGES = (
    Language(
        folder=f"{_DOCS}/{_PLACE}",
        overview=f"{_DOCS}/Overview.mdx",
        template="docs/page.md.j2",
        site="https://alibaba.github.io/ROLL/docs/User%20Guides/Configuration",
        words={"with the edit of this plan": "supported"},
        link="{} Training and Rollout",
        command="{} and {}",
        alone="{}",
    ),
    Language(
        folder=f"{_ZH}/{_PLACE}",
        overview=f"{_ZH}/Overview.mdx",
        template="docs/page_zh.md.j2",
        site="https://alibaba.github.io/ROLL/zh-Hans/docs/User%20Guides/Configuration",
        words={
            "supported": "支持",
            "with the edit of this plan": "支持",
            "not supported": "不支持",
            "not known": "未知",
            "own model": "原生支持",
            "through transformers": "通过 Transformers 后端支持",
        },
        link="{} 训练与推理",
        command="{} 与 {}",
        alone="{}",
    ),
)

_FAMILIES = {"megatron": "Megatron", "fsdp2": "FSDP2", "deepspeed": "DeepSpeed", "hf": "hf_infer"}


def companions(blueprint: Blueprint, profile: RollProfile, names: Names, options: Wanted) -> tuple[Change, ...]:
    """All of it. In a package of its own that is the examples alone; a checkout gets documents, test and edits too.

    Files that the checkout has and that do not say that they were generated are left alone.

    Raises:
        BadInput: a file of the checkout is built in a way that an edit could only guess at.
    """
    support = support_of(blueprint, profile)
    root = Path(profile.root)
    wanted = options.model_id or blueprint.model_name
    model_id = wanted if _MODEL_ID.fullmatch(wanted) else None
    origin = f" from {model_id}" if model_id else ""
    at = f" at revision {options.revision}" if options.revision and model_id else ""
    words = {"provenance": f"{_MARK}{origin}{at}."}
    files, commands = examples(
        blueprint, support, stem=names.stem, model_id=model_id or "path/to/model", checkout=root
    )
    if profile.edits:
        files += [*_pages(blueprint, names, support, commands, root), _test(blueprint, names)]
    changes = [*_rendered(files, words, root if profile.edits else None)]
    if profile.edits:
        site_packages = Path(profile.site_packages) if profile.site_packages else None
        changes += _overviews(names, root)
        changes += edits(blueprint, support.known, support.training, root=root, site_packages=site_packages)
    return tuple(changes)


def notes(blueprint: Blueprint, profile: RollProfile, changes: Sequence[Change]) -> tuple[str, ...]:
    """What trains the model and what rolls it out, and keys of examples that this ROLL has no field for.

    Raises:
        BadInput: the environment names a folder that is no engine.
    """
    import yaml

    lines = list(support_notes(support_of(blueprint, profile)))
    for change in changes:
        found = re.search(r"/(rlvr|sft)_config\w*\.yaml$", change.path)
        if found is not None and change.path.startswith("examples/"):
            unknown = unknown_keys(Path(profile.root), found.group(1), yaml.safe_load(change.content))
            lines += [f"{change.path}: this ROLL has no field for {key}" for key in unknown]
    return tuple(lines)


def _pages(
    blueprint: Blueprint, names: Names, support: Support, commands: list[Command], root: Path
) -> Iterator[Example]:
    """A page in every language that the checkout documents itself in."""
    for language in LANGUAGES:
        if (root / language.folder).is_dir():
            context = _page(blueprint, names, support, commands, language)
            yield Example(f"{language.folder}/{names.stem}.md", language.template, "documentation page", context)


def _page(
    blueprint: Blueprint, names: Names, support: Support, commands: list[Command], language: Language
) -> dict[str, Any]:
    sizes = sizes_of(blueprint, support)

    def said(text: str) -> str:
        return language.words.get(text, text)

    trained = [("megatron", "supported")] if support.trains("megatron") else []
    trained += [(row.family, row.verdict) for row in support.strategies if row.verdict != "not in this ROLL"]
    told = [
        language.command.format(_FAMILIES[row.family], TITLES[row.engine])  # type: ignore[index]
        if row.engine
        else language.alone.format(_FAMILIES[row.family])
        for row in commands
    ]
    return {
        "title": names.prefix,
        "architecture": blueprint.architecture,
        "model_type": blueprint.model_type,
        "counted": f"{sizes.parameters.total / 1e9:.2f}B",
        "strategies": [{"name": _FAMILIES[family], "support": said(verdict)} for family, verdict in trained],
        "engines": [
            {"name": TITLES[row.engine], "version": row.registry.version, "support": said(row.verdict)}
            for row in support.engines
        ],
        "commands": [{"told": text, "script": row.script} for text, row in zip(told, commands, strict=True)],
        "sizes": [
            {"key": key, "value": str(value)}
            for key, value in (
                ("tensor_model_parallel_size", sizes.tensor),
                ("pipeline_model_parallel_size", sizes.pipeline),
                ("expert_model_parallel_size", sizes.expert),
                ("device_mapping", f"{sizes.gpus} GPUs"),
            )
        ],
    }


_FIELDS = (
    ("num_layers", "num_layers"),
    ("hidden_size", "hidden_size"),
    ("num_attention_heads", "num_attention_heads"),
    ("ffn_hidden_size", "ffn_hidden_size"),
    ("vocab_size", "padded_vocab_size"),
    ("norm.eps", "layernorm_epsilon"),
)
"""(fact, field of McaModelConfig): what the generated test follows from the config to mcore_adapter."""


def _test(blueprint: Blueprint, names: Names) -> Example:
    """A test of the template that needs no GPU."""
    config = example_config(blueprint)
    fields = []
    for name, field in _FIELDS if blueprint.in_transformers else ():  # else AutoConfig does not know the type
        fact = blueprint.fact(name)
        key = plain_key(fact.expression) if fact is not None else None
        if key is not None and "." not in key:
            fields.append({"field": field, "key": f"{blueprint.config_part}.{key}" if blueprint.config_part else key})
    context = {
        "model_type": names.model_type,
        "config": [{"key": key, "value": value} for key, value in config.items()],
        "tensors": [_first(row) for row in blueprint.roles],
        "fields": fields,
    }
    path = f"tests/models/test_{names.stem}_template.py"
    return Example(path, "tests/test_template.py.j2", "test of the template, without a GPU", context)


def _first(row: TensorRole) -> str:
    """The name of the first tensor of a pattern: of the first layer that has it, of the first expert."""
    layer = str(row.layers[0]) if row.layers else "0"
    return re.sub(r"(?<=\.)\*(?=\.|$)", "0", re.sub(r"(?<=\.)\*(?=\.|$)", layer, row.pattern, count=1))


def _rendered(files: list[Example], words: dict[str, Any], checkout: Path | None) -> Iterator[Change]:
    renderer = Renderer(data_dir("templates") / "roll")
    texts = {file.path: renderer.render(file.template, {**file.context, **words}) for file in files}
    texts.update(format_many({path: text for path, text in texts.items() if path.endswith(".py")}, _STYLE))
    for file in files:
        change = Change(file.path, "create", texts[file.path], file.summary, executable=file.executable)
        there = checkout / file.path if checkout is not None else None
        if there is None or not there.is_file():
            yield change
        elif _MARK.encode() in there.read_bytes():
            yield replace(change, before_sha256=hashlib.sha256(there.read_bytes()).hexdigest())


def _overviews(names: Names, root: Path) -> Iterator[Change]:
    """A link to the page in the overview of each language, where that lists the folder's pages."""
    for language in LANGUAGES:
        path = root / language.overview
        if not path.is_file() or not (root / language.folder).is_dir():
            continue
        before = path.read_bytes()
        try:
            after = add_link_line(before, language.link.format(names.prefix), f"{language.site}/{names.stem}")
        except BadInput:  # an overview that lists pages in another way has nothing to add a line to
            continue
        if after != before:
            yield Change(
                path=language.overview,
                kind="edit",
                content=after.decode("utf-8"),
                summary="the page's entry in the overview",
                before_sha256=hashlib.sha256(before).hexdigest(),
            )
