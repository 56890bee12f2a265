"""Intervals: exact where the answer is known, and as wide as the number of subjects demands."""

from __future__ import annotations

import itertools
from statistics import NormalDist

import numpy as np
import pytest

from dynaip.evaluation.statistics import (
    cluster_bootstrap,
    cluster_bootstrap_mean,
    cluster_bootstrap_ratio,
    cluster_standard_error,
    compare,
    holm,
    mean_columns,
    permutation_test,
    product_columns,
    product_of_ratios,
    ratio,
    sign_flip_test,
    smallest_detectable_difference,
)


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


def test_products_are_the_naive_ones() -> None:
    cp, pf = np.array([1.0, 0.5, 0.0]), np.array([0.0, 0.5, 1.0])
    clusters = np.arange(3)
    of_means = cluster_bootstrap(product_columns(cp, pf), clusters, product_of_ratios)
    of_products = cluster_bootstrap_mean(cp * pf, clusters)
    assert of_means.value == pytest.approx(cp.mean() * pf.mean()) == 0.25
    assert of_products.value == pytest.approx(np.mean(cp * pf))


def test_what_is_missing_does_not_count() -> None:
    cp, pf = np.array([1.0, 0.5, np.nan]), np.array([0.2, np.nan, 0.4])
    clusters = np.arange(3)
    of_means = cluster_bootstrap(product_columns(cp, pf), clusters, product_of_ratios)
    assert cluster_bootstrap_mean(cp, clusters).value == 0.75
    assert of_means.value == pytest.approx(0.75 * 0.3)


def test_one_subject_has_no_interval() -> None:
    interval = cluster_bootstrap_mean(np.array([0.0, 1.0]), np.zeros(2))
    assert interval.value == 0.5
    assert np.isnan(interval[1:]).all()


def test_bootstrap_of_the_product_is_as_wide_as_the_delta_method_says() -> None:
    rng = np.random.default_rng(1)
    cp, pf = rng.normal(0.7, 0.2, 400), rng.normal(0.9, 0.1, 400)
    interval = cluster_bootstrap(product_columns(cp, pf), np.arange(400), product_of_ratios)
    error = np.std(cp * pf.mean() + pf * cp.mean()) / 20
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_three_subjects_that_all_improve_prove_little() -> None:
    better, worse = mean_columns(np.full(9, 0.9)), mean_columns(np.full(9, 0.8))
    # Two of the eight patterns of signs are as extreme: all plus and all minus.
    assert sign_flip_test(better, worse, np.repeat([0, 1, 2], 3), ratio) == 0.25


def test_sign_flips_are_exact_against_enumeration() -> None:
    first, second = np.random.default_rng(2).random((2, 24))
    clusters = np.repeat(np.arange(8), 3)
    sums = (first - second).reshape(8, 3).sum(1)
    seen = abs(sums.sum())
    count = sum(
        abs(np.dot(signs, sums)) >= seen - 1e-12 for signs in itertools.product((1, -1), repeat=8)
    )
    p = sign_flip_test(mean_columns(first), mean_columns(second), clusters, ratio)
    assert p == count / 2**8


def test_random_sign_flips_agree_with_the_normal_test() -> None:
    rng = np.random.default_rng(3)
    differences = rng.normal(0.2, 1, 100)
    zeros = np.zeros(100)
    p = sign_flip_test(mean_columns(differences), mean_columns(zeros), np.arange(100), ratio)
    z = differences.sum() / np.sqrt(np.square(differences).sum())
    assert p == pytest.approx(2 * (1 - NormalDist().cdf(abs(z))), abs=0.02)


def test_random_sign_flips_never_say_that_chance_is_ruled_out() -> None:
    better, worse = mean_columns(np.ones(40)), mean_columns(np.zeros(40))
    p = sign_flip_test(better, worse, np.arange(40), ratio, permutations=99)
    assert p == pytest.approx(1 / 100)


