"""Estimates, intervals and tests for measures that rest on a sample of subjects.

Pictures of one subject succeed and fail together, so whole subjects (*clusters*) are what is drawn,
flipped and counted here, never single pictures.

Every estimate is a function of the sums of a few columns, one row per picture: a mean is the sum of
a column over the number of rows. That makes one bootstrap and one test serve them all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

Columns = Float[np.ndarray, "b columns"]
# From sums of the columns, a row per draw, to an estimate for each.
Statistic = Callable[[Float[np.ndarray, "draws columns"]], Float[np.ndarray, " draws"]]

# Up to so many clusters every pattern of signs is tried, so that the test is exact.
EXACT_CLUSTERS = 14


class Interval(NamedTuple):
    """An estimate and the ends of its confidence interval."""

    value: float
    low: float
    high: float


class Comparison(NamedTuple):
    """One method's estimate minus another's, on the same cases.

    Attributes:
        difference: With its interval.
        p: Of the sign-flip test, two-sided.
        detectable: The smallest true difference that such a sample would find.
    """

    difference: Interval
    p: float
    detectable: float


NOT_MEASURED = Interval(math.nan, math.nan, math.nan)


def ratio(sums: Float[np.ndarray, "draws 2"]) -> Float[np.ndarray, " draws"]:
    """The first column over the second; with a second column of ones, the mean of the first."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums[..., 0] / sums[..., 1]


def product_of_ratios(sums: Float[np.ndarray, "draws 4"]) -> Float[np.ndarray, " draws"]:
    """First column over second, times third over fourth: CP·PF as the paper prints it."""
    return ratio(sums[:, :2]) * ratio(sums[:, 2:])


def mean_columns(values: Float[np.ndarray, " b"]) -> Float[np.ndarray, "b 2"]:
    """Columns whose `ratio` is the mean of the values that are there: not those not-a-number."""
    there = np.isfinite(values)
    return np.stack([np.where(there, values, 0.0), there], axis=1)


def product_columns(
    first: Float[np.ndarray, " b"], second: Float[np.ndarray, " b"]
) -> Float[np.ndarray, "b 4"]:
    """Columns whose `product_of_ratios` is the product of both means.

    The *mean of products* is the `ratio` of `mean_columns(first * second)`.
    """
    return np.concatenate([mean_columns(first), mean_columns(second)], axis=1)


