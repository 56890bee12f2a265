"""What is chosen for each picture, and what may be: no torch, so that slips are told at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Overlap = Literal["sum", "normalise", "priority"]
OVERLAPS: tuple[Overlap, ...] = ("sum", "normalise", "priority")
LEVELS = ("low", "mid", "high")

# Three weights of three digits each miss 1 by up to 1.5e-3.
TOLERANCE = 2e-3


def check_granularity(weights: Sequence[float], levels: int = len(LEVELS)) -> tuple[float, ...]:
    """The levels' weights, made to sum to 1 exactly where they did but for rounding.

    Raises:
        ValueError: They are not a number for each level, none negative, that sum to 1.
    """
    try:
        values = tuple(float(weight) for weight in weights)
    except ValueError:  # a word, such as a level's name
        values = ()
    total = sum(values)
    are_weights = len(values) == levels and all(value >= 0 for value in values)
    if not (are_weights and abs(total - 1) <= TOLERANCE):
        is_scaled = are_weights and 0 < total < math.inf
        remedy = f"; divide each by their sum, {total:g}" if is_scaled else ""
        raise ValueError(
            f"granularity must be {levels} numbers ({', '.join(LEVELS[:levels])}), none negative, "
            f"that sum to 1; got {', '.join(map(_as_told, weights))}{remedy}."
        )
    return tuple(value / total for value in values)


def _as_told(weight: object) -> str:
    return f"{weight:g}" if isinstance(weight, float) else str(weight)


def check_window(start: float, end: float) -> None:
    """Refuses what are no shares of the denoising steps, one before the other.

    Raises:
        ValueError: Not 0 <= start < end <= 1.
    """
    if not 0 <= start < end <= 1:
        raise ValueError(
            "start and end are shares of the steps with 0 <= start < end <= 1; got "
            f"{start} and {end}."
        )


def check_phrase(phrase: object) -> None:
    """Refuses what cannot be words of a prompt; `None` is no phrase.

    Raises:
        ValueError: It is no text, or has no words.
    """
    if phrase is not None and not (isinstance(phrase, str) and phrase.strip()):
        raise ValueError(
            f"A phrase is words of the prompt that name the subject, or None; got {phrase!r}."
        )
