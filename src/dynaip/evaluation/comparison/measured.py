"""Metrics of methods side by side: what was measured, of which pictures, and by what."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from dynaip.evaluation.benchmarks.baselines import BASELINES
from dynaip.evaluation.benchmarks.results import Results, Wanted
from dynaip.evaluation.comparison.judged import METRIC, cluster
from dynaip.evaluation.comparison.paired import Tested, paired_table
from dynaip.evaluation.comparison.sources import Source
from dynaip.evaluation.scores import COMPLETE, ScoreRow, final_scores
from dynaip.evaluation.statistics import (
    Interval,
    cluster_bootstrap_mean,
    compare,
    mean_columns,
    ratio,
)
from dynaip.evaluation.tables import Table

_Picture = tuple[str, int]


class Measure(NamedTuple):
    """One measure by one scorer; those of two scorers cannot be compared."""

    name: str
    scorer: str

    @property
    def is_partial(self) -> bool:
        """Whether a picture may have none: no mask is known, or its case names no such factor."""
        return self.name.endswith("-masked") or self.name.startswith("truth-")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric of one method.

    Attributes:
        values: One for each picture that has one.
        pictures: These pictures.
        asked: How many of the method's pictures should have one.
    """

    values: Float[np.ndarray, " b"]
    pictures: tuple[Wanted, ...]
    asked: int

    @property
    def is_complete(self) -> bool:
        """Whether enough of the values are there for a mean."""
        return len(self.values) >= COMPLETE * self.asked

    def mean(self) -> Interval | None:
        """Over the pictures; nothing where some are missing."""
        if not self.is_complete:
            return None
        return cluster_bootstrap_mean(self.values, _clusters(self.pictures))

    def tested(self, name: str, other: Metric) -> Tested | None:
        """This one minus another method's, paired by picture; nothing where either is incomplete.

        Args:
            name: Of the metric.
            other: The other method's.
        """
        theirs = {
            (p.case.id, p.picture): v for p, v in zip(other.pictures, other.values, strict=True)
        }
        shared = [
            (value, theirs[picture.case.id, picture.picture], picture)
            for picture, value in zip(self.pictures, self.values, strict=True)
            if (picture.case.id, picture.picture) in theirs
        ]
        if not shared or not (self.is_complete and other.is_complete):
            return None
        own, others, pictures = zip(*shared, strict=True)
        clusters = _clusters(pictures)
        first, second = (mean_columns(np.array(values)) for values in (own, others))
        comparison = compare(first, second, clusters, ratio)
        return Tested(name, comparison, len(shared), len(set(clusters)))


def _clusters(pictures: Sequence[Wanted]) -> Shaped[np.ndarray, " b"]:
    return np.array([cluster(picture) for picture in pictures])


def metric_means(
    results: Results, rows: Sequence[ScoreRow]
) -> Mapping[Measure, tuple[Float[np.ndarray, " b"], list[Wanted]]]:
    """Each metric's value of each picture that has one, mean over its subjects."""
    wanted = {(picture.case.id, picture.picture): picture for picture in results.wanted()}
    values: dict[Measure, dict[_Picture, list[float]]] = {}
    for row in _metric_rows(rows):
        if row.score is not None:
            of_picture = values.setdefault(Measure(row.measure, row.scorer), {})
            of_picture.setdefault((row.case, row.picture), []).append(row.score)
    return {
        measure: (
            np.array([np.mean(scores) for scores in of_picture.values()]),
            [wanted[key] for key in of_picture],
        )
        for measure, of_picture in values.items()
    }


def _metric_rows(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    return list(final_scores(row for row in rows if row.protocol == METRIC).values())


def metric_table(sources: Sequence[Source]) -> Table:
    """Mean of each metric of each method, as measured; none where a method lacks pictures."""
    found = _metrics(sources)
    names = _column_names(found)
    rows = []
    for method, measured in found.items():
        cells = [measured[m].mean() if m in measured else None for m in names]
        if measured:
            rows.append((method, *cells, max(len(each.values) for each in measured.values())))
    notes = ["Intervals are of 95 %, by a bootstrap over subjects, or over tuples of them."]
    if not found.keys() & set(BASELINES.values()):
        notes.append(
            "The ends of the scale are missing: they are answers like any other, `dynaip bench "
            "baseline copy` and `real`."
        )
    for method, measured in found.items():
        if without := [name for measure, name in names.items() if measure not in measured]:
            notes.append(f"{method} has no {', '.join(without)}: score it as the others were.")
    notes += [
        f"{method} lacks {each.asked - len(each.values)} of {each.asked} values of "
        f"{names[measure]}; a mean over those that it has would reward leaving failures out."
        for method, measured in found.items()
        for measure, each in measured.items()
        if not each.is_complete
    ]
    return Table(
        title="Metrics",
        columns=("method", *names.values(), "pictures"),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def metric_test_table(sources: Sequence[Source], against: str | None = None) -> Table:
    """Each metric of each method against the chosen one's, on the pictures that both have."""
    found = {name: measured for name, measured in _metrics(sources).items() if measured}
    names = _column_names(found)
    chosen = against if against in found else next(iter(found), "")
    tests = [
        ((method,), tested)
        for method, measured in found.items()
        for measure, each in measured.items()
        if method != chosen
        and measure in found[chosen]
        and (tested := each.tested(names[measure], found[chosen][measure]))
    ]
    return paired_table(f"Metrics against {chosen}", chosen, ["method"], tests)


def _column_names(found: Mapping[str, Mapping[Measure, Metric]]) -> dict[Measure, str]:
    """What each measure is called, in order; with its scorer where another one has measured it."""
    measures = sorted({measure for measured in found.values() for measure in measured})
    names = [measure.name for measure in measures]
    return {
        measure: measure.name if names.count(measure.name) == 1 else "{} ({})".format(*measure)
        for measure in measures
    }


def _metrics(sources: Sequence[Source]) -> dict[str, dict[Measure, Metric]]:
    """Every metric by method; each is asked for all pictures that can have it."""
    means = {s.results.method.name: metric_means(s.results, s.rows) for s in sources}
    without = _without(sources, means.values())
    return {
        source.results.method.name: {
            measure: Metric(
                values=values,
                pictures=tuple(pictures),
                asked=len(set(map(_key, source.results.wanted())) - without[measure]),
            )
            for measure, (values, pictures) in means[source.results.method.name].items()
        }
        for source in sources
    }


def _without(
    sources: Sequence[Source],
    means: Iterable[Mapping[Measure, tuple[Float[np.ndarray, " b"], list[Wanted]]]],
) -> dict[Measure, set[_Picture]]:
    """The pictures that cannot have a measure: its scorer saw some method's, and gave none."""
    seen: dict[str, set[_Picture]] = {}
    for source in sources:
        for row in _metric_rows(source.rows):
            seen.setdefault(row.scorer, set()).add((row.case, row.picture))
    having: dict[Measure, set[_Picture]] = {}
    for measured in means:
        for measure, (_, pictures) in measured.items():
            having.setdefault(measure, set()).update(map(_key, pictures))
    return {
        measure: seen[measure.scorer] - pictures if measure.is_partial else set()
        for measure, pictures in having.items()
    }


def _key(picture: Wanted) -> _Picture:
    return picture.case.id, picture.picture