def cluster_bootstrap(
    columns: Columns,
    clusters: Shaped[np.ndarray, " b"],
    statistic: Statistic,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """An estimate with a percentile interval over resamples of whole clusters.

    Args:
        columns: One row per picture; rows are kept whole.
        clusters: The subject that each row belongs to.
        statistic: Of the columns' sums.
        resamples: Bootstrap samples.
        level: Coverage of the interval.
        seed: Of the resampling.

    Returns:
        Not-a-numbers if there are no rows or the estimate does not exist; ends of not-a-numbers if
        there is one cluster only.
    """
    value = float(statistic(columns.sum(axis=0, keepdims=True))[0]) if len(columns) else math.nan
    if math.isnan(value):
        return NOT_MEASURED
    draws = bootstrap_draws(columns, clusters, statistic, resamples=resamples, seed=seed)
    return Interval(value, *_percentiles(draws, level))


def cluster_bootstrap_ratio(
    numerator: Float[np.ndarray, " b"],
    denominator: Float[np.ndarray, " b"],
    clusters: Shaped[np.ndarray, " b"],
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Sum of one measure over the sum of another, with a percentile interval.

    Both measures of a picture stay together, because they are of the same spec.

    Args:
        numerator: One number per picture, e.g. 1 where a generated picture is right.
        denominator: Likewise, e.g. 1 where the probe is right on the real render; ones for a mean.
        clusters: The subject that each picture is of.
        resamples: Bootstrap samples.
        level: Coverage of the interval.
        seed: Of the resampling.

    Returns:
        Not-a-numbers if there are no pictures or the denominators sum to zero.
    """
    if not len(numerator) or denominator.sum() == 0:
        return NOT_MEASURED
    columns = np.stack([numerator, denominator], axis=1)
    return cluster_bootstrap(columns, clusters, ratio, resamples=resamples, level=level, seed=seed)


def cluster_bootstrap_mean(
    values: Float[np.ndarray, " b"], clusters: Shaped[np.ndarray, " b"], *, seed: int = 0
) -> Interval:
    """The mean over pictures that have a value, with a 95 % interval over clusters."""
    return cluster_bootstrap(mean_columns(values), clusters, ratio, seed=seed)


def bootstrap_draws(
    columns: Columns,
    clusters: Shaped[np.ndarray, " b"],
    statistic: Statistic,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Float[np.ndarray, " draws"]:
    """The estimate in each bootstrap sample; samples without a finite estimate are left out.

    A single cluster says nothing of others: there are no draws then.
    """
    sums = cluster_sums(columns, clusters)
    count = len(sums)
    if count == 1:
        return np.zeros(0)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
    draws = statistic(weights @ sums)
    return draws[np.isfinite(draws)]


def compare(
    first: Columns,
    second: Columns,
    clusters: Shaped[np.ndarray, " b"],
    statistic: Statistic,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """How much larger the first method's estimate is than the second's, on the same rows.

    Args:
        first: One method's columns.
        second: The other's; a row is the same case, seed and subject as in `first`.
        clusters: The subject that each row belongs to.
        statistic: Of one method's sums.
        resamples: Bootstrap samples; also random sign patterns of the test, five times as many.
        seed: Of both.
    """
    difference = difference_statistic(statistic, statistic, first.shape[1])
    if not len(first):
        return Comparison(NOT_MEASURED, math.nan, math.nan)
    both = np.concatenate([first, second], axis=1)
    draws = bootstrap_draws(both, clusters, difference, resamples=resamples, seed=seed)
    interval = Interval(
        float(difference(both.sum(axis=0, keepdims=True))[0]), *_percentiles(draws, 0.95)
    )
    p = sign_flip_test(first, second, clusters, statistic, permutations=5 * resamples, seed=seed)
    error = float(draws.std(ddof=1)) if len(draws) > 1 else math.nan
    return Comparison(interval, p, smallest_detectable_difference(error))


def difference_statistic(first: Statistic, second: Statistic, width: int) -> Statistic:
    """One statistic less another, of the sums of columns that lie side by side, `width` before."""

    def difference(sums: Float[np.ndarray, "draws columns"]) -> Float[np.ndarray, " draws"]:
        with np.errstate(invalid="ignore"):
            return first(sums[..., :width]) - second(sums[..., width:])

    return difference


def sign_flip_test(
    first: Columns,
    second: Columns,
    clusters: Shaped[np.ndarray, " b"],
    statistic: Statistic,
    *,
    permutations: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of no difference between two methods judged on the same rows.

    If the methods were alike, swapping their names on all pictures of a subject would change
    nothing but chance. For means that is flipping the sign of the subject's differences; for other
    estimates the columns are swapped, which is the same idea. With few clusters all patterns are
    tried, and the p-value is exact; otherwise it counts the pattern that was seen among the random
    ones, so that it is never zero.

    Returns:
        Not-a-number if there are no rows, or the estimates do not exist.
    """
    if not len(first):
        return math.nan
    one, other = cluster_sums(first, clusters), cluster_sums(second, clusters)
    middle, half = (one + other).sum(axis=0) / 2, (one - other) / 2
    signs = _sign_patterns(len(one), permutations, seed)
    shift = np.vstack([half.sum(axis=0), signs @ half])
    seen, flipped = np.split(np.abs(statistic(middle + shift) - statistic(middle - shift)), [1])
    if math.isnan(seen[0]):
        return math.nan
    # Patterns that tie with what was seen differ from it by rounding only.
    extreme = int((flipped >= seen - 1e-9).sum())
    if len(one) <= EXACT_CLUSTERS:
        return extreme / len(signs)
    return (extreme + 1) / (len(signs) + 1)


def _sign_patterns(
    clusters: int, permutations: int, seed: int
) -> Int[np.ndarray, "patterns clusters"]:
    if clusters <= EXACT_CLUSTERS:
        return np.array(list(itertools.product((1, -1), repeat=clusters)))
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([1, -1], dtype=np.int8), (permutations, clusters))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment: p-values that can be compared with a level as one family.

    A not-a-number is of a test that was not made; it stays, and does not count.
    """
    made = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    running = 0.0
    for rank, (p, index) in enumerate(made):
        running = max(running, min(1.0, p * (len(made) - rank)))
        adjusted[index] = running
    return adjusted


def permutation_test(
    values: Float[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"], draws: int = 9999
) -> float:
    """Whether groups differ by more than their members do among each other: its p.

    Members change groups at random; what is compared is the variance of the groups' means.

    Args:
        values: One for each member.
        groups: The group of each, all equally large.
        draws: Random permutations, beside the one that was found.
    """
    order = np.argsort(groups, kind="stable")
    count = len(np.unique(groups))
    rng = np.random.default_rng(0)
    shuffled = rng.permuted(np.tile(values[order], (draws + 1, 1)), axis=1)
    shuffled[0] = values[order]
    spread = shuffled.reshape(draws + 1, count, -1).mean(2).var(1)
    # As great but for rounding.
    return float((spread >= spread[0] * (1 - 1e-9)).mean())


def cluster_standard_error(
    values: Float[np.ndarray, " b"], *clusters: Shaped[np.ndarray, " b"]
) -> float:
    """Standard error of a mean whose rows are dependent within clusters.

    Args:
        values: One number per row.
        clusters: What the rows share: one array for subjects; two for rows that share a voter with
            some rows and an item with others. Then the variances of both ways add up, less that of
            the rows that share both (Cameron, Gelbach and Miller 2011).

    Returns:
        Not-a-number if there is one cluster only.

    Raises:
        ValueError: There are more than two ways.
    """
    if len(clusters) not in (1, 2):
        raise ValueError("Give one or two arrays of clusters.")
    centred = (values - values.mean())[:, None]

    def variance(labels: Shaped[np.ndarray, " b"]) -> float:
        sums = cluster_sums(centred, labels)
        if len(sums) == 1:
            return math.nan
        return len(sums) / (len(sums) - 1) * float(np.square(sums).sum()) / len(values) ** 2

    if len(clusters) == 1:
        return math.sqrt(variance(clusters[0]))
    each = [np.unique(labels, return_inverse=True)[1] for labels in clusters]
    shared = each[0] * (each[1].max() + 1) + each[1]
    # By chance the shared part can exceed the sum; the larger single way is then the better guess.
    ways = [variance(labels) for labels in each]
    return math.sqrt(max(sum(ways) - variance(shared), *ways))


def smallest_detectable_difference(
    standard_error: float, *, level: float = 0.95, power: float = 0.8
) -> float:
    """The true difference that a two-sided test at `level` finds with probability `power`."""
    normal = NormalDist()
    return (normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)) * standard_error


def cluster_sums(
    columns: Columns, clusters: Shaped[np.ndarray, " b"]
) -> Float[np.ndarray, "clusters columns"]:
    """Sums of each column within each cluster, in the order of the clusters' labels."""
    _, members = np.unique(clusters, return_inverse=True)
    count = members.max() + 1
    return np.stack([np.bincount(members, column, count) for column in columns.T], axis=1)


def _percentiles(draws: Float[np.ndarray, " draws"], level: float) -> tuple[float, float]:
    if not len(draws):
        return math.nan, math.nan
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)
