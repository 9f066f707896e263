"""Activations: which megatron-core function a measured curve is, and formulas for those that it lacks."""

from __future__ import annotations

from typing import NamedTuple

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.targets.megatron_bridge.blocks.facts import differs_from, expression
from scaffold_tools.targets.megatron_bridge.blocks.model import BlockRow, Naming, Part, ProviderField, ProviderSetting


class Curve(NamedTuple):
    """An activation that megatron-core does not have: its formula as Python source over `x`."""

    formula: str
    meaning: str
    calls: tuple[str, ...] = ()
    """Functions that the formula calls."""


STOCK: frozenset[str] = frozenset({"silu", "gelu", "gelu_tanh", "relu", "relu2", "quick_gelu", "sigmoid", "tanh"})
"""Curves for which Megatron-Bridge has a function (`utils/activation_map.py`)."""

CURVES: dict[str, Curve] = {
    "mish": Curve("F.mish(x)", "Mish: x * tanh(softplus(x)).", ("F.mish",)),
    "relu6": Curve("F.relu6(x)", "ReLU bounded by 6.", ("F.relu6",)),
    "leaky_relu": Curve("F.leaky_relu(x)", "Leaky ReLU with slope 0.01.", ("F.leaky_relu",)),
    "elu": Curve("F.elu(x)", "ELU with alpha 1.", ("F.elu",)),
    "gelu_10": Curve("torch.clamp(F.gelu(x), -10.0, 10.0)", "GELU bounded by 10.", ("torch.clamp", "F.gelu")),
    "laplace": Curve(
        "0.5 * (1.0 + torch.erf((x - 0.707107) / (0.282095 * math.sqrt(2.0))))",
        "Laplace approximation of squared ReLU (https://arxiv.org/abs/2209.10655).",
        ("torch.erf", "math.sqrt"),
    ),
    "linear": Curve("x", "No activation."),
    "swish": Curve("x * torch.sigmoid(beta * x)", "Swish: x * sigmoid(beta * x).", ("torch.sigmoid",)),
}


def _part(blueprint: Blueprint, naming: Naming) -> Part:
    name = str(blueprint.value("mlp.activation"))
    curve = CURVES[name]
    features = ["activation"]
    if "math." in curve.formula:
        features.append("activation_math")
    if "torch." in curve.formula:
        features.append("activation_torch")
    if "F." in curve.formula:
        features.append("activation_functional")
    unfused = ProviderSetting("bias_activation_fusion", False, comment="The fused kernels know only GELU and SwiGLU.")
    own = ProviderSetting("activation_func", symbol=f"{naming.stem}_activation")
    settings: tuple[ProviderSetting, ...] = (own, unfused)
    fields: tuple[ProviderField, ...] = ()
    if name == "swish":
        features.append("activation_beta")
        settings = (unfused,)
        fields = (
            ProviderField(
                "activation_beta",
                "float",
                "1.0",
                expression(blueprint, "mlp.activation.beta"),
                blueprint.value("mlp.activation.beta"),
                "Factor in the activation x * sigmoid(beta * x).",
            ),
        )
    return Part(
        features=tuple(features),
        fields=fields,
        settings=settings,
        values=(
            ("activation_formula", curve.formula),
            ("activation_meaning", curve.meaning),
            ("activation_calls", " ".join(curve.calls)),
        ),
    )


SCALED: dict[str, str] = {
    "silu": "F.silu(multiplier * x)",
    "gelu": "F.gelu(multiplier * x)",
    "relu": "F.relu(multiplier * x)",
}
"""Curve -> its formula over what one number multiplies first."""


def _scaled(blueprint: Blueprint, naming: Naming) -> Part:
    name = str(blueprint.value("mlp.activation"))
    if name not in SCALED:
        return Part(covers=(), gaps=(Gap("mlp.gate_multiplier", f"{name} of a scaled gate has no formula"),))
    formula = SCALED[name]
    return Part(
        features=("activation", "activation_functional", "activation_multiplier"),
        fields=(
            ProviderField(
                "activation_multiplier",
                "float",
                "1.0",
                expression(blueprint, "mlp.gate_multiplier"),
                blueprint.value("mlp.gate_multiplier"),
                "Factor on what the activation takes.",
            ),
        ),
        settings=(
            ProviderSetting("bias_activation_fusion", False, comment="The fused kernels know only GELU and SwiGLU."),
        ),
        values=(
            ("activation_formula", formula),
            ("activation_meaning", f"{name} of the input times a factor."),
            ("activation_calls", formula.partition("(")[0]),
        ),
    )


def _unfused(blueprint: Blueprint, naming: Naming) -> Part:
    return Part(
        settings=(
            ProviderSetting(
                "bias_activation_fusion",
                False,
                comment="The fused kernels know SwiGLU and tanh-GELU alone.",
            ),
        ),
        covers=(),
    )


PARAMETRIC: dict[str, tuple[str, ...]] = {"xielu": ("alpha_p", "alpha_n", "beta", "eps")}
"""Activations with parameters of their own, and what those are called; each has a template of its name."""


def _parametric(blueprint: Blueprint, naming: Naming) -> Part:
    name = str(blueprint.value("mlp.activation"))
    if blueprint.value("mlp.gated") is not False:
        return Part(covers=(), gaps=(Gap("mlp.activation", f"{name} in a gated MLP has no block"),))
    return Part(
        features=("activation_module", name),
        settings=(
            ProviderSetting("activation_func", symbol=f"{naming.stem}_activation"),
            ProviderSetting("bias_activation_fusion", False, comment="The fused kernels know only GELU and SwiGLU."),
        ),
        names=tuple((f"mlp.act.{slot}", f"decoder.layers.*.mlp.activation_func.{slot}") for slot in PARAMETRIC[name]),
        module_types=((f"{naming.prefix}Activation", "replicated"),),
    )


ROWS: tuple[BlockRow, ...] = (
    BlockRow(
        "activation",
        "megatron-core has no function of this curve",
        ("mlp.activation", "mlp.activation.beta"),
        lambda blueprint: blueprint.value("mlp.activation") in CURVES,
        _part,
    ),
    BlockRow(
        "activation of a scaled gate",
        "megatron-core's activations take what the projection gives",
        ("mlp.gate_multiplier",),
        lambda blueprint: differs_from(blueprint, "mlp.gate_multiplier", 1.0),
        _scaled,
    ),
    BlockRow(
        "activation with parameters",
        "megatron-core's activations are functions, without parameters of their own",
        ("mlp.activation",),
        lambda blueprint: blueprint.value("mlp.activation") in PARAMETRIC,
        _parametric,
    ),
    BlockRow(
        "no fused activation",
        "megatron-core's fused kernels know SwiGLU and the tanh approximation of GELU alone",
        (),
        lambda blueprint: (
            blueprint.value("mlp.activation") in STOCK
            and not (blueprint.value("mlp.activation") == "silu" and blueprint.value("mlp.gated") is True)
        ),
        _unfused,
    ),
)
