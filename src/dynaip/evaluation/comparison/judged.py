"""One method's judgements, arranged by picture, with what is missing kept in sight."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from dynaip.evaluation.benchmarks.results import Results, Wanted
from dynaip.evaluation.judges.protocols import PROTOCOLS
from dynaip.evaluation.scores import ScoreRow, final_scores

# Scores of metrics stand in the same files; they are no judgements.
METRIC = "metric"


def cluster(picture: Wanted) -> str:
    """The subjects of a picture: what is drawn anew in a bootstrap."""
    return repr([(subject.name, subject.references) for subject in picture.case.subjects])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """One measure of all pictures by all judges, from 0 to 1.

    A picture's score is the mean over its subjects, and over repeats of the judgement.

    Attributes:
        values: Not-a-number where a subject has no score.
        low: With 0 for every score that is missing.
        high: With 1 for every score that is missing.
        asked: Scores that there should be; 0 where the judge was not asked for this measure, or
            knew nothing to ask about a picture.
        scored: Scores that there are.
    """

    values: Float[np.ndarray, "b judges"]
    low: Float[np.ndarray, "b judges"]
    high: Float[np.ndarray, "b judges"]
    asked: Int[np.ndarray, "b judges"]
    scored: Int[np.ndarray, "b judges"]

    def __getitem__(self, rows: Shaped[np.ndarray, " rows"]) -> Scores:
        """Only these pictures: a mask, or indices."""
        return Scores(**{name: part[rows] for name, part in self._parts().items()})

    def by(self, *judges: int) -> Scores:
        """The scores of some judges only, as a panel of these."""
        return Scores(**{name: part[:, list(judges)] for name, part in self._parts().items()})

    def _parts(self) -> dict[str, np.ndarray]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def coverage(self) -> float:
        """Share of the scores that there should be; not-a-number where none was asked for."""
        return float(self.scored.sum() / asked) if (asked := self.asked.sum()) else float("nan")

    def judges(self) -> list[int]:
        """Columns of the judges that were asked for it at all."""
        return np.flatnonzero(np.any(self.asked, axis=0)).tolist()

    def panel(self) -> Float[np.ndarray, " b"]:
        """Mean over the judges that were asked; not-a-number if one gave no score, or none was."""
        return _over_judges(self.values, self.asked)

    def ends(self) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
        """The panel's scores if all that are missing were 0, and if all were 1."""
        return _over_judges(self.low, self.asked), _over_judges(self.high, self.asked)


def _over_judges(
    part: Float[np.ndarray, "b judges"], asked: Int[np.ndarray, "b judges"]
) -> Float[np.ndarray, " b"]:
    there = asked > 0
    with np.errstate(invalid="ignore"):
        return np.where(there, part, 0.0).sum(axis=1) / there.sum(axis=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """What the judges of one protocol say of one method's pictures.

    Attributes:
        name: Of the method.
        protocol: How the judges were asked; scores of different protocols cannot be compared.
        judges: Their names.
        pictures: All that the manifest asks for, whether they exist or not.
        cp: Concept preservation.
        pf: Prompt following.
        failures: How the last attempt ended, for scores that are missing though asked for.
    """

    name: str
    protocol: str
    judges: tuple[str, ...]
    pictures: tuple[Wanted, ...]
    cp: Scores
    pf: Scores
    failures: Counter[str]

    @property
    def clusters(self) -> Shaped[np.ndarray, " b"]:
        """The subjects of each picture."""
        return np.array([cluster(picture) for picture in self.pictures])

    def subjects(self) -> Int[np.ndarray, " b"]:
        """How many subjects each picture should show."""
        return np.array([len(picture.case.subjects) for picture in self.pictures])


def judged(results: Results, rows: Sequence[ScoreRow]) -> list[Judged]:
    """A method's judgements, by protocol.

    Args:
        results: The method's folder.
        rows: All attempts of all judges on its pictures.
    """
    pictures = tuple(results.wanted())
    judgements = [row for row in rows if row.protocol != METRIC]
    protocols = sorted({row.protocol for row in judgements})
    return [
        _judged(
            results.method.name,
            protocol,
            pictures,
            [row for row in judgements if row.protocol == protocol],
        )
        for protocol in protocols
    ]


def _judged(
    name: str, protocol: str, pictures: tuple[Wanted, ...], rows: Sequence[ScoreRow]
) -> Judged:
    judges = tuple(sorted({row.scorer for row in rows}))
    final = final_scores(rows).values()
    return Judged(
        name=name,
        protocol=protocol,
        judges=judges,
        pictures=pictures,
        cp=_scores(pictures, judges, [row for row in final if row.measure == "cp"]),
        pf=_scores(pictures, judges, [row for row in final if row.measure == "pf"]),
        failures=Counter(row.status for row in final if row.status not in ("ok", "not_asked")),
    )


def _scores(pictures: Sequence[Wanted], judges: Sequence[str], rows: Sequence[ScoreRow]) -> Scores:
    repeats = {judge: _repeats([row for row in rows if row.scorer == judge]) for judge in judges}
    found = {
        (row.scorer, row.case, row.picture, row.subject or 0, row.repeat): row.share for row in rows
    }
    unasked = {
        (row.scorer, row.case, row.picture, row.subject or 0)
        for row in rows
        if row.status == "not_asked"
    }
    per_subject = any(row.measure == "cp" for row in rows)
    parts = np.zeros((5, len(pictures), len(judges)))
    for column, judge in enumerate(judges):
        for line, (case, number, _) in enumerate(pictures):
            subjects = [
                (judge, case.id, number, index)
                for index in range(len(case.subjects) if per_subject else 1)
            ]
            grid = [
                [found.get((*subject, repeat), np.nan) for repeat in range(repeats[judge])]
                for subject in subjects
                if subject not in unasked
            ]
            parts[:, line, column] = _summary(np.array(grid).reshape(len(grid), repeats[judge]))
    return Scores(
        values=parts[0],
        low=parts[1],
        high=parts[2],
        asked=parts[3].astype(int),
        scored=parts[4].astype(int),
    )


def _repeats(rows: Sequence[ScoreRow]) -> int:
    """How often a judge was to be asked: as its protocol says, though it may have stopped before.

    Not at all where it has no row; then it was not asked for this measure.
    """
    said = (PROTOCOLS[row.protocol].repeats for row in rows[:1] if row.protocol in PROTOCOLS)
    return max([0, *said, *(row.repeat + 1 for row in rows)])


def _summary(grid: Float[np.ndarray, "subjects repeats"]) -> tuple[float, float, float, int, int]:
    """Value, lowest, highest, asked, scored of one picture by one judge."""
    there = np.isfinite(grid)
    if not grid.size:
        return np.nan, np.nan, np.nan, 0, 0
    value = np.nan
    if there.any(axis=1).all():
        value = np.mean([row[seen].mean() for row, seen in zip(grid, there, strict=True)])
    low, high = (np.where(there, grid, end).mean() for end in (0.0, 1.0))
    return float(value), float(low), float(high), grid.size, int(there.sum())
