"""Systems of known worth, B0 to B7: each has to move its own measures and no others.

They make pictures as any generator does, but they know what should be in them. A table of measured
methods is read beside them: a score that copying reaches too is not worth much.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from dynaip.evaluation.corruptions import blur
from dynaip.evaluation.factors import truth
from dynaip.evaluation.generation import Request
from dynaip.evaluation.miniature import PROMPTED, Trial, adapter_trials
from dynaip.evaluation.probe import as_pictures, as_tensor
from dynaip.miniature.toyland import Spec, render, sample_concept, vary
from dynaip.miniature.toyland.spec import KINDS

Draw = Callable[[Spec], UInt8[np.ndarray, "y x 3"]]
Show = Callable[[Trial], Spec]


class ReferenceSystem:
    """Draws what `show` makes of each trial.

    Args:
        name: Of the system.
        trials: What it will be asked for.
        show: Which picture of Toyland it makes of a trial.
        draw: Renders that; by default at 64 pixels.
    """

    def __init__(
        self, name: str, trials: Sequence[Trial], show: Show, draw: Draw | None = None
    ) -> None:
        self.identity: Mapping[str, Any] = {"reference system": name}
        self.show, self.draw = show, draw or (lambda spec: render(spec).image)
        self.trials = {(trial.prompt, trial.seed): trial for trial in trials}

    def __call__(self, requests: Sequence[Request]) -> UInt8[np.ndarray, "b y x 3"]:
        """One picture per request."""
        trials = [self.trials[request.prompt, request.seed] for request in requests]
        return np.stack([self.draw(self.show(trial)) for trial in trials])


def conflict_trials(count: int, seed: int = 0) -> list[Trial]:
    """Adapter's trials in which the reference disagrees with all that the prompt says of the view.

    In what the prompt leaves open, reference and target are drawn independently. The reference is
    redrawn and the target stays.
    """
    return [_in_conflict(trial) for trial in adapter_trials(count, seed)]


def _in_conflict(trial: Trial) -> Trial:
    rng = np.random.default_rng([trial.seed, 7])
    wanted = truth(trial.target)
    while True:
        source = vary(trial.target, rng)
        given = truth(source)
        if all(given[name] != wanted[name] for name in PROMPTED):
            return dataclasses.replace(trial, source=source)


def copy_source(trial: Trial) -> Spec:
    """B0: the very picture that the reference was cut from."""
    if trial.source is None:
        raise ValueError("There is no reference to copy; give trials of an adapter.")
    return trial.source


def text_only(trial: Trial) -> Spec:
    """B1: what the prompt says, its category too, of whatever subject comes to mind."""
    rng = np.random.default_rng([trial.seed, 1])
    own = trial.target.actors[0].concept
    other = sample_concept(rng, kinds=(own.kind,) if trial.named else tuple(KINDS))
    if trial.named:
        other = dataclasses.replace(other, category=own.category)
    return with_concepts(trial.target, [other])


def oracle(trial: Trial) -> Spec:
    """B2: what should be there."""
    return trial.target


def reference_view(trial: Trial) -> Spec:
    """B4: the right subject in the right place, in the reference's pose and light."""
    source = copy_source(trial)
    view = trial.target.actors[0].view
    seen = source.actors[0].view
    # Who jumps is also higher up, and who falls is turned.
    posed = dataclasses.replace(
        view, facing=seen.facing, posture=seen.posture, y=seen.y, tilt=seen.tilt
    )
    actor = dataclasses.replace(trial.target.actors[0], view=posed)
    return dataclasses.replace(trial.target, actors=(actor,), light=source.light)


def wrong_concept(trial: Trial) -> Spec:
    """B6: held-out subjects that nobody asked for."""
    rng = np.random.default_rng([trial.seed, 6])
    return with_concepts(trial.target, [sample_concept(rng, "test") for _ in trial.target.actors])


def swapped(target: Spec) -> Spec:
    """B5: everybody is there, one place further."""
    concepts = [actor.concept for actor in target.actors]
    return with_concepts(target, [*concepts[1:], concepts[0]])


def blended(target: Spec) -> Spec:
    """B5: colours, pattern, glyph and mark of the next subject on everybody's shape."""
    concepts = [actor.concept for actor in target.actors]
    mixed = [
        dataclasses.replace(other, kind=own.kind, category=own.category)
        for own, other in zip(concepts, [*concepts[1:], concepts[0]], strict=True)
    ]
    return with_concepts(target, mixed)


def with_concepts(target: Spec, concepts: Sequence[Any]) -> Spec:
    """The same picture of other subjects."""
    actors = [
        dataclasses.replace(actor, concept=concept)
        for actor, concept in zip(target.actors, concepts, strict=True)
    ]
    return dataclasses.replace(target, actors=tuple(actors))


def blurred(sigma: float, draw: Draw) -> Draw:
    """B3: a renderer whose pictures are out of focus.

    Args:
        sigma: Of the Gaussian blur, in pixels.
        draw: The renderer.
    """

    def soft(spec: Spec) -> UInt8[np.ndarray, "y x 3"]:
        picture = as_tensor(draw(spec)[None])
        return as_pictures(blur(picture, torch.full((1, 1, 1, 1), sigma)))[0]

    return soft


def without_subject(draw: Draw) -> Draw:
    """B7: a renderer that forgets whom it was to show."""
    return lambda spec: draw(dataclasses.replace(spec, actors=(), action=None))


SINGLE: dict[str, Show] = {
    "B0 copy": copy_source,
    "B1 text only": text_only,
    "B2 oracle": oracle,
    "B4 reference's pose and light": reference_view,
    "B6 wrong concept": wrong_concept,
}
"""One subject; B3 and B7 are the oracle, drawn by `blurred` and `without_subject`."""

SEVERAL: dict[str, Callable[[Spec], Spec]] = {
    "B2 oracle": lambda target: target,
    "B5 swapped": swapped,
    "B5 blended": blended,
}
"""Several subjects."""
