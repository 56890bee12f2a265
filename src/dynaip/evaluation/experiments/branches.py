"""What each branch carries: measures and the interventional transfer matrix (Section B.6).

One factor of the reference is changed; prompt and noise stay. What changes in the picture was
carried over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np

from dynaip.adapter.config import BRANCHES, Branches
from dynaip.evaluation.experiments.laboratory import Laboratory, Row
from dynaip.evaluation.factors import CONCEPT_FACTORS, labels
from dynaip.evaluation.figures import Reading
from dynaip.evaluation.generation import Generator, Request, Use
from dynaip.evaluation.miniature import Trial, read
from dynaip.evaluation.truth.leakage import Intervention, transfer
from dynaip.evaluation.truth.references import copy_source
from dynaip.miniature.toyland import FACTORS, Spec, segment

# Factors of a reference on white that can be changed by themselves.
CHANGED = ("main_colour", "second_colour", "pattern", "glyph", "facing", "posture", "light")


def run(laboratory: Laboratory) -> Iterator[Row]:
    """Measures of the base and of text rows, image rows and both; then a matrix for each."""
    yield laboratory.base_row()
    uses: dict[Branches, Use] = {name: Use(branches=name) for name in BRANCHES}
    yield from laboratory.rows(laboratory.first, cast(Mapping[str, Use], uses))
    with laboratory.attached(laboratory.first) as (_, put):
        for name, use in uses.items():
            yield transfer_matrix(laboratory, name, put(use))


def transfer_matrix(laboratory: Laboratory, name: Branches, way: Generator) -> Row:
    """How each factor of the picture answers a change of each factor of the reference (M2).

    Args:
        laboratory: Its trials are asked for, with every factor of `CHANGED` changed in turn.
        name: Of the row.
        way: Who makes the pictures.
    """
    trials = laboratory.trials
    requests = [trial.request(laboratory.reference_size) for trial in trials]
    before = _read(laboratory, way, trials, requests)
    # A reference moved by a pixel is the same subject, but disturbs as much as any change.
    again = _read(laboratory, way, trials, [_moved(request) for request in requests])
    null = Intervention(factor="none", before=before, after=again)
    interventions = []
    for factor in CHANGED:
        sources = [changed(trial, factor) for trial in trials]
        size = laboratory.reference_size
        asked = [
            dataclasses.replace(request, references=(segment(source, size=size),))
            for request, source in zip(requests, sources, strict=True)
        ]
        after = _read(laboratory, way, trials, asked)
        # Its truths are the changed reference's.
        after = dataclasses.replace(after, truths=labels(sources, after.values))
        interventions.append(Intervention(factor=factor, before=before, after=after))
    found = transfer(interventions, null)
    return {
        "name": name,
        "variant": laboratory.first,
        **way.identity,
        "pictures": len(trials),
        "outputs": list(found.outputs),
        "inputs": list(found.inputs),
        "matrix": found.matrix.round(4).tolist(),
        "dts": found.score(CONCEPT_FACTORS),
    }


def _read(
    laboratory: Laboratory, way: Generator, trials: Sequence[Trial], requests: Sequence[Request]
) -> Reading:
    pictures = laboratory.pictures(laboratory.first, way, requests)
    return read(laboratory.probe, trials, pictures)


def _moved(request: Request) -> Request:
    """Its references one pixel to the right; the edge is white."""
    moved = tuple(np.roll(reference, 1, axis=1) for reference in request.references)
    return dataclasses.replace(request, references=moved)


def changed(trial: Trial, factor: str) -> Spec:
    """The picture that the reference is cut from, with another value of one factor.

    Raises:
        ValueError: The factor is not one of `CHANGED`.
    """
    if factor not in CHANGED:
        raise ValueError(f"{factor!r} cannot be changed alone; choose from {', '.join(CHANGED)}.")
    source = copy_source(trial)
    (actor,) = source.actors
    rng = np.random.default_rng([trial.seed, CHANGED.index(factor), 9])
    if factor == "light":
        light = _another(rng, "light", source.light.direction)
        return dataclasses.replace(source, light=dataclasses.replace(source.light, direction=light))
    part = "concept" if factor in CONCEPT_FACTORS else "view"
    owner = cast(Any, getattr(actor, part))
    value = _another(rng, factor, getattr(owner, factor), _taken(owner, factor))
    actor = dataclasses.replace(actor, **{part: dataclasses.replace(owner, **{factor: value})})
    return dataclasses.replace(source, actors=(actor,))


def _taken(owner: Any, factor: str) -> tuple[str, ...]:
    """Values that would change more than the factor: two colours that are one, or no letter."""
    others: Mapping[str, tuple[str, ...]] = {
        "main_colour": (getattr(owner, "second_colour", ""),),
        "second_colour": (getattr(owner, "main_colour", ""),),
        "glyph": ("",),
    }
    return others.get(factor, ())


def _another(rng: np.random.Generator, factor: str, now: str, taken: tuple[str, ...] = ()) -> str:
    options = [value for value in FACTORS[factor] if value != now and value not in taken]
    return options[int(rng.integers(len(options)))]
