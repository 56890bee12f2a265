"""Table 2's question of design: adapters that differ in one thing, all trained alike.

What a variant changes is in `dynaip.training.recipe.VARIANTS`; pairs, steps and noise are the same.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator

from dynaip.adapter.config import Branches
from dynaip.evaluation.experiments import denoising
from dynaip.evaluation.experiments.laboratory import Laboratory, Row
from dynaip.evaluation.experiments.table import samples
from dynaip.evaluation.generation import Use

# Image rows alone: on text rows references told next to nothing (docs/evidence/earlier).
ROWS: tuple[Branches, ...] = ("image",)
WAY: dict[str, Use] = {name: Use(branches=name) for name in ROWS}
MARK = "-seed"  # between a design's name and another training's seed, as `dynaip train` has it


def design_of(variant: str) -> str:
    """What a training was of: `add` of `add-seed2`."""
    return re.sub(rf"{MARK}\d+$", "", variant)


def by_design(variants: Iterable[str]) -> list[list[str]]:
    """The trainings of each design, in the order in which they are given."""
    trainings: dict[str, list[str]] = {}
    for variant in variants:
        trainings.setdefault(design_of(variant), []).append(variant)
    return list(trainings.values())


def run(laboratory: Laboratory) -> Iterator[Row]:
    """What each variant keeps on image rows: by its pictures, and by the loss.

    All are compared with the first; of each design one training is asked, the first. A
    last row holds the first pictures.

    Raises:
        ValueError: There are no variants.
    """
    if not laboratory.variants:
        raise ValueError("The ablation needs adapters that were trained alike.")
    once = {names[0]: laboratory.variants[names[0]] for names in by_design(laboratory.variants)}
    alike = dataclasses.replace(laboratory, adapters=once)
    yield alike.base_row()
    for variant in alike.adapters:
        yield from alike.rows(variant, WAY)
    yield from denoising.run(alike, ROWS)
    yield samples(alike, WAY)
