"""What each branch carries: measures, attention maps, transfer matrices (Section B.6, Figure 15).

For a matrix one factor of the reference is changed; prompt and noise stay. What changes in the
picture was carried over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from jaxtyping import Float
from PIL import Image

from dynaip.adapter.config import BRANCHES, Branches
from dynaip.evaluation.experiments.laboratory import Laboratory, Row, as_text
from dynaip.evaluation.factors import CONCEPT_FACTORS, labels
from dynaip.evaluation.figures import Reading
from dynaip.evaluation.generation import Generator, Request, Use
from dynaip.evaluation.miniature import Trial, read
from dynaip.evaluation.statistics import cluster_bootstrap_mean
from dynaip.evaluation.truth.leakage import Intervention, arrivals, transfer, transfer_score
from dynaip.evaluation.truth.references import copy_source
from dynaip.miniature.toyland import FACTORS, Spec, segment
from dynaip.miniature.toyland.spec import KIND_OF
from dynaip.pipeline.flux import PersonalPipeline
from dynaip.pipeline.subject import Subject

# Factors of a reference on white that can be changed by themselves.
CHANGED = (*CONCEPT_FACTORS, "facing", "posture", "light")
# The first trials are shown, whatever they show.
SHOWN = 3
# Share of noise that is put on a finished picture to see what attends to what.
NOISE = 0.5
USES: dict[Branches, Use] = {name: Use(branches=name) for name in BRANCHES}


def run(laboratory: Laboratory) -> Iterator[Row]:
    """`carried`, and maps of the attention of text rows and of image rows."""
    yield from carried(laboratory)
    with laboratory.attached(laboratory.first) as (personal, put):
        for name in ("text", "image"):
            yield attention_maps(laboratory, personal, name, put(USES[name]))


def carried(laboratory: Laboratory) -> Iterator[Row]:
    """Measures of the base, text rows, image rows and both, and a matrix for each of the three."""
    yield laboratory.base_row()
    yield from laboratory.rows(laboratory.first, cast(Mapping[str, Use], USES))
    with laboratory.attached(laboratory.first) as (_, put):
        for name, use in USES.items():
            yield transfer_matrix(laboratory, name, put(use))


def attention_maps(
    laboratory: Laboratory, personal: PersonalPipeline, name: Branches, way: Generator
) -> Row:
    """What a branch's rows look at in the reference, and where image rows are louder by it.

    Args:
        laboratory: The first `SHOWN` of its trials are asked for.
        personal: The pipeline, adapter attached.
        name: Of the branch whose rows see the reference.
        way: Who makes the pictures, on that branch.

    Returns:
        Pictures as PNG in base64, and maps as rows of numbers, so that a figure needs no more.
    """
    trials = laboratory.trials[:SHOWN]
    requests = [trial.request(laboratory.reference_size) for trial in trials]
    pictures = laboratory.pictures(laboratory.first, way, requests)
    shown = []
    for request, picture in zip(requests, pictures, strict=True):
        (reference,) = request.references
        maps = laboratory.look(
            personal,
            Image.fromarray(picture),
            request.prompt,
            [Subject(Image.fromarray(reference))],
            noise=NOISE,
            branches=name,
            seed=request.seed,
        )
        entry = {
            "prompt": request.prompt,
            "reference": as_text(reference),
            "picture": as_text(picture),
            "over_reference": _numbers(maps.reference[name][0, 0, 0]),
        }
        # Rows of text have no place in the picture.
        if name == "image":
            entry["over_picture"] = _numbers(maps.picture[0, 0])
        shown.append(entry)
    return {
        "name": name,
        "variant": laboratory.first,
        **way.identity,
        "pictures": len(shown),
        "noise": NOISE,
        "shown": shown,
    }


def _numbers(values: Float[np.ndarray, "y x"]) -> list[list[float]]:
    return values.astype(np.float64).round(5).tolist()


def transfer_matrix(laboratory: Laboratory, name: Branches, way: Generator) -> Row:
    """How each factor of the picture answers a change of each factor of the reference (M2).

    Args:
        laboratory: The first half of its trials is asked for, with every factor of `CHANGED`
            changed in turn: a subject takes eleven pictures.
        name: Of the row.
        way: Who makes the pictures.
    """
    trials = laboratory.trials[: max(2, laboratory.count // 2)]
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
        "diagonal": {
            change.factor: list(cluster_bootstrap_mean(arrivals(change), before.clusters))
            for change in interventions
        },
        "readable": sorted(laboratory.readable),
        "dts": list(transfer_score(interventions, CONCEPT_FACTORS, laboratory.readable)),
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
    changes = {factor: value, **({"kind": KIND_OF[value]} if factor == "category" else {})}
    actor = dataclasses.replace(actor, **{part: dataclasses.replace(owner, **changes)})
    return dataclasses.replace(source, actors=(actor,))


def _taken(owner: Any, factor: str) -> tuple[str, ...]:
    """Values that would change more than the factor: two colours that are one, or no detail."""
    others: Mapping[str, tuple[str, ...]] = {
        "main_colour": (getattr(owner, "second_colour", ""),),
        "second_colour": (getattr(owner, "main_colour", ""),),
        "glyph": ("",),
        "mark": ("none",),
    }
    return others.get(factor, ())


def _another(rng: np.random.Generator, factor: str, now: str, taken: tuple[str, ...] = ()) -> str:
    options = [value for value in FACTORS[factor] if value != now and value not in taken]
    return options[int(rng.integers(len(options)))]
