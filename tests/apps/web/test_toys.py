"""Toys are drawn to order, and the page's examples are orders that can be made."""

from __future__ import annotations

import numpy as np
import pytest

from dynaip.apps.web.order import OrderError
from dynaip.apps.web.toys import FACTORS, draw, examples


def test_a_toy_is_what_was_asked_for() -> None:
    red = np.asarray(draw({"category": "mug", "main_colour": "red"}), dtype=int)
    assert (red[0, 0] == 255).all()
    redness = red[..., 0] - red[..., 2]
    assert redness.max() > 100
    blue = np.asarray(draw({"category": "mug", "main_colour": "blue"}), dtype=int)
    assert (blue[..., 2] - blue[..., 0]).max() > 100


@pytest.mark.parametrize(
    "values", [{"category": "car"}, {"glyph": "ABC"}, {"glyph": "?"}, {"size": "big"}]
)
def test_other_toys_are_refused(values: dict[str, str]) -> None:
    with pytest.raises(OrderError):
        draw(values)


def test_the_examples_can_be_drawn() -> None:
    for example in examples():
        for subject in example["subjects"]:
            assert set(subject["toy"]) - {"glyph"} <= set(FACTORS)
            draw(subject["toy"])
            assert subject.get("phrase", "") in example["prompt"]
