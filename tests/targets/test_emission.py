"""Expressions become code that gives a value of the right kind."""

from __future__ import annotations

from types import SimpleNamespace

from scaffold_tools.blueprint.facts import Const, Product, Rounded, Term
from scaffold_tools.targets.megatron_bridge.emission import scalar, whole

CONFIG = SimpleNamespace(width=384, heads=6, times=4, factors=[0.5, 0.25])


def value(code: str) -> object:
    return eval(code, {"hf_config": CONFIG})


def test_a_size_is_a_whole_number_and_a_factor_need_not_be() -> None:
    quotient = Product((Term("width"), Term("heads", -1.0)))
    assert whole(quotient) == "hf_config.width // hf_config.heads"
    assert type(value(whole(quotient))) is int
    assert type(value(scalar(quotient))) is float


def test_products_and_roots_stay_whole() -> None:
    assert value(whole(Product((Term("width"), Term("times")), 2.0))) == 3072
    assert value(whole(Product((Term("width"), Term("times"), Term("heads", -1.0))))) == 256
    assert type(value(whole(Product((Term("width", 0.5),))))) is int
    assert whole(Const(7)) == "7"


def test_a_place_in_a_list_is_an_index() -> None:
    code = scalar(Product((Term("factors.1"), Term("heads"))))
    assert code == "hf_config.factors[1] * hf_config.heads"
    assert value(code) == 1.5


def test_half_a_width_is_a_whole_number() -> None:
    assert whole(Product((Term("width"),), 0.5)) == "hf_config.width // 2"


def test_a_width_is_rounded_up_as_code_does_it() -> None:
    assert value(whole(Rounded("width", None, "heads", 2 / 3))) == 258  # 256, up to a multiple of 6
    assert value(whole(Rounded("width", "times", "heads", 8 / 3))) == 4098
    assert value(scalar(Rounded("width", None, "heads", 1.0))) == 384
