"""Table 2's question of decoupling: an adapter with both ways of branching."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dynaip.evaluation.experiments.laboratory import Laboratory, Row, as_text
from dynaip.evaluation.generation import GUIDED, OWN_WORDS, Use

WAYS = {
    "image": Use(),
    "both": Use(branches="both"),
    "own words": OWN_WORDS,
    "guided": GUIDED,
}
# The first trials are shown, whatever they show.
SHOWN = 8


def run(laboratory: Laboratory) -> Iterator[Row]:
    """Rows for systems of known worth, the base, and each adapter with and without DDS.

    With it image rows see the reference, without it both; between the two, image rows and of the
    text rows those that name the subject. Guided are image rows with image guidance. A last row
    holds the first pictures.
    """
    yield from laboratory.reference_rows()
    yield laboratory.base_row()
    for adapter in laboratory.adapters:
        yield from laboratory.rows(adapter, WAYS)
    yield samples(laboratory, WAYS)


def samples(laboratory: Laboratory, ways: Mapping[str, Use]) -> Row:
    """The first pictures of each adapter, used in each way, as PNG in base64.

    Those that were made for rows of the same ways are read, not made again.
    """
    trials = laboratory.trials[:SHOWN]
    bench = laboratory.bench("samples", trials)
    shown: dict[str, Any] = {
        "prompt": [trial.prompt for trial in trials],
        "reference": [
            as_text(trial.request(laboratory.reference_size).references[0]) for trial in trials
        ],
        "base": [as_text(each) for each in bench.pictures("base", laboratory.base)],
    }
    for adapter in laboratory.adapters:
        with laboratory.attached(adapter) as (_, put):
            for name, use in ways.items():
                pictures = bench.pictures(adapter, put(use))
                shown[f"{adapter}: {name}"] = [as_text(each) for each in pictures]
    about = laboratory.base.identity
    return {"name": "samples", **about, "pictures": len(trials), "shown": shown}
