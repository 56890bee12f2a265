"""M5 and M6: trade-offs, and what HMoE-FFM's router and its manual coefficients do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped

from dynaip.evaluation.statistics import Interval, Statistic, cluster_bootstrap_mean, ratio


def frontier_area(
    cp: Sequence[float] | Float[np.ndarray, " n"], pf: Sequence[float] | Float[np.ndarray, " n"]
) -> float:
    """Area under the frontier of (CP, PF) points, such as those of a sweep over lambda (M5).

    A point stands for all that is no better in either: the area is that of the union of the
    rectangles from the origin. Points below 0 count as 0.
    """
    points = sorted(zip(np.clip(cp, 0, None), np.clip(pf, 0, None), strict=True), reverse=True)
    area, height = 0.0, 0.0
    for right, up in points:
        if up > height:
            area += right * (up - height)
            height = up
    return float(area)


def frontier_statistic(ways: int, preserved: Statistic) -> Statistic:
    """`frontier_area` of CP and retention, of the sums of columns that lie side by side.

    A frontier picks the best of its points, luck included: areas and their intervals lie rather too
    high than too low.

    Args:
        ways: Points of the sweep.
        preserved: CP, of the sums of one way's columns.

    Returns:
        Of the sums of: two columns whose `ratio` is the base's PF, and for each way those of CP and
        two whose `ratio` is its PF. Not a number where a point has none.
    """

    def area(sums: Float[np.ndarray, "draws columns"]) -> Float[np.ndarray, " draws"]:
        before, each = ratio(sums[:, :2]), np.split(sums[:, 2:], ways, axis=1)
        cp = np.stack([preserved(way[:, :-2]) for way in each], axis=1)
        retention = np.stack([ratio(way[:, -2:]) for way in each], axis=1) / before[:, None]
        areas = [frontier_area(*points) for points in zip(cp, retention, strict=True)]
        return np.where(np.isfinite(cp + retention).all(axis=1), areas, np.nan)

    return area


def router_response(
    plain: Float[np.ndarray, "b l"],
    detailed: Float[np.ndarray, "b l"],
    clusters: Shaped[np.ndarray, " b"],
) -> tuple[Interval, ...]:
    """E[Δw] of each level when a detail is added to the same subject (M6a).

    Args:
        plain: The router's coefficients for the subject without it.
        detailed: With it.
        clusters: The subject of each pair.
    """
    return tuple(cluster_bootstrap_mean(change, clusters) for change in (detailed - plain).T)


def shuffled_response(
    plain: Float[np.ndarray, "b l"],
    detailed: Float[np.ndarray, "b l"],
    clusters: Shaped[np.ndarray, " b"],
    seed: int = 0,
) -> tuple[Interval, ...]:
    """The control: the same, with the two of each pair in random order. It should hold 0."""
    sign = np.random.default_rng(seed).choice([-1, 1], len(plain))[:, None]
    middle, half = (plain + detailed) / 2, (detailed - plain) / 2
    return router_response(middle - sign * half, middle + sign * half, clusters)


def isotonic_slope(weights: Sequence[float], scores: Sequence[float]) -> float:
    """Rise of the best non-decreasing fit over the range of a coefficient (M6b).

    Scores of equal weight count as their mean. Pools adjacent violators; 0 where raising the
    coefficient never helps.
    """
    x = np.unique(weights)
    of_weight = [np.asarray(scores, float)[np.asarray(weights) == weight] for weight in x]
    pools: list[list[float]] = []
    for values in of_weight:
        pools.append([float(values.mean()), len(values)])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (above, n), (below, m) = pools[-2:]
            pools[-2:] = [[(above * n + below * m) / (n + m), n + m]]
    return (pools[-1][0] - pools[0][0]) / float(x[-1] - x[0])


def slope_statistic(weights: Sequence[float], score: Statistic) -> Statistic:
    """Slope of the least-squares line of a tier, of the sums of all ways' columns side by side.

    It may be negative, so that chance pulls it either way; `isotonic_slope` it only lifts.

    Args:
        weights: The coefficient of each way.
        score: The tier's, of the sums of one way's columns.
    """
    centred = np.subtract(weights, np.mean(weights))

    def slope(sums: Float[np.ndarray, "draws columns"]) -> Float[np.ndarray, " draws"]:
        each = np.split(sums, len(weights), axis=1)
        scores = np.stack([score(way) for way in each], axis=1)
        with np.errstate(invalid="ignore"):
            return scores @ centred / np.square(centred).sum()

    return slope
