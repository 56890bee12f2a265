"""M1: what is kept of a subject, by tier, and whether fine detail is lost before coarse."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool

from dynaip.evaluation.figures import Reading
from dynaip.evaluation.statistics import Interval
from dynaip.evaluation.truth.scores import FactorScore, factor_score, tier_interval

TIERS: dict[str, tuple[str, ...]] = {
    "coarse": ("category", "main_colour"),
    "mid": ("pattern", "second_colour"),
    "fine": ("glyph", "mark"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preservation:
    """Concept preservation.

    Attributes:
        factors: Every concept-specific factor's score.
        tiers: Mean score of the measurable factors of each tier.
        overall: CP_gt, the mean of the tiers.
        detail_gap: Coarse minus fine; 0 where nothing is lost selectively.
    """

    factors: Mapping[str, FactorScore]
    tiers: Mapping[str, Interval]
    overall: Interval
    detail_gap: Interval


def preservation(
    made: Reading,
    ceiling: Reading,
    present: Bool[np.ndarray, " b"] | None = None,
    readable: Collection[str] | None = None,
) -> Preservation:
    """CP by tier (M1); a tier that cannot be measured makes all that rests on it not-a-number.

    Args:
        made: What was read off the pictures.
        ceiling: What was read off round-tripped renders of the same specs.
        present: Where the subject was found; a missing one scores 0 (intention to treat).
        readable: See `factor_score`.
    """
    scores = concept_scores(made, ceiling, present, readable)
    tiers = measurable_tiers(scores)

    def interval(names: Sequence[str], weights: Sequence[float]) -> Interval:
        return tier_interval(made, ceiling, [tiers[name] for name in names], weights, present)

    return Preservation(
        factors=scores,
        tiers={tier: interval([tier], [1.0]) for tier in TIERS},
        overall=interval(list(TIERS), [1 / len(TIERS)] * len(TIERS)),
        detail_gap=interval(["coarse", "fine"], [1.0, -1.0]),
    )


def concept_scores(
    made: Reading,
    ceiling: Reading,
    present: Bool[np.ndarray, " b"] | None = None,
    readable: Collection[str] | None = None,
) -> dict[str, FactorScore]:
    """The score of every factor that the tiers hold; see `preservation`."""
    return {
        factor: factor_score(made, ceiling, factor, present, readable)
        for factors in TIERS.values()
        for factor in factors
        if factor in made.values
    }


def measurable_tiers(scores: Mapping[str, FactorScore]) -> dict[str, dict[str, FactorScore]]:
    """The measurable factors of each tier."""
    return {
        tier: {f: scores[f] for f in factors if f in scores and scores[f].measurable}
        for tier, factors in TIERS.items()
    }


def glyph_similarity(read: str, wanted: str) -> float:
    """1 - Levenshtein distance over the longer length; 1 for equal strings, also empty ones."""
    previous = list(range(len(wanted) + 1))
    for row, letter in enumerate(read, 1):
        current = [row]
        for column, other in enumerate(wanted, 1):
            substituted = previous[column - 1] + (letter != other)
            current.append(min(previous[column] + 1, current[-1] + 1, substituted))
        previous = current
    return 1 - previous[-1] / max(len(read), len(wanted), 1)


def discriminability(correct: float, count: int) -> float:
    """D' of a two-alternative choice: sqrt(2) times the normal quantile of P(correct).

    A perfect or an entirely wrong score is moved by half a trial, so that it is finite.
    """
    half = 0.5 / count
    return math.sqrt(2) * NormalDist().inv_cdf(min(max(correct, half), 1 - half))
