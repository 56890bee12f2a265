"""What decoupling leaves behind where training did not: after stage 1 (Sections 4.1 and B.1).

An intra-pair's reference is cut out of the very picture that is to be made, so its pose and light
are right, and an adapter learns to carry them. Cross-pairs teach it not to; decoupling is meant to
leave them behind by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from dynaip.evaluation.experiments import branches, denoising
from dynaip.evaluation.experiments.laboratory import Laboratory, Row


def run(laboratory: Laboratory) -> Iterator[Row]:
    """The rows of `branches`, and by the loss, for the adapter after stage 1.

    Raises:
        ValueError: There is none.
    """
    if laboratory.intra is None:
        raise ValueError("There is no adapter that was trained on intra-pairs alone.")
    alone = dataclasses.replace(laboratory, adapters={"intra": laboratory.intra})
    yield from branches.run(alone)
    yield from denoising.run(alone)
