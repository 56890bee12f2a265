"""Intervals: exact where the answer is known, and as wide as the number of subjects demands."""

from __future__ import annotations

import numpy as np
import pytest

from dynaip.evaluation.statistics import cluster_bootstrap_ratio


def test_value_is_the_ratio_of_sums() -> None:
    right = np.array([1.0, 0.0, 1.0, 1.0])
    standard = np.array([1.0, 1.0, 1.0, 0.0])
    interval = cluster_bootstrap_ratio(right, standard, np.arange(4))
    assert interval.value == 1.0
    assert interval.low <= 1.0 <= interval.high


def test_identical_measures_leave_no_doubt() -> None:
    right = np.array([1.0, 0.0, 1.0])
    assert cluster_bootstrap_ratio(right, right, np.arange(3)) == (1.0, 1.0, 1.0)


def test_pictures_of_one_subject_do_not_count_as_many() -> None:
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(40), 9)
    right = np.repeat(rng.random(40) < 0.7, 9).astype(float)
    ones = np.ones_like(right)
    clustered = cluster_bootstrap_ratio(right, ones, subjects)
    naive = cluster_bootstrap_ratio(right, ones, np.arange(len(right)))
    widths = [interval.high - interval.low for interval in (clustered, naive)]
    # Nine copies of each answer: three times the naive width.
    assert widths[0] / widths[1] == pytest.approx(3, rel=0.15)


def test_interval_of_a_share_is_the_binomial_one() -> None:
    right = np.repeat([1.0, 0.0], [80, 20])
    interval = cluster_bootstrap_ratio(right, np.ones(100), np.arange(100))
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 0.04, rel=0.1)


@pytest.mark.parametrize("standard", [np.zeros(3), np.zeros(0)])
def test_nothing_to_measure_by_is_not_a_number(standard: np.ndarray) -> None:
    interval = cluster_bootstrap_ratio(standard + 1, standard, np.arange(len(standard)))
    assert np.isnan(interval).all()