def test_p_values_of_equal_methods_are_uniform() -> None:
    rng = np.random.default_rng(4)
    clusters = np.repeat(np.arange(10), 3)
    p_values = [
        sign_flip_test(
            *(product_columns(rng.random(30), rng.random(30)) for _ in range(2)),
            clusters,
            product_of_ratios,
        )
        for _ in range(200)
    ]
    assert np.mean(np.array(p_values) < 0.1) == pytest.approx(0.1, abs=0.06)


def test_a_comparison_finds_what_is_there() -> None:
    rng = np.random.default_rng(5)
    subject = np.repeat(rng.normal(0, 0.2, 50), 9)
    noise = rng.normal(0, 0.05, (2, 450))
    clusters = np.repeat(np.arange(50), 9)
    first, second = mean_columns(0.6 + subject + noise[0]), mean_columns(0.5 + subject + noise[1])
    found = compare(first, second, clusters, ratio)
    assert found.difference.low < 0.1 < found.difference.high
    assert found.p < 0.001
    # The subjects' own differences cancel, because both methods are judged on the same ones.
    alone = cluster_bootstrap_mean(first[:, 0], clusters)
    assert found.difference.high - found.difference.low < (alone.high - alone.low) / 5
    assert found.detectable == pytest.approx(2.8 * 0.05 * np.sqrt(2 / 450), rel=0.2)


def test_nothing_in_common_is_not_a_number() -> None:
    nothing = np.zeros((0, 2))
    found = compare(nothing, nothing, np.zeros(0), ratio)
    assert np.isnan([*found.difference, found.p, found.detectable]).all()


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    adjusted = holm([np.nan, 0.02])
    assert np.isnan(adjusted[0])
    assert adjusted[1] == 0.02


def test_standard_error_without_clusters_is_the_plain_one() -> None:
    values = np.random.default_rng(6).random(30)
    expected = values.std(ddof=1) / np.sqrt(30)
    assert cluster_standard_error(values, np.arange(30)) == pytest.approx(expected)


def test_standard_error_of_two_ways_adds_both() -> None:
    rng = np.random.default_rng(7)
    voters, items = np.divmod(np.arange(40 * 30), 30)
    values = rng.normal(0, 1, 40)[voters] + rng.normal(0, 1, 30)[items] + rng.normal(0, 1, 1200)
    expected = np.sqrt(1 / 40 + 1 / 30)
    assert cluster_standard_error(values, voters, items) == pytest.approx(expected, rel=0.3)
    assert cluster_standard_error(values, voters) == pytest.approx(np.sqrt(1 / 40), rel=0.3)


def test_three_ways_are_refused() -> None:
    with pytest.raises(ValueError, match="one or two"):
        cluster_standard_error(np.ones(2), *[np.arange(2)] * 3)


def test_smallest_detectable_difference_of_a_full_benchmark() -> None:
    # 150 subjects, nine pictures each, paired sd 0.18, correlation 0.1 within a subject.
    error = 0.18 * np.sqrt((1 + 8 * 0.1) / 1350)
    assert error == pytest.approx(0.0066, abs=5e-5)
    assert smallest_detectable_difference(error) == pytest.approx(0.018, abs=5e-4)


def test_groups_differ_only_by_more_than_their_members() -> None:
    groups = np.array(["a", "b", "c"] * 3)
    same = np.array([1.0, 5, 3, 3, 1, 5, 5, 3, 1])
    assert permutation_test(same, groups) == 1
    apart = np.array([1.0, 5, 3, 1.1, 5.1, 3.1, 0.9, 4.9, 2.9])
    # Of 1680 ways to deal nine members to three groups, 3! keep these together.
    assert permutation_test(apart, groups) == pytest.approx(6 / 1680, abs=0.002)
    assert permutation_test(np.ones(9), groups) == 1
    # Of three pairs no p is lower, however far apart they are.
    pairs = np.array([0, 10, 20, 0.001, 10.001, 20.001])
    assert permutation_test(pairs, np.array(["a", "b", "c"] * 2)) == pytest.approx(1 / 15, abs=0.01)
