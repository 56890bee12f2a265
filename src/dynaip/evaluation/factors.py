"""What the probes are asked: the factors of a picture of one subject, read off its spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from dynaip.miniature.toyland import FACTORS, Spec

# Concept-specific factors belong to the subject and should come from the reference ...
CONCEPT_FACTORS = ("category", "main_colour", "second_colour", "pattern", "glyph", "mark")
# ... concept-agnostic ones belong to the picture and should come from the prompt.
PICTURE_FACTORS = (
    "facing",
    "posture",
    "position",
    "scene",
    "light",
    "light_colour",
    "style",
)

# Marks the labels of questions that have no answer among a factor's values.
UNANSWERABLE = -1


def probed_values() -> dict[str, tuple[str, ...]]:
    """Every factor that a probe reads, and the answers it may give."""
    return {name: tuple(FACTORS[name]) for name in (*CONCEPT_FACTORS, *PICTURE_FACTORS)}


def truth(spec: Spec, subject: int = 0) -> dict[str, str]:
    """The value of every probed factor of one subject and its picture."""
    actor = spec.actors[subject]
    return {
        **{name: getattr(actor.concept, name) for name in CONCEPT_FACTORS},
        **{name: getattr(actor.view, name) for name in ("facing", "posture", "position")},
        "scene": spec.scene,
        "light": spec.light.direction,
        "light_colour": spec.light.colour,
        "style": spec.style,
    }


def labels(
    specs: Sequence[Spec], values: Mapping[str, Sequence[str]], subject: int = 0
) -> dict[str, Int[np.ndarray, " b"]]:
    """Index of the true value of each factor; `UNANSWERABLE` where it is not among the values.

    A two-letter string has no place among single letters, for example: such subjects do not count
    for the glyph.
    """
    truths = [truth(spec, subject) for spec in specs]
    return {
        name: np.array(
            [
                options.index(answer) if (answer := known[name]) in options else UNANSWERABLE
                for known in truths
            ],
            dtype=np.int64,
        )
        for name, options in values.items()
    }
