"""What the judges answered where the answer is known, beside what they were trusted with."""

from __future__ import annotations

from collections.abc import Sequence

from dynaip.evaluation.comparison.sources import Source
from dynaip.evaluation.judges.selftest import KINDS, Summary, summarise
from dynaip.evaluation.scores import final_scores
from dynaip.evaluation.tables import Table


def self_test_table(sources: Sequence[Source]) -> Table:
    """Mean answer to each kind of question, of each judge before each method."""
    found = {key: summary for source in sources for key, summary in _summaries(source).items()}
    asked = {kind for summary in found.values() for kind in summary.counts}
    kinds = [kind for kind in KINDS if kind in asked]
    rows = [
        (*key, *(summary.means.get(kind) for kind in kinds), _verdict(summary))
        for key, summary in found.items()
    ]
    return Table(
        title="Self-test of the judges",
        columns=("method", "judge", "protocol", *kinds, "verdict"),
        rows=tuple(rows),
        notes=(
            "Means from 0 to 1: of pictures that are the same, that have nothing in common, that "
            "are blurred more and more, in the other order, with another prompt.",
        ),
    )


def _verdict(summary: Summary) -> str:
    if not summary.counts:
        return "not asked"
    return "; ".join(summary.failed) or "passed"


def _summaries(source: Source) -> dict[tuple[str, str, str], Summary]:
    # Only what was told a rubric is a judge; other scorers have nothing to be tested.
    judging = [row for row in source.rows if "rubric" in row.details]
    judges = dict.fromkeys((row.scorer, row.protocol) for row in (*source.self_test, *judging))
    summaries = {}
    for judge in judges:
        rows = [row for row in source.self_test if (row.scorer, row.protocol) == judge]
        # Every question that was tried has a row that counts, also without a score.
        summary = summarise(final_scores(rows).values(), rows)
        summaries[source.results.method.name, *judge] = summary
    return summaries
