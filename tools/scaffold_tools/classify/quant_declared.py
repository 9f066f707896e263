"""What the config declares about quantisation, in the terms that the stored tensors are told in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from scaffold_tools.classify.signals import Signals
from scaffold_tools.classify.values import as_dict, as_int, clean, short

_LEFT_ALONE = ("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules", "llm_int8_skip_modules")
_KV_CACHE = ("kv_cache_scheme", "kv_cache_quant_algo", "kv_cache_dtype")


@dataclass(frozen=True)
class Declared:
    """One declaration: a config's quantisation object, or hf_quant_config.json."""

    where: str
    method: str
    format: str
    bits: int | None = None
    block: tuple[int, ...] | None = None
    """Rows and columns (or 1 and the group) that share a scale."""
    activations: str | None = None
    kv_cache: str | None = None
    left_alone: tuple[str, ...] = ()
    """Module names as written, unshortened."""
    detail: str = ""


class Scheme(NamedTuple):
    """Format, bits and block of one declaration."""

    format: str
    bits: int | None = None
    block: tuple[int, ...] | None = None


class MethodRow(NamedTuple):
    """How a method's own settings tell the format."""

    methods: frozenset[str]
    read: Callable[[dict[str, Any]], Scheme]


def declarations(signals: Signals) -> tuple[Declared, ...]:
    """All that the repository declares, the config's own first."""
    found = []
    for key in ("quantization_config", "compression_config"):
        for where, mapping in (("", signals.config), (f"{signals.text_path}.", signals.text)):
            settings = as_dict(mapping.get(key))
            if settings and not (where != "" and mapping is signals.config):
                found.append(_read(f"{where}{key}".removeprefix("."), settings))
    extra = signals.extra_quantisation
    inner = as_dict((extra or {}).get("quantization")) if isinstance(extra, dict) else None
    if inner:
        producer = as_dict((extra or {}).get("producer")) or {}
        name = producer.get("name")
        found.append(_read("hf_quant_config.json", {"quant_method": name, **inner}))
    return tuple(found)


def _read(where: str, settings: dict[str, Any]) -> Declared:
    method = settings.get("quant_method") or settings.get("quant_algo") or settings.get("quantization_mode")
    name = clean(method, 40).lower() if isinstance(method, str) else "unnamed"
    row = next((row for row in METHODS if name in row.methods), None)
    scheme = row.read(settings) if row else Scheme(name)
    cache = next((settings[key] for key in _KV_CACHE if settings.get(key)), None)
    activations = settings.get("activation_scheme") or _activations(settings)
    told = [f"{key} = {short(settings[key], 40)}" for key in _TOLD if settings.get(key) is not None]
    return Declared(
        where=where,
        method=name,
        format=scheme.format,
        bits=scheme.bits,
        block=scheme.block,
        activations=clean(activations, 40) if isinstance(activations, str) else None,
        kv_cache=_cache_name(cache),
        left_alone=_left_alone(settings),
        detail=", ".join(told) or f"an object of {len(settings)} keys",
    )


_TOLD = (
    "quant_method",
    "quant_algo",
    "fmt",
    "format",
    "bits",
    "group_size",
    "weight_block_size",
    "load_in_4bit",
    "load_in_8bit",
    "bnb_4bit_quant_type",
    "version",
)


def _left_alone(settings: dict[str, Any]) -> tuple[str, ...]:
    names: list[Any] = next((settings[key] for key in _LEFT_ALONE if isinstance(settings.get(key), list)), [])
    return tuple(name for name in names[:100_000] if isinstance(name, str))


def _cache_name(cache: Any) -> str | None:
    inner = as_dict(cache)
    if inner:
        return clean(f"{inner.get('type') or 'unknown'}{as_int(inner.get('num_bits')) or ''}", 40)
    return clean(cache, 40) if isinstance(cache, str) else None


def _block(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, list):
        return None
    numbers = tuple(number for item in value[:4] if (number := as_int(item)) is not None and number > 0)
    return numbers if numbers and len(numbers) == len(value) else None


def _group(value: Any, default: int | None = None) -> tuple[int, int] | None:
    size = as_int(value) or default
    return (1, size) if size and size > 0 else None


def _fp8(settings: dict[str, Any]) -> Scheme:
    block = _block(settings.get("weight_block_size"))
    return Scheme("fp8-block", 8, block) if block else Scheme("fp8-tensor", 8)


def _bitsandbytes(settings: dict[str, Any]) -> Scheme:
    if not (settings.get("load_in_4bit") or settings.get("_load_in_4bit")):
        return Scheme("bnb-int8", 8)
    levels = settings.get("bnb_4bit_quant_type", "fp4")  # the default of transformers' BitsAndBytesConfig
    return Scheme(f"bnb-{levels}" if levels in ("nf4", "fp4") else "bnb-4bit", 4)


def _grouped(name: str) -> Callable[[dict[str, Any]], Scheme]:
    def read(settings: dict[str, Any]) -> Scheme:
        bits = as_int(settings.get("bits")) or as_int(settings.get("w_bit"))
        return Scheme(name, bits, _group(settings.get("group_size")))

    return read


