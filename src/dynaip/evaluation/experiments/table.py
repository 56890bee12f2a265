"""Table 2: the full method, without DDS, and other fusions, each with both ways of branching."""

from __future__ import annotations

from collections.abc import Iterator

from dynaip.evaluation.experiments.laboratory import Laboratory, Row
from dynaip.evaluation.generation import Use

WAYS = {"image": Use(), "both": Use(branches="both")}


def run(laboratory: Laboratory) -> Iterator[Row]:
    """A row for the base, and for every adapter with DDS (image rows) and without (both)."""
    yield laboratory.base_row()
    for adapter in laboratory.adapters:
        yield from laboratory.rows(adapter, WAYS)
