"""The marked places that a person or an agent fills where nothing could be derived: one module and one test a family.

The bridge calls the module at the end of what it derives, so everything that is certain is written and runs, and what
is missing has one place, inside the family's own folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scaffold_tools.blueprint.facts import Gap
from scaffold_tools.targets.megatron_bridge.context import Code
from scaffold_tools.targets.megatron_bridge.naming import Names
from scaffold_tools.text import one_line


def stub_module(names: Names) -> str:
    """`qwen3_gaps`, in the family's folder."""
    return f"{names.stem}_gaps"


def with_stub(bridge: Mapping[str, Any], names: Names, code: Code) -> dict[str, Any]:
    """The context of the bridge, calling the stub at the end of what it derives."""
    module = f"{code.folder}.{stub_module(names)}"
    hooks = [{"module": module, "name": hook} for hook in (_settings_hook(bridge), "complete_mappings")]
    imports = [*bridge["imports"], *hooks]
    return {**bridge, "stub": True, "imports": sorted(imports, key=lambda row: (row["module"], row["name"]))}


def stub_context(bridge: Mapping[str, Any], gaps: Sequence[Gap], names: Names, code: Code) -> dict[str, Any]:
    """The context of `gaps.py.j2`."""
    return {
        "builder": bridge["builder"],
        "returns": bridge["returns"],
        "provider_class": bridge["provider_class"],
        "provider_import": f"{code.folder}.{names.stem}_provider",
        "gaps": [{"subject": gap.subject, "reason": gap.reason, "lines": _lines(gap)} for gap in gaps],
    }


def stub_test_context(words: Mapping[str, Any], names: Names, code: Code) -> dict[str, Any]:
    """The context of `test_gaps.py.j2`."""
    return {**words, "gaps_import": f"{code.folder}.{stub_module(names)}"}


def _settings_hook(bridge: Mapping[str, Any]) -> str:
    return "complete_config_kwargs" if bridge["builder"] else "complete_provider"


def _lines(gap: Gap) -> list[str]:
    """What a comment above the row says: where the code shows it, what to write, and what tells that it is right."""
    told = (("Shown by", gap.hf_source), ("To write", gap.write_what), ("Right when it passes", gap.check))
    return [one_line(f"{what}: {text}", 110) for what, text in told if text]
