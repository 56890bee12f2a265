"""Where a subject's box lies in the picture: the geometry of a view."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dynaip.miniature.toyland.spec import Actor, View

HALF_WIDTH: dict[str, float] = {
    "mug": 34, "teapot": 36, "armchair": 36,
    "woman": 29, "man": 31, "child": 29,
    "robot": 30, "monster": 36, "wizard": 34,
    "cap": 40, "helmet": 34, "hat": 40,
    "shirt": 38, "jacket": 38, "hoodie": 38,
    "dress": 40, "overalls": 34, "coat": 38,
    "trousers": 36, "skirt": 42, "boots": 40,
}  # fmt: skip
"""Half the width of what topples when it lies, in hundredths; animals fold their legs instead."""

JUMP_STRETCH = 1.08
JUMP_HEIGHT = 0.12
"""How far a jump lifts the box, in picture heights."""


@dataclass(frozen=True)
class Placement:
    """A box in the picture, all lengths in hundredths of the picture.

    `turn` is clockwise in degrees, `mirror` is -1 for what looks right; `transform` takes the
    box of 100 by 100 to the picture and `upright` undoes its mirror and its toppling.
    """

    x: float
    ground: float
    footprint: float
    turn: float
    mirror: int
    transform: str
    upright: str


def topples(category: str, view: View) -> bool:
    """Whether this subject lies on its back instead of folding its legs."""
    return view.posture == "lying" and category in HALF_WIDTH


def topple_angle(category: str, view: View) -> float:
    """The turn of lying down: the head goes to the side that the subject does not look to."""
    if not topples(category, view):
        return 0.0
    return -90.0 if view.facing == "right" else 90.0


def drop(category: str, view: View) -> float:
    """From the box's centre down to the ground, in units of the subject's size."""
    if topples(category, view):
        return HALF_WIDTH[category] / 100
    return 0.47 * (JUMP_STRETCH if view.posture == "jumping" else 1.0)


def placement(actor: Actor) -> Placement:
    """The geometry of an actor's view."""
    view, category = actor.view, actor.concept.category
    topple = topple_angle(category, view)
    mirror = -1 if view.facing == "right" else 1
    x, y, scale = view.x * 100, view.y * 100, view.size
    jumping = view.posture == "jumping"
    stretch = JUMP_STRETCH if jumping else 1.0
    ground = y + drop(category, view) * view.size * 100 + (JUMP_HEIGHT * 100 if jumping else 0)
    footprint = view.size * (92 if topple else 74)
    return Placement(
        x=x,
        ground=ground,
        footprint=footprint,
        turn=view.tilt + topple,
        mirror=mirror,
        transform=(
            f"translate({x:.2f} {y:.2f}) rotate({view.tilt + topple:.2f}) "
            f"scale({mirror * scale / math.sqrt(stretch):.4f} {scale * stretch:.4f}) "
            "translate(-50 -50)"
        ),
        upright=f"scale({mirror} 1) rotate({-topple:.0f})",
    )
