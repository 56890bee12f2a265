"""Intervals for figures that rest on a sample of subjects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped


class Interval(NamedTuple):
    """An estimate and the ends of its confidence interval."""

    value: float
    low: float
    high: float


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

    Whole clusters are drawn, because pictures of one subject succeed and fail together, and both
    measures of a picture stay together, because they are of the same spec.

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
        return Interval(np.nan, np.nan, np.nan)
    _, members = np.unique(clusters, return_inverse=True)
    count = members.max() + 1
    sums = np.stack([np.bincount(members, x, count) for x in (numerator, denominator)], axis=1)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
    tops, bottoms = (draws @ sums).T
    ratios = tops[bottoms > 0] / bottoms[bottoms > 0]
    tail = (1 - level) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return Interval(float(numerator.sum() / denominator.sum()), float(low), float(high))
