"""What the votes say: advantage ratios, and a common scale for all methods."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from dynaip.evaluation.statistics import (
    Interval,
    cluster_bootstrap_ratio,
    cluster_standard_error,
    mean_columns,
    ratio,
    sign_flip_test,
)
from dynaip.evaluation.study.davidson import fit_davidson
from dynaip.evaluation.study.votes import Judgement

RESAMPLES = 2000
# A fit for each resample; so many settle the second digit of its interval.
FIT_RESAMPLES = 300
# Outcomes on one line, so that a tie lies between the preferences.
ORDER = {"lose": -1.0, "tie": 0.0, "win": 1.0}


class Preference(NamedTuple):
    """A competitor on the scale of Davidson's model.

    Attributes:
        competitor: Its name.
        preferred: Probability that it is preferred to ours where one of the two is.
        ties: ν of the model.
    """

    competitor: str
    preferred: Interval
    ties: float


class Advantage(NamedTuple):
    """A competitor's adjusted advantage ratio over our method, for one question.

    Attributes:
        win: Votes for the competitor.
        tie: Votes for neither.
        lose: Votes for us.
        ratio: (win + tie) / (lose + tie) with its interval over voters; below 1 we are preferred.
        both_ways: The ratio with an interval over voters and items.
        p: Of a ratio of 1: a sign-flip test over voters.
    """

    win: int
    tie: int
    lose: int
    ratio: Interval
    both_ways: Interval
    p: float


def advantage(judgements: Sequence[Judgement], seed: int = 0) -> Advantage:
    """The ratio of one competitor and one question."""
    outcomes = np.array([ORDER[judgement.outcome] for judgement in judgements])
    voters = np.array([judgement.voter for judgement in judgements])
    items = np.array([judgement.item for judgement in judgements])
    win, tie, lose = (outcomes == 1.0), (outcomes == 0.0), (outcomes == -1.0)
    theirs, ours = (win | tie).astype(float), (lose | tie).astype(float)
    # The ratio can be infinite in a resample; the share that it is a function of cannot.
    share = cluster_bootstrap_ratio(theirs, theirs + ours, voters, resamples=RESAMPLES, seed=seed)
    found = Interval(*(_odds(part) for part in share))
    wins, losses = (mean_columns(part.astype(float)) for part in (win, lose))
    return Advantage(
        win=int(win.sum()),
        tie=int(tie.sum()),
        lose=int(lose.sum()),
        ratio=found,
        both_ways=_interval_both_ways(found.value, theirs, ours, voters, items),
        p=sign_flip_test(wins, losses, voters, ratio, seed=seed),
    )


def _odds(share: float) -> float:
    return math.inf if share == 1 else share / (1 - share)


def _interval_both_ways(
    value: float,
    theirs: Float[np.ndarray, " b"],
    ours: Float[np.ndarray, " b"],
    voters: Shaped[np.ndarray, " b"],
    items: Shaped[np.ndarray, " b"],
) -> Interval:
    """Normal on the scale of the ratio's logarithm, by the delta method."""
    if not 0 < value < math.inf:
        return Interval(value, math.nan, math.nan)
    influence = theirs / theirs.mean() - ours / ours.mean()
    error = 1.96 * cluster_standard_error(influence, voters, items)
    return Interval(value, value * math.exp(-error), value * math.exp(error))


def davidson_scale(competitors: Sequence[str], votes: Sequence[Judgement]) -> Iterator[Preference]:
    """Each competitor that has votes, in one fit of all votes, with intervals over voters."""
    wins, ties = _counts_by_voter(competitors, votes)
    count = len(wins)
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), FIT_RESAMPLES)
    weights = np.concatenate([np.ones((1, count)), draws])
    fit = fit_davidson(*(np.tensordot(weights, part, 1) for part in (wins, ties)))
    seen = {judgement.competitor for judgement in votes}
    for index, name in enumerate(competitors, start=1):
        if name not in seen:
            continue
        value, *resampled = fit.preferred(index, 0)
        ends = np.nanquantile(resampled, [0.025, 0.975]) if count > 1 else [math.nan] * 2
        yield Preference(name, Interval(float(value), *map(float, ends)), float(fit.ties[0]))


def _counts_by_voter(
    competitors: Sequence[str], votes: Sequence[Judgement]
) -> tuple[Float[np.ndarray, "voters m m"], Float[np.ndarray, "voters m m"]]:
    """Ours is method 0."""
    names, members = np.unique([vote.voter for vote in votes], return_inverse=True)
    size = len(competitors) + 1
    wins, ties = np.zeros((2, len(names), size, size))
    for voter, vote in zip(members, votes, strict=True):
        other = competitors.index(vote.competitor) + 1
        if vote.outcome == "tie":
            ties[voter, other, 0] += 1
            ties[voter, 0, other] += 1
        else:
            preferred = (other, 0) if vote.outcome == "win" else (0, other)
            wins[(voter, *preferred)] += 1
    return wins, ties
