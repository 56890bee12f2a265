"""Agreement between people, or between judges: Krippendorff's alpha."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped

Scale = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(
    values: Float[np.ndarray, " b"], units: Shaped[np.ndarray, " b"], scale: Scale
) -> float:
    """Krippendorff's alpha: 1 is agreement, 0 is what chance gives.

    Raters may be any number and need not rate everything; a unit that only one rated says nothing.

    Args:
        values: One rating per row.
        units: What each rating is of.
        scale: Which ratings count as near: `nominal` none, `ordinal` by rank, `interval` by the
            square of the difference.

    Returns:
        Not-a-number if no unit has two ratings, or if all ratings are the same.
    """
    levels, ratings = np.unique(values, return_inverse=True)
    _, members = np.unique(units, return_inverse=True)
    counts = np.zeros((members.max(initial=-1) + 1, len(levels)))
    np.add.at(counts, (members, ratings), 1)
    counts = counts[counts.sum(axis=1) > 1]
    # Coincidences: ordered pairs of ratings of one unit, each unit weighing as many as it has.
    weights = 1 / (counts.sum(axis=1) - 1)
    pairs = np.einsum("uc,uk,u->ck", counts, counts, weights) - np.diag(weights @ counts)
    totals = pairs.sum(axis=1)
    distance = _DISTANCES[scale](levels, totals)
    expected = float(totals @ distance @ totals)
    if expected == 0:
        return math.nan
    return 1 - (totals.sum() - 1) * float((pairs * distance).sum()) / expected


def _nominal(
    levels: Float[np.ndarray, " v"], totals: Float[np.ndarray, " v"]
) -> Float[np.ndarray, "v v"]:
    return 1 - np.eye(len(levels))


def _ordinal(
    levels: Float[np.ndarray, " v"], totals: Float[np.ndarray, " v"]
) -> Float[np.ndarray, "v v"]:
    """Squared number of ratings between two levels, half of each end counted."""
    ranks = np.cumsum(totals) - totals / 2
    return np.square(ranks[:, None] - ranks)


def _interval(
    levels: Float[np.ndarray, " v"], totals: Float[np.ndarray, " v"]
) -> Float[np.ndarray, "v v"]:
    return np.square(levels[:, None] - levels)


_Distance = Callable[[Float[np.ndarray, " v"], Float[np.ndarray, " v"]], Float[np.ndarray, "v v"]]
_DISTANCES: dict[Scale, _Distance] = {
    "nominal": _nominal,
    "ordinal": _ordinal,
    "interval": _interval,
}
