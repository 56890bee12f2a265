"""What the probes are asked: the factors of a picture of one subject, read off its spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from dynaip.miniature.toyland import FACTORS, Spec
from dynaip.miniature.toyland.spec import ABSENT, factor_values

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
    values = factor_values(spec, subject)
    return {name: values[name] for name in (*CONCEPT_FACTORS, *PICTURE_FACTORS)}


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


def asked(
    factor: str, truths: Int[np.ndarray, " b"], options: Sequence[str]
) -> Bool[np.ndarray, " b"]:
    """Where the question makes sense: the value can be named, and the detail is there."""
    named = truths != UNANSWERABLE
    if factor in ABSENT:
        named &= truths != options.index(ABSENT[factor])
    return named


def blind_guess(factor: str, options: Sequence[str]) -> float:
    """One over the number of answers, without the one that says a detail is absent."""
    return 1 / (len(options) - (factor in ABSENT))
