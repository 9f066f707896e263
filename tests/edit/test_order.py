import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold_tools.edit.order import best_position, is_sorted, member, natural, place

numbers = st.lists(st.integers(0, 9).map(lambda number: (number,)), max_size=8)


def test_natural_order_is_that_of_the_targets_linter():
    names = ["exaone4", "exaone45", "exaone_moe", "mimo.mimo_bridge", "mimo_v2_flash", "qwen_vl", "qwen_vl.modelling"]
    assert sorted(reversed(names), key=natural) == names


def test_constants_come_before_classes_and_classes_before_functions():
    names = ["HAVE_TE", "Qwen3Bridge", "Qwen25Bridge", "build"]
    assert sorted(reversed(names), key=member) == names


@given(numbers.map(sorted), st.integers(0, 9))
def test_the_place_in_a_sorted_list_keeps_it_sorted(keys, new):
    index = place(keys, (new,))
    assert is_sorted([*keys[:index], (new,), *keys[index:]])


@given(numbers, st.integers(0, 9))
def test_no_other_position_has_fewer_items_on_the_wrong_side(keys, new):
    def wrong(index):
        return sum(key > (new,) for key in keys[:index]) + sum(key < (new,) for key in keys[index:])

    assert wrong(best_position(keys, (new,))[0]) == min(wrong(index) for index in range(len(keys) + 1))


@pytest.mark.parametrize("names, new, index", [("bdfz", "e", 2), ("zbdf", "e", 3), ("zyxw", "a", 4)])
def test_one_outlier_does_not_mislead_and_an_unsorted_list_grows_at_its_end(names, new, index):
    assert place([natural(name) for name in names], natural(new)) == index
