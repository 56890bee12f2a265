"""Manual coefficients: each level alone, and a grid of mixtures (Sections B.4 and B.8)."""

from __future__ import annotations

from collections.abc import Iterator

from dynaip.evaluation.experiments.laboratory import Laboratory, Row
from dynaip.evaluation.generation import Use

# Weights in thirds: the three levels alone, six mixtures of two, and all alike.
PARTS = 3


def run(laboratory: Laboratory) -> Iterator[Row]:
    """The router's own choice, then every mixture of low, mid and high in thirds."""
    uses = {"router": Use()}
    for low in range(PARTS + 1):
        for mid in range(PARTS + 1 - low):
            parts = (low, mid, PARTS - low - mid)
            weights = (low / PARTS, mid / PARTS, (PARTS - low - mid) / PARTS)
            uses["/".join(str(part) for part in parts)] = Use(granularity=weights)
    yield from laboratory.rows(laboratory.first, uses)
