"""Places in a picture that have a name, so that nobody has to draw a mask for the usual ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PLACES = ("left", "middle", "right")
LAYOUTS: dict[str, tuple[str, ...]] = {"halves": ("left", "right"), "thirds": PLACES}

Box = tuple[float, float, float, float]

_HALVES: dict[str, Box] = {"left": (0, 0, 0.5, 1), "right": (0.5, 0, 1, 1)}
_THIRDS: dict[str, Box] = {
    "left": (0, 0, 1 / 3, 1),
    "middle": (1 / 3, 0, 2 / 3, 1),
    "right": (2 / 3, 0, 1, 1),
}


def name_places(layout: str, subjects: int) -> tuple[str, ...]:
    """The masks of a layout's subjects, from left to right.

    Args:
        layout: `"halves"` or `"thirds"`.
        subjects: How many there are.

    Raises:
        ValueError: There is no such layout, or it is for another number of subjects.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"A layout is one of {', '.join(LAYOUTS)}; got {layout!r}.")
    places = LAYOUTS[layout]
    if len(places) != subjects:
        raise ValueError(
            f"The layout {layout} is for {len(places)} subjects, and there are {subjects}; give "
            "each subject its own mask."
        )
    return places


def write_box(box: Sequence[float]) -> str:
    """A box as the command line takes it, to the last digit: it covers the same tokens again."""
    return ",".join(repr(float(side)).removesuffix(".0") for side in box)


def resolve_places(masks: Sequence[Any]) -> list[Any]:
    """Masks of one picture, with boxes `(left, top, right, bottom)` for the names among them.

    Left and right are halves of the picture; where one subject stands in the middle, thirds.
    """
    named = [mask for mask in masks if isinstance(mask, str) and mask in PLACES]
    boxes = _THIRDS if "middle" in named else _HALVES
    return [boxes[mask] if isinstance(mask, str) and mask in PLACES else mask for mask in masks]
