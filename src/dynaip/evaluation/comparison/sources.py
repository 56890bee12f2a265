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
        torn: Files of scores whose last line was cut short, as a killed run leaves them.
    """

    results: Results
    rows: list[ScoreRow]
    torn: list[Path]


def open_source(folder: Path) -> Source:
    """Reads a result folder and its scores.

    Raises:
        ValueError: Its manifest, method or a row of scores is broken.
    """
    results = Results.open(folder)
    journals = {path: read_scores(path) for path in sorted((folder / "scores").glob("*.jsonl"))}
    return Source(
        results=results,
        rows=[row for journal in journals.values() for row in journal.rows],
        torn=[path for path, journal in journals.items() if journal.torn],
    )
