"""A factor's score: accuracy between a blind guess and the instrument's own ceiling."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from dynaip.evaluation.factors import blind_guess
from dynaip.evaluation.figures import MEASURABLE, Reading
from dynaip.evaluation.statistics import (
    NOT_MEASURED,
    Columns,
    Interval,
    Statistic,
    cluster_bootstrap,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FactorScore:
    """One factor.

    Attributes:
        accuracy: Share of pictures in which the wanted value is read.
        ceiling: The same on round-tripped renders of the same specs.
        chance: Accuracy of a blind guess.
        count: Pictures that it rests on.
        measurable: Whether it is read well enough; other factors are not averaged in.
    """

    accuracy: float
    ceiling: float
    chance: float
    count: int
    measurable: bool

    @property
    def normalised(self) -> float:
        """(acc - 1/V) / (C - 1/V), not clipped: 0 is chance, 1 is the ceiling."""
        room = self.ceiling - self.chance
        return (self.accuracy - self.chance) / room if room > 0 else math.nan


def factor_score(
    made: Reading,
    ceiling: Reading,
    factor: str,
    present: Bool[np.ndarray, " b"] | None = None,
    readable: Collection[str] | None = None,
) -> FactorScore:
    """Scores one factor.

    Args:
        made: What was read off the pictures.
        ceiling: What was read off round-tripped renders of the same specs.
        factor: Which.
        present: Where the subject was found at all; a missing one counts as wrong.
        readable: Factors that are read well enough, as more renders told than these; nothing takes
            those whose ceiling here is.
    """
    rows = made.counted(factor)
    right = _right(made, factor, present)[rows]
    best = ceiling.right(factor)[rows]
    share = float(best.mean()) if len(best) else math.nan
    well = share >= MEASURABLE if readable is None else factor in readable
    return FactorScore(
        accuracy=float(right.mean()) if len(right) else math.nan,
        ceiling=share,
        chance=blind_guess(factor, made.values[factor]),
        count=len(right),
        measurable=bool(len(right)) and well,
    )


def tier_interval(
    made: Reading,
    ceiling: Reading,
    tiers: Sequence[Mapping[str, FactorScore]],
    weights: Sequence[float],
    present: Bool[np.ndarray, " b"] | None = None,
) -> Interval:
    """A weighted sum of tiers' mean scores, with a bootstrap interval over subjects.

    Args:
        made: See `factor_score`.
        ceiling: See `factor_score`.
        tiers: The measurable factors of each tier.
        weights: Of each tier: a third each for a mean, 1 and -1 for a gap.
        present: See `factor_score`.

    Returns:
        Not-a-numbers where a tier has no measurable factor.
    """
    if not all(tiers):
        return NOT_MEASURED
    columns = tier_columns(made, ceiling, tiers, present)
    return cluster_bootstrap(columns, made.clusters, tier_statistic(made, tiers, weights))


def tier_columns(
    made: Reading,
    ceiling: Reading,
    tiers: Sequence[Mapping[str, FactorScore]],
    present: Bool[np.ndarray, " b"] | None = None,
) -> Columns:
    """What `tier_statistic` takes the sums of: right, best and counted of each factor."""
    factors = [factor for members in tiers for factor in members]
    return np.concatenate([_columns(made, ceiling, f, present) for f in factors], axis=1)


def tier_statistic(
    made: Reading, tiers: Sequence[Mapping[str, FactorScore]], weights: Sequence[float]
) -> Statistic:
    """The weighted sum of `tier_interval` as a function of the sums of `tier_columns`."""
    factors = [(factor, tier) for tier, members in enumerate(tiers) for factor in members]
    floors = np.array([blind_guess(factor, made.values[factor]) for factor, _ in factors])
    shares = np.array([weights[tier] / len(tiers[tier]) for _, tier in factors])

    def statistic(sums: Float[np.ndarray, "draws columns"]) -> Float[np.ndarray, " draws"]:
        with np.errstate(divide="ignore", invalid="ignore"):
            right, best, count = np.moveaxis(sums.reshape(len(sums), -1, 3), -1, 0)
            scores = (right / count - floors) / (best / count - floors)
        return scores @ shares

    return statistic


def _columns(
    made: Reading, ceiling: Reading, factor: str, present: Bool[np.ndarray, " b"] | None
) -> Float[np.ndarray, "b 3"]:
    rows = made.counted(factor)
    parts = (_right(made, factor, present) & rows, ceiling.right(factor) & rows, rows)
    return np.stack(parts, axis=1).astype(np.float64)


def _right(
    made: Reading, factor: str, present: Bool[np.ndarray, " b"] | None
) -> Bool[np.ndarray, " b"]:
    right = made.right(factor)
    return right if present is None else right & present
