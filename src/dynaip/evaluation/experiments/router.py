"""The router's coefficients, and how they answer detail (Section B.7); no pictures are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from dynaip.evaluation.experiments.laboratory import Laboratory, Row, as_text
from dynaip.evaluation.generation import Use
from dynaip.evaluation.truth.granularity import router_response, shuffled_response
from dynaip.evaluation.truth.references import copy_source, with_concepts
from dynaip.miniature.toyland import Spec, segment
from dynaip.miniature.toyland.spec import LETTERS
from dynaip.pipeline.flux import PersonalPipeline
from dynaip.pipeline.subject import Subject

# The first references are shown, whoever they are.
SHOWN = 8
PLAIN = {"glyph": "", "mark": "none", "pattern": "plain"}


def run(laboratory: Laboratory) -> Iterator[Row]:
    """Coefficients by kind of subject, and how they change when a detail is added to a reference.

    A detail is a letter, or a fine pattern, on a subject that had neither. The control has the two
    references of each pair in random order.
    """
    sources = [copy_source(trial) for trial in laboratory.trials]
    names = np.array([repr(source.actors[0].concept) for source in sources])
    for variant in laboratory.adapters:
        with laboratory.attached(variant) as (personal, put):
            if personal.adapter.config.fusion != "moe":
                continue
            about = {"variant": variant, **put(Use()).identity, "pictures": len(sources)}

            def coefficients(specs: Sequence[Spec]) -> Float[np.ndarray, "b l"]:
                return _coefficients(personal, specs, laboratory.reference_size)

            weights = coefficients(sources)
            shown = [
                {
                    "reference": as_text(segment(source, size=laboratory.reference_size)),
                    "coefficients": each.round(4).tolist(),
                }
                for source, each in zip(sources[:SHOWN], weights[:SHOWN], strict=True)
            ]
            yield {"name": "coefficients", **about, **_by_kind(weights, sources), "shown": shown}
            before = coefficients([_with(source, **PLAIN) for source in sources])
            for detail, specs in _detailed(sources).items():
                after = coefficients(specs)
                yield {
                    "name": detail,
                    **about,
                    "response": router_response(before, after, names),
                    "shuffled": shuffled_response(before, after, names),
                }


def _coefficients(
    personal: PersonalPipeline, specs: Sequence[Spec], size: int
) -> Float[np.ndarray, "b l"]:
    subjects = (Subject(Image.fromarray(segment(spec, size=size))) for spec in specs)
    found = [personal.encode([subject]).coefficients[0, 0] for subject in subjects]
    return np.stack([each.float().numpy() for each in found])


def _by_kind(weights: Float[np.ndarray, "b l"], sources: Sequence[Spec]) -> Row:
    """Mean coefficients over all references, and over those of each kind."""
    kinds = np.array([source.actors[0].concept.kind for source in sources])
    of_kind = {
        kind: weights[kinds == kind].mean(0).round(4).tolist() for kind in sorted(set(kinds))
    }
    return {"mean": weights.mean(0).round(4).tolist(), "kinds": of_kind}


def _detailed(sources: Sequence[Spec]) -> dict[str, list[Spec]]:
    """The bare subjects with one detail each."""
    fine = {**PLAIN, "pattern": "checks", "pattern_scale": "fine"}
    return {
        "glyph": [
            _with(source, **{**PLAIN, "glyph": LETTERS[index % len(LETTERS)]})
            for index, source in enumerate(sources)
        ],
        "fine pattern": [_with(source, **fine) for source in sources],
    }


def _with(source: Spec, **values: Any) -> Spec:
    concept = dataclasses.replace(source.actors[0].concept, **values)
    return with_concepts(source, [concept])
