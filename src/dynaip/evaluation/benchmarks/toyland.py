"""DynaIP-Bench on Toyland: held-out subjects, rendered, and what is true of each beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dynaip.evaluation.benchmarks.dynaip_bench import KINDS, SCENES, PoolSubject
from dynaip.evaluation.benchmarks.manifest import Box, Case, ManifestError
from dynaip.miniature import toyland
from dynaip.miniature.toyland.spec import KINDS as CATEGORIES
from dynaip.miniature.toyland.spec import PICTURE_SCENES
from dynaip.pipeline.provenance import write_png

POOL_STREAM, ANSWER_STREAM = 5, 6
SCENE_OF: dict[str, str] = dict(zip(SCENES, PICTURE_SCENES, strict=True))
# How much of its box a subject fills, so that tilted and jumping ones stay inside.
FILLED = 0.92
# Who wears clothes stands upright here, (x, y, size), and what is worn then lies in its box.
WEARER = (0.5, 0.525, 0.85)


def render_pools(
    folder: Path,
    *,
    each: int = 18,
    seed: int = 0,
    size: int = 64,
    on_subject: Callable[[], Any] | None = None,
) -> dict[str, list[PoolSubject]]:
    """Renders held-out subjects of every data type on white; the same seed gives the same ones.

    Args:
        folder: Receives `<kind>/<category>-<number>.png`.
        each: Subjects of a data type, its categories in turn.
        seed: Of the subjects and their views.
        size: Side of a reference in pixels.
        on_subject: Called after each.

    Returns:
        The pools; a subject's truth is its concept, as `Concept`'s fields.
    """
    pools: dict[str, list[PoolSubject]] = {}
    for index, kind in enumerate(KINDS):
        pools[kind] = []
        for number in range(each):
            rng = np.random.default_rng([seed, POOL_STREAM, index, number])
            category = CATEGORIES[kind][number % len(CATEGORIES[kind])]
            concept = _held_out(rng, kind, category)
            spec = toyland.sample_spec(rng, concepts=[concept])
            path = folder / kind / f"{concept.category}-{number:02d}.png"
            write_png(Image.fromarray(toyland.segment(spec, 0, size)), path)
            pools[kind].append(
                PoolSubject(
                    name=concept.category,
                    references=(path,),
                    truth=dataclasses.asdict(concept),
                )
            )
            if on_subject is not None:
                on_subject()
    return pools


def _held_out(rng: np.random.Generator, kind: str, category: str) -> toyland.Concept:
    """A held-out subject of a category: drawn until it is one."""
    while True:
        concept = toyland.sample_concept(rng, "test", kinds=(kind,))
        if concept.category == category:
            return concept


def truth_of(case: Case) -> tuple[list[toyland.Concept], str | None]:
    """The subjects of a case, and the scene that its prompt names, if it names one.

    Raises:
        ManifestError: The case is not of a rendered benchmark.
    """
    try:
        known = case.truth or {}
        concepts = [_concept(values) for values in known["subjects"]]
        scene = SCENE_OF.get(known["variation"])
    except (KeyError, TypeError) as error:
        raise ManifestError(
            f"Case {case.id} does not say what is true of its subjects; this needs a manifest of "
            "`dynaip bench toyland`."
        ) from error
    if len(concepts) != len(case.subjects):
        raise ManifestError(f"Case {case.id} says the truth of {len(concepts)} other subjects.")
    return concepts, scene


def perfect_answer(case: Case, seed: int) -> toyland.Spec:
    """A picture that shows every subject in its box, in the scene that the prompt names.

    What neither says is chance: views, light, style, and the scene where none is named. Clothes are
    where their wearer has them, which is in their boxes for people and nearly so for animals.

    Raises:
        ManifestError: The case is not of a rendered benchmark, or its subjects have no boxes.
    """
    concepts, scene = truth_of(case)
    rng = np.random.default_rng([seed, ANSWER_STREAM])
    boxes = [subject.box for subject in case.subjects if subject.box is not None]
    if len(boxes) < len(concepts):
        raise ManifestError(f"Case {case.id} has no boxes; make its manifest with boxes.")
    worn = [concept for concept in concepts if concept.kind.endswith("wearing")]
    if not worn:
        spec = toyland.sample_spec(rng, concepts=concepts)
        actors = tuple(map(_into_box, spec.actors, boxes))
    else:
        wearer = concepts[0] if len(worn) < len(concepts) else _woman(rng)
        spec = _dressed(rng, wearer, worn)
        actors = tuple(_enlarged(actor, spec.actors[0].view) for actor in spec.actors)
    return dataclasses.replace(spec, actors=actors, scene=scene or spec.scene)


def _concept(values: Mapping[str, Any]) -> toyland.Concept:
    """A concept after a trip through JSON."""
    pairs = {name: tuple(values[name]) for name in ("proportions", "shade")}
    return toyland.Concept(**{**values, **pairs})


def _into_box(actor: toyland.Actor, box: Box) -> toyland.Actor:
    left, top, right, bottom = box
    size = FILLED * min(right - left, bottom - top)
    view = dataclasses.replace(actor.view, x=(left + right) / 2, y=(top + bottom) / 2, size=size)
    return dataclasses.replace(actor, view=view)


def _woman(rng: np.random.Generator) -> toyland.Concept:
    """The woman of the templates, who is no reference: anyone."""
    while True:
        concept = toyland.sample_concept(rng, kinds=("human",))
        if concept.category == "woman":
            return concept


def _dressed(
    rng: np.random.Generator, wearer: toyland.Concept, worn: list[toyland.Concept]
) -> toyland.Spec:
    """Somebody who stands and faces us, as the boxes ask for: drawn until it is so.

    Each garment is tried on by itself, by the same chance, since a spec that is drawn has no room
    for three garments and who wears them.
    """
    while True:
        seed = int(rng.integers(2**31))
        tried = [
            toyland.sample_spec(
                np.random.default_rng(seed), concepts=[wearer, garment], action="wearing"
            )
            for garment in worn
        ]
        view = tried[0].actors[0].view
        if (view.facing, view.posture) == ("front", "standing"):
            actors = (tried[0].actors[0], *(spec.actors[1] for spec in tried))
            return dataclasses.replace(tried[0], actors=actors)


def _enlarged(actor: toyland.Actor, wearer: toyland.View) -> toyland.Actor:
    """Moves and scales the whole group so that its wearer comes to `WEARER`."""
    x, y, size = WEARER
    scale = size / wearer.size
    view = dataclasses.replace(
        actor.view,
        x=x + scale * (actor.view.x - wearer.x),
        y=y + scale * (actor.view.y - wearer.y),
        size=scale * actor.view.size,
    )
    return dataclasses.replace(actor, view=view)
