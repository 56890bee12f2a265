"""CP, PF and both products of a set of pictures: an interval, or bounds where judges failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from dynaip.evaluation.comparison.judged import Judged, Scores
from dynaip.evaluation.comparison.paired import Tested
from dynaip.evaluation.scores import COMPLETE
from dynaip.evaluation.statistics import (
    Comparison,
    Interval,
    cluster_bootstrap,
    cluster_bootstrap_mean,
    compare,
    mean_columns,
    product_columns,
    product_of_ratios,
    ratio,
)
from dynaip.evaluation.tables import Bounds

Estimated = Interval | Bounds | None


class Estimates(NamedTuple):
    """What a row of Table 1 says, and how much of it was judged.

    Attributes:
        cp: Concept preservation.
        pf: Prompt following.
        product: CP·PF, the product of both means, as the paper prints it.
        of_products: The mean of each picture's own product.
        coverage: Share of the scores that there should be.
        pictures: That the row is about.
        clusters: Subjects, or tuples of them, that they show: what the bootstrap draws.
    """

    cp: Estimated
    pf: Estimated
    product: Estimated
    of_products: Estimated
    coverage: float
    pictures: int
    clusters: int


def estimates(
    method: Judged, rows: Bool[np.ndarray, " b"], judge: int | None = None
) -> Estimates | None:
    """The estimates of some of a method's pictures.

    Args:
        method: The judgements.
        rows: Which pictures.
        judge: Only this one; the mean of all otherwise.

    Returns:
        Nothing if there is no such picture.
    """
    if not rows.any():
        return None
    cp, pf = method.cp[rows], method.pf[rows]
    if judge is not None:
        cp, pf = cp.by(judge), pf.by(judge)
    clusters = method.clusters[rows]
    asked = int(cp.asked.sum() + pf.asked.sum())
    return Estimates(
        cp=_mean(cp, clusters),
        pf=_mean(pf, clusters),
        product=_product(cp, pf, clusters),
        of_products=_mean_of_products(cp, pf, clusters),
        coverage=int(cp.scored.sum() + pf.scored.sum()) / asked if asked else 0.0,
        pictures=int(rows.sum()),
        clusters=len(set(clusters)),
    )


def is_covered(*measures: Scores) -> bool:
    """Whether enough of these scores are there for a mean."""
    return all(scores.coverage >= COMPLETE for scores in measures)


def _mean(scores: Scores, clusters: np.ndarray) -> Estimated:
    if not scores.asked.any():
        return None
    if not is_covered(scores):
        return Bounds(*(float(np.nanmean(end)) for end in scores.ends()))
    return cluster_bootstrap_mean(scores.panel(), clusters)


def _product(cp: Scores, pf: Scores, clusters: np.ndarray) -> Estimated:
    if not (cp.asked.any() and pf.asked.any()):
        return None
    if not is_covered(cp, pf):
        ends = zip(cp.ends(), pf.ends(), strict=True)
        return Bounds(*(float(np.nanmean(a) * np.nanmean(b)) for a, b in ends))
    columns = product_columns(cp.panel(), pf.panel())
    return cluster_bootstrap(columns, clusters, product_of_ratios)


def _mean_of_products(cp: Scores, pf: Scores, clusters: np.ndarray) -> Estimated:
    if not (cp.asked.any() and pf.asked.any()):
        return None
    if not is_covered(cp, pf):
        ends = zip(cp.ends(), pf.ends(), strict=True)
        return Bounds(*(float(np.nanmean(a * b)) for a, b in ends))
    return cluster_bootstrap_mean(cp.panel() * pf.panel(), clusters)


def compared(
    method: Judged,
    chosen: Judged,
    rows: Bool[np.ndarray, " b"],
) -> Sequence[Tested]:
    """Paired comparisons on the pictures that both methods were judged on, by the same judges.

    Args:
        method: The method of the row.
        chosen: The method that it is compared with.
        rows: Which of the method's pictures.

    Returns:
        Nothing where no judge saw both, or a method's coverage allows no mean.
    """
    ours = {(case.id, number): index for index, (case, number, _) in enumerate(chosen.pictures)}
    pairs = [
        (index, ours[case.id, number])
        for index, (case, number, _) in enumerate(method.pictures)
        if rows[index] and (case.id, number) in ours
    ]
    if not pairs:
        return []
    their_rows, our_rows = map(np.array, zip(*pairs, strict=True))
    measured = [
        _by_same_judges((method.judges, theirs[their_rows]), (chosen.judges, own[our_rows]))
        for theirs, own in ((method.cp, chosen.cp), (method.pf, chosen.pf))
    ]
    theirs, own = zip(*measured, strict=True)
    clusters = method.clusters[their_rows]
    found = []
    for name, measures in (("CP", [0]), ("PF", [1]), ("CP·PF", [0, 1])):
        if not is_covered(*(side[index] for side in (theirs, own) for index in measures)):
            continue
        panels = [[side[index].panel() for index in measures] for side in (theirs, own)]
        there = np.isfinite([panel for side in panels for panel in side]).all(axis=0)
        first, second = ([panel[there] for panel in side] for side in panels)
        comparison = _compare(first, second, clusters[there])
        counts = int(there.sum()), len(set(clusters[there]))
        found.append(Tested(name, comparison, *counts))
    return found


def _by_same_judges(*sides: tuple[Sequence[str], Scores]) -> list[Scores]:
    """One measure of both methods, by the judges that were asked for it on both."""
    asked = [{names[index] for index in scores.judges()} for names, scores in sides]
    shared = sorted(set.intersection(*asked))
    return [scores.by(*map(names.index, shared)) for names, scores in sides]


def _compare(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], clusters: np.ndarray
) -> Comparison:
    if len(first) == 1:
        return compare(mean_columns(*first), mean_columns(*second), clusters, ratio)
    return compare(product_columns(*first), product_columns(*second), clusters, product_of_ratios)
