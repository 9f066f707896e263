"""What is wrong with a ROLL template without any number being off: the three lints, without a checkout."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from mca.lint import RULES, misconverted, undistributed, unknown_fields


@dataclasses.dataclass
class Config:
    """Fields of a config class."""

    num_layers: int = 2
    layernorm_epsilon: float = 1e-5
    swiglu: bool = True
    moe_grouped_gemm: bool = False


@dataclasses.dataclass
class Operation:
    """Matches names as ROLL's operations do: by their beginning."""

    hf_names: list[str]
    mca_names: list[str]

    def is_required_name(self, name: str, mca_name: bool) -> bool:
        patterns = self.mca_names if mca_name else self.hf_names
        return any(re.match(one.replace(".", r"\.").replace("{}", "(.*)"), name) for one in patterns)


class Rules(SimpleNamespace):
    """Lists of names; what is not given is empty."""

    def __getattr__(self, name: str) -> list[str]:
        return []


class Converter:
    """Looks rules up as ROLL's `DistConverter` does."""

    def __init__(self, **rules: list[str]) -> None:
        self.config = Rules(**rules)

    def get_pure_name(self, name: str) -> str:
        return re.sub(r"^decoder\.layers\.\d+", "", name)

    def name_match(self, name: str, patterns: list[str]) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


class Parameter(SimpleNamespace):
    """A parameter with the marks that say how it is split."""

    def is_floating_point(self) -> bool:
        return True


class Model:
    """Parameters by name; the modules that own them."""

    def __init__(self, parameters: dict[str, Parameter], modes: dict[str, str | None] | None = None) -> None:
        self.parameters = parameters
        self.modes = modes or {}

    def named_parameters(self) -> Any:
        return self.parameters.items()

    def named_buffers(self) -> Any:
        return ()

    def named_modules(self) -> Any:
        for name in self.parameters:
            owner = name.rpartition(".")[0]
            yield owner, SimpleNamespace(**({"parallel_mode": self.modes[owner]} if owner in self.modes else {}))

    def state_dict_for_save_checkpoint(self) -> Any:
        return [*self.parameters, "decoder._extra_state"]


PROJECTION = "decoder.layers.0.self_attention.linear_proj"
NORM = "decoder.final_layernorm.weight"


def _distributed(declared: Mapping[str, int] | None = None, **rules: list[str]) -> list[str]:
    split = Parameter(tensor_model_parallel=True, partition_dim=1)
    model = Model({f"{PROJECTION}.weight": split, NORM: Parameter()}, {PROJECTION: "row"})
    loaded: Any = SimpleNamespace(model=model, config=Config())
    wrong, total = undistributed(loaded, Converter(**rules), declared or {})
    assert total == 2
    return wrong


RIGHT = {
    "row_parallel_weights": [".self_attention.linear_proj.weight"],
    "duplicated_weights": [NORM],
    "post_process_weights": [NORM],
}


def test_rules_that_fit_their_modules_are_right() -> None:
    assert _distributed(**RIGHT) == []


def test_a_parameter_without_a_rule_is_named() -> None:
    assert _distributed(**RIGHT | {"row_parallel_weights": []}) == ["no rule for .self_attention.linear_proj.weight"]


def test_a_rule_for_the_wrong_axis_is_named() -> None:
    swapped = {"column_parallel_weights": RIGHT["row_parallel_weights"], "row_parallel_weights": []}
    wrong = _distributed(**RIGHT | swapped)
    assert wrong == [".self_attention.linear_proj.weight is shared out by columns, its module splits axis 1"]


def test_what_is_kept_whole_though_its_module_splits_it_is_named() -> None:
    whole = {"duplicated_weights": [NORM, ".self_attention.linear_proj.weight"]}
    assert "is shared out whole" in _distributed(**RIGHT | whole)[0]


def test_an_end_of_the_model_that_no_stage_has_is_named() -> None:
    assert _distributed(**RIGHT | {"post_process_weights": []}) == [f"{NORM} belongs to no stage of a pipeline"]


def test_rules_are_looked_up_in_the_order_of_roll() -> None:
    assert [rule.axis for rule in RULES] == [None, 0, 1, 0, 0, None, 0, 1]


def test_a_value_for_no_field_is_named_whether_mapped_or_constant() -> None:
    template = SimpleNamespace(
        config_hf_to_mca={"a": "num_layers", "b": "no_such_field"}, constant_mca_config={"residual_dropout 0.0": 0}
    )
    assert unknown_fields(template, Config) == {"no_such_field", "residual_dropout 0.0"}


def _converted(*operations: Operation, hf: set[str], mca: set[str]) -> tuple[list[str], int, int]:
    template = SimpleNamespace(weight_converters=list(operations))
    return misconverted(SimpleNamespace(template=template, seen=SimpleNamespace(asked={"hf": hf, "mca": mca})))  # type: ignore[arg-type]


DOWN = Operation([".mlp.down_proj.weight"], [".mlp.linear_fc2.weight"])


def test_one_operation_for_each_name_is_right() -> None:
    assert _converted(DOWN, hf={".mlp.down_proj.weight"}, mca={".mlp.linear_fc2.weight"}) == ([], 0, 2)


def test_a_pattern_that_takes_the_beginning_of_another_name_is_named() -> None:
    short = Operation([".mlp.down_proj"], [".mlp.something"])
    problems, _, _ = _converted(DOWN, short, hf={".mlp.down_proj.weight"}, mca={".mlp.linear_fc2.weight"})
    assert problems == [".mlp.down_proj.weight is taken by ['.mlp.linear_fc2.weight'], ['.mlp.something']"]


def test_an_operation_that_waits_for_a_tensor_in_vain_is_named() -> None:
    late = Operation([".mlp.down.weight"], [".mlp.linear_fc3.weight"])
    problems, idle, _ = _converted(
        DOWN, late, hf={".mlp.down_proj.weight"}, mca={".mlp.linear_fc2.weight", ".mlp.linear_fc3.weight"}
    )
    assert problems == [".mlp.linear_fc3.weight is to come from .mlp.down.weight, which the checkpoint has not"]
    assert idle == 0


def test_an_operation_for_what_the_model_does_not_have_is_counted_and_no_mistake() -> None:
    bias = Operation([".mlp.down_proj.bias"], [".mlp.linear_fc2.bias"])
    assert _converted(DOWN, bias, hf={".mlp.down_proj.weight"}, mca={".mlp.linear_fc2.weight"}) == ([], 1, 2)


def test_an_axis_that_only_a_checkpoint_is_told_counts() -> None:
    """Offsets of softmax and buffers are split without a mark."""
    assert _distributed({NORM: 0}, **RIGHT) == [f"{NORM} is shared out whole, its module splits axis 0"]
    split = RIGHT | {"duplicated_weights": [], "column_parallel_weights": [NORM]}
    assert _distributed({NORM: 0}, **split) == []
    assert _distributed(**split) != []
