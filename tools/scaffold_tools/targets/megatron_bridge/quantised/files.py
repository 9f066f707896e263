"""What a quantised checkpoint adds to a plan: the module of the hook, the script, and what cannot be undone."""

from __future__ import annotations

from typing import Any, NamedTuple

from scaffold_tools.blueprint.facts import Gap, Stored
from scaffold_tools.targets.megatron_bridge.naming import Names
from scaffold_tools.targets.megatron_bridge.profile import Profile
from scaffold_tools.targets.megatron_bridge.quantised.words import covered, told, words


class SharedRow(NamedTuple):
    """A helper of Megatron-Bridge that takes the place of a function of ours."""

    function: str
    """Ours."""
    helper: str
    """In `megatron.bridge.models.conversion.quantization_utils`."""
    fragment: str
    """The template that calls it."""
    replaces: tuple[str, ...]
    """The templates that it makes needless."""
    reason: str


SHARED: tuple[SharedRow, ...] = (
    SharedRow(
        "dequantize_fp8_blocks",
        "dequantize_fp8_blockwise",
        "fp8_blocks_shared",
        ("float8", "fp8_blocks"),
        "the same numbers; it takes matrices and square blocks, and does not look whether the scales fit",
    ),
)
"""Not taken: dequantize_fp8_e4m3fn_with_scale (guesses the layout from shapes), dequantize_mxfp4 (leaves out the
transposition), dequantize_mxfp4_e2m1_packed (reads exponents in bytes as numbers), dequantize_int4 (no zero
points)."""


def is_covered(stored: Stored | None) -> bool:
    """Whether generated code can undo how the weights are stored."""
    return stored is not None and bool(stored.groups) and all(covered(group) for group in stored.groups)


def quantised_gaps(stored: Stored | None) -> tuple[Gap, ...]:
    """One gap for each format that no row of the table undoes."""
    if stored is None:
        return ()
    found = []
    for group in stored.groups:
        if covered(group) is None:
            parts = ", ".join(part for part, _ in group.parts) or "no known parts"
            found.append(
                Gap(
                    "quantization_config",
                    f"weights are stored as {group.format} ({parts}); as they are, the numbers are no weights, and"
                    " nothing here undoes it",
                    write_what="a bf16 copy of the checkpoint with the library that wrote it, and import that; or a"
                    " dequantiser: a row of KERNELS and its template",
                    check="stored.exact",
                )
            )
    if not stored.groups:
        reason = "a quantisation is declared, but no tensor shows it: whether the numbers are weights is open"
        found.append(Gap("quantization_config", reason, write_what="the config, or the right headers"))
    return tuple(found)


def hook_module(names: Names) -> str:
    """Name of the module that the bridge's hook calls."""
    return f"{names.stem}_quantization"


def script_name(names: Names) -> str:
    """Name of the script that writes an unquantised copy."""
    return f"dequant_{names.stem}.py"


def script_context(stored: Stored, names: Names, common: dict[str, Any]) -> dict[str, Any]:
    """The context of `dequantize/script.py.j2`."""
    return {**common, **words(stored), "script": script_name(names)}


def module_context(stored: Stored, profile: Profile, common: dict[str, Any]) -> dict[str, Any]:
    """The context of `dequantize/module.py.j2`, with the checkout's own helpers where they do."""
    context = {**common, **words(stored), "shared": []}
    for row in SHARED:
        usable = profile.layout == "checkout" and row.helper in profile.quantization_helpers
        if not usable or not _is_plain(stored, row.function):
            continue
        kept = [name for name in context["fragments"] if not name.endswith(tuple(f"/{x}.py.j2" for x in row.replaces))]
        context["fragments"] = [*kept, f"dequantize/kernels/{row.fragment}.py.j2"]
        context["shared"] = [*context["shared"], row.helper]
        block = next(item for item in context["constants"] if item["name"] == "BLOCK_SIZE")
        constants = [item for item in context["constants"] if item["name"] != "VALUES_AT_A_TIME"]
        context["constants"] = [{**item, "value": item["value"][0]} if item is block else item for item in constants]
    return context


def _is_plain(stored: Stored, function: str) -> bool:
    """Matrices in square blocks, and no other format that shares the fragments."""
    rows = [(group, row) for group in stored.groups if (row := covered(group)) is not None]
    used = [(group, row) for group, row in rows if row.function == function]
    square = all(group.values_end == ".weight" and len({*(group.block or ())}) == 1 for group, _ in used)
    return bool(used) and square and len(used) == len(rows)


def hook_context(stored: Stored | None, names: Names, folder: str) -> dict[str, Any]:
    """What the bridge's template is told: nothing where nothing is quantised."""
    if stored is None or not is_covered(stored):
        return {"dequantizes": None}
    renamed = any(group.values_end != group.weight_end for group in stored.groups)
    functions = ["load_dequantized", *(["dequantized_names"] if renamed else [])]
    return {
        "dequantizes": {"told": told(stored), "renamed": renamed},
        "hook_imports": [{"module": f"{folder}.{hook_module(names)}", "name": name} for name in functions]
        + [{"module": "collections.abc", "name": "Mapping"}, {"module": "torch", "name": ""}],
    }


def document(stored: Stored | None, names: Names, layout: str) -> dict[str, str] | None:
    """What README and docs page say: what is stored, and where the script lies; None where nothing is quantised."""
    if stored is None or not is_covered(stored):
        return None
    folder = "examples" if layout == "package" else f"examples/models/{names.family}/{names.stem}"
    return {"told": told(stored), "script": f"{folder}/{script_name(names)}"}


def notes(stored: Stored | None) -> tuple[str, ...]:
    """What a user has to know of the limits."""
    if not is_covered(stored):
        return ()
    assert stored is not None
    return (
        f"weights are stored as {told(stored)}: the bridge dequantises on import, and a script writes a bf16 copy",
        "export writes bfloat16: save_hf_pretrained takes names and config.json from its reference checkpoint, so give"
        " it the bf16 copy; quantising again is left to the library of the format",
    )
