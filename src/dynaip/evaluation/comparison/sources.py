"""What a report is made from: result folders with all their scores."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dynaip.evaluation.benchmarks.results import Results
from dynaip.evaluation.scores import ScoreRow, read_scores


class Source(NamedTuple):
    """One method's folder.

    Attributes:
        results: Its manifest, method and pictures.
        rows: All attempts of all its scorers.
        self_test: All attempts of its judges at questions whose answers are known.
        torn: Files of scores whose last line was cut short, as a killed run leaves them.
    """

    results: Results
    rows: list[ScoreRow]
    self_test: list[ScoreRow]
    torn: list[Path]


def open_source(folder: Path) -> Source:
    """Reads a result folder and its scores.

    Raises:
        ValueError: Its manifest, method or a row of scores is broken.
    """
    results = Results.open(folder)
    journals = {
        path: read_scores(path)
        for kind in ("scores", "selftest")
        for path in sorted((folder / kind).glob("*.jsonl"))
    }

    def rows(kind: str) -> list[ScoreRow]:
        return [
            row
            for path, journal in journals.items()
            if path.parent.name == kind
            for row in journal.rows
        ]

    return Source(
        results=results,
        rows=rows("scores"),
        self_test=rows("selftest"),
        torn=[path for path, journal in journals.items() if journal.torn],
    )
