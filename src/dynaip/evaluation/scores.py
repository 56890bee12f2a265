"""Scores as an append-only journal: one line per attempt, failures too, and nothing imputed.

The reference harness of DreamBench++ drops judgements that failed, others put random numbers or
zeros in their place; both move a mean without saying so. Here a failed attempt is a row with its
status, a later success supersedes it, and what has no success lowers the coverage.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from dynaip.evaluation.journal import append_lines

# "not_asked": the scorer has seen the picture, and knows nothing to ask about it; no score is
# missing there.
Status = Literal[
    "ok", "parse_error", "out_of_range", "refused", "truncated", "transport", "not_asked"
]
STATUSES: tuple[str, ...] = get_args(Status)
# Share of units with a score under which a mean is no longer printed, only its bounds.
COMPLETE = 0.995


class ScoresError(ValueError):
    """A file of scores cannot be used."""


class Unit(NamedTuple):
    """What gets one score: one picture under one measure, once."""

    case: str
    picture: int
    measure: str
    subject: int | None
    scorer: str
    protocol: str
    repeat: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One attempt to score one picture.

    Attributes:
        case: The case's id.
        picture: Which of its pictures.
        measure: "cp", "pf", "clip-i", "dino" and so on.
        scorer: The judge's or the metric's name.
        protocol: The judge's protocol, or "metric".
        status: How it went.
        score: On `scale`; there exactly when the status is ok.
        scale: Lowest and highest score.
        subject: Index of the subject, where the measure is of one.
        repeat: Which of several askings.
        attempt: Which try of this asking, from 0.
        key: Of the cache: equal keys were asked exactly the same.
        details: Whatever else the scorer wants to keep; JSON values.

    Raises:
        ScoresError: The fields contradict each other.
    """

    case: str
    picture: int
    measure: str
    scorer: str
    protocol: str
    status: Status
    score: float | None
    scale: tuple[float, float]
    subject: int | None = None
    repeat: int = 0
    attempt: int = 0
    key: str = ""
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ScoresError(f"{self.status!r} is no status; use one of {', '.join(STATUSES)}.")
        if (self.score is not None) != (self.status == "ok"):
            raise ScoresError(f"A row of status {self.status} has the score {self.score!r}.")
        low, high = self.scale
        if self.score is not None and not low <= self.score <= high:
            raise ScoresError(f"The score {self.score} is outside of {low} to {high}.")

    @property
    def unit(self) -> Unit:
        """What the attempt was about."""
        return Unit(
            self.case,
            self.picture,
            self.measure,
            self.subject,
            self.scorer,
            self.protocol,
            self.repeat,
        )

    @property
    def share(self) -> float:
        """The score from 0 (lowest) to 1 (highest); not a number where there is none."""
        low, high = self.scale
        return math.nan if self.score is None else (self.score - low) / (high - low)


class Journal(NamedTuple):
    """What a file of scores holds.

    Attributes:
        rows: In the order of writing.
        torn: Whether its last line was cut short, as a killed run leaves it.
    """

    rows: list[ScoreRow]
    torn: bool


def append_scores(path: Path, rows: Iterable[ScoreRow]) -> int:
    """Appends rows and waits until they are on the disk; a torn last line is cut off first.

    Returns:
        How many rows were written.

    Raises:
        OSError: The file cannot be written.
    """
    lines = [json.dumps(_to_json(row), ensure_ascii=False) for row in rows]
    append_lines(path, lines)
    return len(lines)


def read_scores(path: Path) -> Journal:
    """Reads a file of scores; one that is not there holds none.

    Raises:
        ScoresError: A line other than a torn last one is broken; the sentence names it.
    """
    if not path.is_file():
        return Journal([], False)
    *lines, tail = path.read_bytes().split(b"\n")
    rows = [_from_json(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]
    return Journal(rows, bool(tail))


def final_scores(rows: Iterable[ScoreRow]) -> dict[Unit, ScoreRow]:
    """The row that counts for each unit: the newest success, or the newest failure without one.

    Only attempts with the newest one's key are looked at: once a picture was made anew, a success
    for the old one says nothing, even if asking about the new one failed.
    """
    newest: dict[Unit, str] = {}
    best: dict[tuple[Unit, str], ScoreRow] = {}
    for row in rows:
        newest[row.unit] = row.key
        known = best.get((row.unit, row.key))
        if known is None or row.status == "ok" or known.status != "ok":
            best[row.unit, row.key] = row
    return {unit: best[unit, key] for unit, key in newest.items()}


def _to_json(row: ScoreRow) -> dict[str, Any]:
    values = dataclasses.asdict(row)
    return {**values.pop("details"), **values}


def _from_json(line: bytes, where: str) -> ScoreRow:
    try:
        values = json.loads(line)
        names = {field.name for field in dataclasses.fields(ScoreRow)} - {"details"}
        known = {name: value for name, value in values.items() if name in names}
        details = {name: value for name, value in values.items() if name not in names}
        low, high = known.pop("scale")
        return ScoreRow(**known, scale=(float(low), float(high)), details=details)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ScoresError(f"{where} is not a row of scores ({error}).") from error
