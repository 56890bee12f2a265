"""DDS against lambda: is decoupling more than turning the reference down (Section 4.1)?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from dynaip.adapter.config import Branches
from dynaip.evaluation.experiments.laboratory import Laboratory, Row
from dynaip.evaluation.generation import Use

SCALES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)


def run(laboratory: Laboratory) -> Iterator[Row]:
    """CP and PF over lambda from 0 (the base) to 1.5, on image rows and on both."""
    yield laboratory.base_row()
    uses = {
        f"{branches}, {scale:g}": Use(branches=cast(Branches, branches), scale=scale)
        for branches in ("image", "both")
        for scale in SCALES
    }
    yield from laboratory.rows(laboratory.first, uses)
