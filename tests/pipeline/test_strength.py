"""Strength by block: numbers, lists and named ranges."""

import inspect

import pytest

from dynaip.pipeline.strength import block_scales, check_scale


def test_one_number_is_for_all():
    assert block_scales(0.5, 2, 3) == [0.5]


def test_a_list_is_one_number_a_block():
    assert block_scales([0, 1, 2, 3, 4], 2, 3) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"lists 4 numbers, and this base has 5 blocks"):
        block_scales([1] * 4, 2, 3)


def test_named_ranges():
    assert block_scales({"double": 1, "single": 0.5}, 2, 3) == [1, 1, 0.5, 0.5, 0.5]
    assert block_scales({"single.1": 0}, 2, 3) == [1, 1, 1, 0, 1]
    assert block_scales({"single": 0.5, "single.0-1": 0}, 2, 3) == [1, 1, 0, 0, 0.5]


@pytest.mark.parametrize("name", ["single.3", "single.1-3", "double.1-0"])
def test_a_range_outside_the_base_is_refused(name):
    with pytest.raises(ValueError, match="give a range within them"):
        block_scales({name: 1.0}, 2, 3)


@pytest.mark.parametrize("scale", [-1.0, [1.0, float("nan")], {"double": float("inf")}])
def test_bad_numbers_are_refused(scale):
    with pytest.raises(ValueError, match="scale must be a number from 0 up"):
        check_scale(scale)


@pytest.mark.parametrize("scale", ["0.5", [None]])
def test_what_is_no_number_is_refused(scale):
    # Unwrapped: under test, the import hook would refuse the type first.
    with pytest.raises(ValueError, match="scale must be a number from 0 up"):
        inspect.unwrap(check_scale)(scale)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="scale names blocks as"):
        check_scale({"doubles": 1.0})
