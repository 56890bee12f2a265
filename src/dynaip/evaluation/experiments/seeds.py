"""Is a difference between designs more than the luck of a training? Each is trained again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from dynaip.evaluation.experiments import denoising
from dynaip.evaluation.experiments.ablation import MARK, ROWS, WAY, by_design
from dynaip.evaluation.experiments.laboratory import Laboratory, Row


def trained_again(variants: Iterable[str]) -> list[str]:
    """The trainings of designs that were trained more than once; nothing of less than two."""
    again = [names for names in by_design(variants) if len(names) > 1]
    return [name for names in again for name in names] if len(again) > 1 else []


def check_trained_again(variants: Iterable[str]) -> list[str]:
    """`trained_again`, or an error where there is nothing to compare.

    Raises:
        ValueError: Less than two designs were trained more than once.
    """
    again = trained_again(variants)
    if not again:
        raise ValueError(
            "Another seed tells something of two designs at least, each trained more than once; "
            f"give each training as --variant, such as add=FOLDER and add{MARK}1=FOLDER."
        )
    return again


def run(laboratory: Laboratory) -> Iterator[Row]:
    """The rows of the ablation for all trainings of the designs that were trained more than once.

    Raises:
        ValueError: Less than two designs were, so there is nothing to compare.
    """
    again = check_trained_again(laboratory.variants)
    chosen = {name: laboratory.variants[name] for name in again}
    alike = dataclasses.replace(laboratory, adapters=chosen)
    for variant in alike.adapters:
        yield from alike.rows(variant, WAY)
    yield from denoising.run(alike, ROWS)
