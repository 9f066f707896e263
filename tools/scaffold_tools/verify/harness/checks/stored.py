"""A toy in the quantised form of the real checkpoint: what an integration makes of it, and what the script does.

Without dequantisation the import runs through, and the model computes nonsense; these checks are what fails then.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from mcore.build import build_megatron, fill_with_nan, forward
from mcore.no_cuda import OnCpu
from toys.quantise import Quantised, quantise_folder

from checks.measured import Checks, Clock, names
from checks.reference import Reference, run_hf
from checks.tolerances import LOGITS_MAX_ABS
from checks.weights import load_saved, reads_of

ORDER = ("stored.consumed", "stored.weights", "stored.exact", "stored.logits", "stored.copy")
STD_RATIO = 1.05
"""How far the standard deviation of a weight may be off: bfloat16 moves it by less than a hundredth, a scale that was
left out by tens to thousands."""


def verify_stored(request: dict[str, Any], reference: Reference, checks: Checks) -> None:
    """Quantise the toy as the checkpoint is, import it, and compare; records the checks of `ORDER`."""
    stored, source = request["stored"], reference.folder
    saved = load_saved(source)
    made = quantise_folder(source, source.parent / f"{source.name}-stored", saved, stored)
    if not made.names:
        detail = "no tensor of the toy has a shape that the format can hold: nothing was measured"
        checks.add("stored.consumed", False, value=0, threshold="all", detail=detail)
        checks.skip(ORDER[1:], "nothing was quantised")
        return
    with checks.guard("stored.consumed"):
        model, exported = _import(request, made, stored, checks)
    _weights(made, exported, checks)
    with checks.guard("stored.logits"):
        _logits(model, made, reference, checks)
    if request.get("script"):
        with checks.guard("stored.copy"):
            _copy(Path(request["script"]), made, checks)
    else:
        checks.skip(("stored.copy",), "this integration comes without a script")


def _import(
    request: dict[str, Any], made: Quantised, stored: dict[str, Any], checks: Checks
) -> tuple[Any, dict[str, torch.Tensor]]:
    from megatron.bridge import AutoBridge

    clock = Clock()
    trusted = bool(request.get("trust_remote_code"))
    auto_bridge = AutoBridge.from_hf_pretrained(str(made.folder), trust_remote_code=trusted)
    model, _, _ = build_megatron(auto_bridge)
    fill_with_nan(model)
    with reads_of(auto_bridge.hf_pretrained.state.source) as reads, OnCpu():
        auto_bridge.load_hf_weights([model])
    needless = tuple(stored.get("not_weights") or ())
    unread = {name for name in set(made.stored) - set(reads) if not (needless and name.endswith(needless))}
    detail = f"never read: {names(unread)}" if unread else f"{len(made.names)} weights quantised"
    value = f"{len(made.stored) - len(unread)}/{len(made.stored)}"
    checks.add("stored.consumed", not unread, value=value, threshold="all", detail=detail, seconds=clock.lap())
    with OnCpu(), torch.no_grad():
        exported = dict(auto_bridge.export_hf_weights([model], cpu=True, show_progress=False))
    return model, {name: tensor for name, tensor in exported.items() if name in made.exact}


def _weights(made: Quantised, exported: dict[str, torch.Tensor], checks: Checks) -> None:
    """Standard deviations, and bits, of what was imported beside what the codes and scales stand for."""
    wanted = {name: made.exact[name].float() for name in made.names}
    ratios = {name: _ratio(exported.get(name), weight) for name, weight in wanted.items()}
    worst = max(ratios, key=lambda name: ratios[name])
    spread = float(torch.cat([weight.flatten() for weight in wanted.values()]).std())
    told = f"std {made.raw_std:.3g} as stored, {spread:.3g} dequantised; worst: {worst}"
    value = ratios[worst] if ratios[worst] != float("inf") else "not finite, or missing"
    checks.add("stored.weights", ratios[worst] < STD_RATIO, value=value, threshold=STD_RATIO, detail=told)
    right = [name for name, weight in made.exact.items() if _equal(exported.get(name), weight)]
    wrong = made.exact.keys() - set(right)
    detail = f"differs from levels times scales: {names(wrong)}" if wrong else ""
    checks.add("stored.exact", not wrong, value=f"{len(right)}/{len(made.exact)}", threshold="all", detail=detail)


def _ratio(found: torch.Tensor | None, wanted: torch.Tensor) -> float:
    if found is None or found.shape != wanted.shape or not bool(torch.isfinite(found.float()).all()):
        return float("inf")
    one, other = max(float(found.float().std()), 1e-30), max(float(wanted.std()), 1e-30)
    return max(one / other, other / one)


def _equal(found: torch.Tensor | None, wanted: torch.Tensor) -> bool:
    """Equal as numbers: the model of the lane is in fp32, and holds bfloat16 exactly."""
    return found is not None and found.shape == wanted.shape and torch.equal(found.float(), wanted.float())


def _logits(model: Any, made: Quantised, reference: Reference, checks: Checks) -> None:
    """The Hugging Face model with the dequantised weights, and the imported one, on the same tokens."""
    from safetensors.torch import save_file

    clock = Clock()
    folder = made.folder.with_name(f"{made.folder.name}-exact")
    folder.mkdir(exist_ok=True)
    config = json.loads((reference.folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {name: tensor.contiguous() for name, tensor in made.exact.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    loaded = type(reference.model).from_pretrained(folder, dtype=torch.float32)
    reference.model.load_state_dict(loaded.state_dict())
    expected = run_hf(reference.model, reference.tokens)
    logits = forward(model, reference.tokens, expected.shape[-1])
    largest = float((logits - expected).abs().nan_to_num(nan=float("inf")).max())
    moved = float((expected - reference.logits).abs().max())
    value = largest if largest != float("inf") else "not finite"
    detail = f"the format itself moves them by {moved:.3g}"
    passed = largest < LOGITS_MAX_ABS
    checks.add("stored.logits", passed, value=value, threshold=LOGITS_MAX_ABS, detail=detail, seconds=clock.lap())


def _copy(script: Path, made: Quantised, checks: Checks) -> None:
    """The script's copy of the quantised toy: the same numbers, and nothing that speaks of quantisation."""
    clock = Clock()
    target = made.folder.with_name(f"{made.folder.name}-copy")
    shutil.rmtree(target, ignore_errors=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        _module(script).convert(made.folder, target)
    copied = load_saved(target)
    right = [name for name, weight in made.exact.items() if _same(copied.get(name), weight)]
    extra = copied.keys() - made.exact.keys()
    declared = "quantization_config" in json.loads((target / "config.json").read_text())
    wrong = made.exact.keys() - set(right)
    problems = [f"differs: {names(wrong)}"] if wrong else []
    problems += [f"too much: {names(extra)}"] if extra else []
    problems += ["config.json still declares a quantisation"] if declared else []
    value = f"{len(right)}/{len(made.exact)}"
    detail = "; ".join(problems)
    checks.add("stored.copy", not problems, value=value, threshold="all", detail=detail, seconds=clock.lap())


def _same(found: torch.Tensor | None, wanted: torch.Tensor) -> bool:
    return found is not None and found.dtype == wanted.dtype and _equal(found, wanted)


def _module(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(script.stem, script)
    if spec is None or spec.loader is None:
        raise ImportError(f"{script} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module
