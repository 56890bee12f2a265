"""Figures on synthetic readings, where every number is known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from dynaip.evaluation.factors import UNANSWERABLE
from dynaip.evaluation.figures import Figure, Reading, factor_figure

VALUES = {"colour": ("red", "green", "blue", "brown"), "glyph": ("", "A", "B", "C", "D")}


def reading(truths: list[int], answers: list[int], factor: str = "colour") -> Reading:
    return Reading(
        values=VALUES,
        truths={factor: np.array(truths)},
        answers={factor: np.array(answers)},
        clusters=np.arange(len(truths)),
    )


def test_a_copy_is_one_even_where_the_probe_errs() -> None:
    truths, read_as = [0, 1, 2, 3], [0, 1, 2, 0]
    copy = reading(truths, read_as)
    figure = factor_figure("copy", "colour", copy, copy)
    assert (figure.value, figure.accuracy, figure.yardstick) == (1.0, 0.75, 0.75)
    assert figure.above_chance == 1.0


def test_a_blind_guess_is_worth_nothing_above_chance() -> None:
    truths = [0, 1, 2, 3] * 10
    perfect = reading(truths, truths)
    figure = factor_figure("blind", "colour", reading(truths, [0] * 40), perfect)
    assert figure.accuracy == figure.chance == figure.value == 0.25
    assert figure.above_chance == 0.0


def test_value_counts_in_units_of_the_yardstick() -> None:
    truths = [0] * 10
    made = reading(truths, [0] * 4 + [1] * 6)
    ceiling = reading(truths, [0] * 8 + [1] * 2)
    figure = factor_figure("half", "colour", made, ceiling, target=0.5)
    assert figure.value == 0.5
    assert figure.reached is None
    assert not figure.measurable


def test_a_bad_base_is_no_reason_to_distrust_the_probe() -> None:
    truths = [0] * 10
    perfect, base = reading(truths, truths), reading(truths, [0] * 3 + [1] * 7)
    figure = factor_figure("adapter", "colour", perfect, base, ceiling=perfect)
    assert figure.measurable
    assert not factor_figure("adapter", "colour", perfect, base).measurable


def test_subjects_without_the_detail_do_not_count() -> None:
    truths = [0, 0, UNANSWERABLE, 1, 2]
    made = reading(truths, [0, 0, 1, 1, 1], "glyph")
    figure = factor_figure("adapter", "glyph", made, reading(truths, truths, "glyph"))
    assert (figure.count, figure.accuracy, figure.chance) == (2, 0.5, 0.25)


def test_only_the_pictures_asked_for_count() -> None:
    truths = [0, 0, 1, 1]
    made, perfect = reading(truths, [0, 0, 0, 0]), reading(truths, truths)
    among = np.array([False, False, True, True])
    figure = factor_figure("adapter", "colour", made, perfect, among=among)
    assert (figure.count, figure.value) == (2, 0.0)


@pytest.mark.parametrize(
    ("value", "at_most", "reached"),
    [(2.0, False, True), (1.9, False, False), (2.0, True, True), (2.1, True, False)],
)
def test_targets_are_floors_or_ceilings(value: float, at_most: bool, reached: bool) -> None:
    figure = Figure(group="g", name="n", value=value, count=1, target=2.0, at_most=at_most)
    assert figure.reached is reached


def test_what_the_probe_cannot_read_has_reached_and_missed_nothing() -> None:
    figure = Figure(group="g", name="n", value=2.0, count=9, target=0.6, measurable=False)
    assert figure.reached is None


def test_nothing_measured_is_null_in_the_row_and_neither_reached_nor_missed() -> None:
    none = reading([0], [0], "glyph")
    figure = factor_figure("adapter", "glyph", none, none, target=0.3)
    row = figure.to_row()
    assert (row["value"], row["low"], row["reached"], row["count"]) == (None, None, None, 0)
