"""Named places and layouts."""

import pytest

from dynaip.pipeline.placing import name_places, resolve_places, write_box


def test_left_and_right_are_halves():
    assert resolve_places(["right", "left"]) == [(0.5, 0, 1, 1), (0, 0, 0.5, 1)]


def test_with_somebody_in_the_middle_they_are_thirds():
    left, middle, right = resolve_places(["left", "middle", "right"])
    assert (left[0], left[2], middle[2], right[2]) == (0, middle[0], right[0], 1)
    assert left[2] == pytest.approx(1 / 3)


def test_other_masks_stay():
    box = (0.1, 0.2, 0.3, 0.4)
    assert resolve_places([None, box, "mask.png"]) == [None, box, "mask.png"]


@pytest.mark.parametrize("box", [(0, 0.25, 0.5, 1), (1 / 3, 1e-7, 2 / 3, 0.9999999)])
def test_a_written_box_is_the_same_box(box):
    assert tuple(map(float, write_box(box).split(","))) == box


def test_layouts():
    assert name_places("halves", 2) == ("left", "right")
    assert name_places("thirds", 3) == ("left", "middle", "right")
    with pytest.raises(ValueError, match="is for 2 subjects, and there are 3"):
        name_places("halves", 3)
    with pytest.raises(ValueError, match="one of halves, thirds"):
        name_places("quarters", 4)