# Names of NVIDIA ModelOpt's `quant_algo`, modelopt/torch/export.
_MODELOPT: dict[str, Callable[[dict[str, Any]], Scheme]] = {
    "NVFP4": lambda settings: Scheme("nvfp4", 4, _group(settings.get("group_size"), 16)),
    "NVFP4_AWQ": lambda settings: Scheme("nvfp4", 4, _group(settings.get("group_size"), 16)),
    "W4A16_NVFP4": lambda settings: Scheme("nvfp4", 4, _group(settings.get("group_size"), 16)),
    "MXFP4": lambda settings: Scheme("mxfp4", 4, _group(settings.get("group_size"), 32)),
    "MXFP8": lambda settings: Scheme("mxfp8", 8, _group(settings.get("group_size"), 32)),
    "FP8": lambda settings: Scheme("fp8-tensor", 8),
    "FP8_PER_CHANNEL_PER_TOKEN": lambda settings: Scheme("fp8-channel", 8),
    "FP8_PB_WO": lambda settings: Scheme("fp8-block", 8, (128, 128)),
    "FP8_PB_REAL": lambda settings: Scheme("fp8-block", 8, (128, 128)),
    "W8A8_SQ_PER_CHANNEL": lambda settings: Scheme("int8", 8),
    "INT4_AWQ": lambda settings: Scheme("int4-modelopt", 4, _group(settings.get("group_size"), 128)),
    "W4A16_AWQ": lambda settings: Scheme("int4-modelopt", 4, _group(settings.get("group_size"), 128)),
    "W4A8_AWQ": lambda settings: Scheme("int4-modelopt", 4, _group(settings.get("group_size"), 128)),
    "MIXED_PRECISION": lambda settings: Scheme("mixed"),
}


def _modelopt(settings: dict[str, Any]) -> Scheme:
    algorithm = settings.get("quant_algo")
    if isinstance(algorithm, str) and algorithm.upper() in _MODELOPT:
        return _MODELOPT[algorithm.upper()](settings)
    return _compressed_tensors(settings) if as_dict(settings.get("config_groups")) else Scheme("modelopt")


def _compressed_tensors(settings: dict[str, Any]) -> Scheme:
    groups = as_dict(settings.get("config_groups")) or {}
    weights = [as_dict(group.get("weights")) for group in groups.values() if isinstance(group, dict)]
    schemes = {_weights_scheme(item, settings.get("format")) for item in weights if item}
    if not schemes:
        return Scheme("compressed-tensors")
    return schemes.pop() if len(schemes) == 1 else Scheme("mixed")


class WeightsRow(NamedTuple):
    """A quantisation scheme of compressed-tensors; None matches any value."""

    type: str
    bits: int
    strategy: str | None
    format: str


# compressed_tensors/quantization/quant_args.py: type, num_bits, strategy.
WEIGHTS: tuple[WeightsRow, ...] = (
    WeightsRow("float", 8, "block", "fp8-block"),
    WeightsRow("float", 8, "channel", "fp8-channel"),
    WeightsRow("float", 8, "tensor", "fp8-tensor"),
    WeightsRow("float", 8, "group", "mxfp8"),
    WeightsRow("float", 4, "tensor_group", "nvfp4"),
    WeightsRow("float", 4, "group", "mxfp4"),
)


def _weights_scheme(weights: dict[str, Any], packing: Any) -> Scheme:
    bits, strategy = as_int(weights.get("num_bits")), weights.get("strategy")
    for row in WEIGHTS:
        if (row.type, row.bits, row.strategy) == (weights.get("type"), bits, strategy):
            block = _block(weights.get("block_structure")) or _group(weights.get("group_size"))
            return Scheme(row.format, bits, block)
    if weights.get("type") == "int" and bits:
        packed = packing == "pack-quantized" or bits < 8
        return Scheme("int-packed" if packed else "int8", bits, _group(weights.get("group_size")))
    return Scheme("compressed-tensors", bits)


def _activations(settings: dict[str, Any]) -> str | None:
    for group in (as_dict(settings.get("config_groups")) or {}).values():
        inputs = as_dict(group.get("input_activations")) if isinstance(group, dict) else None
        if inputs:
            return "dynamic" if inputs.get("dynamic") in (True, "local") else "static"
    return None


METHODS: tuple[MethodRow, ...] = (
    MethodRow(frozenset({"fp8", "finegrained_fp8"}), _fp8),
    MethodRow(frozenset({"fbgemm_fp8"}), lambda settings: Scheme("fp8-channel", 8)),
    MethodRow(frozenset({"mxfp4"}), lambda settings: Scheme("mxfp4", 4, (1, 32))),
    MethodRow(frozenset({"mxfp8"}), lambda settings: Scheme("mxfp8", 8, (1, 32))),
    MethodRow(frozenset({"modelopt", "modelopt_fp4", "modelopt_fp8"}), _modelopt),
    MethodRow(frozenset({"nvfp4"}), lambda settings: Scheme("nvfp4", 4, (1, 16))),
    MethodRow(frozenset({"compressed-tensors", "compressed_tensors"}), _compressed_tensors),
    MethodRow(frozenset({"bitsandbytes"}), _bitsandbytes),
    MethodRow(frozenset({"gptq"}), _grouped("gptq")),
    MethodRow(frozenset({"awq", "llm-awq"}), _grouped("awq")),
)
