"""What decoupling leaves behind where training did not: after stage 1 (Sections 4.1 and B.1).

An intra-pair's reference is cut out of the very picture that is to be made, so its pose and light
are right, and an adapter may learn to carry them. Cross-pairs teach it not to; decoupling is meant
to leave them behind by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from dynaip.evaluation.experiments import branches, denoising
from dynaip.evaluation.experiments.laboratory import Laboratory, Row


def run(laboratory: Laboratory) -> Iterator[Row]:
    """What the adapter after stage 1 carries on each branch, by its pictures and by the loss.

    Its ways are compared with each other, not with the finished adapter's.

    Raises:
        ValueError: There is no such adapter.
    """
    if laboratory.intra is None:
        raise ValueError("What stage 1 leaves in is asked of its adapter, and none was given.")
    alone = dataclasses.replace(laboratory, adapters={"intra": laboratory.intra})
    yield from branches.carried(alone)
    yield from denoising.run(alone)
