"""Who stands where: views of one subject, rows, towers, and clothes on their wearer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dynaip.miniature.toyland.chance import pick, uniform
from dynaip.miniature.toyland.placing import (
    HALF_WIDTH,
    JUMP_HEIGHT,
    JUMP_STRETCH,
    drop,
    topple_angle,
    topples,
)
from dynaip.miniature.toyland.spec import AGNOSTIC, Actor, Concept, View
from dynaip.miniature.toyland.subjects import slot

_SIZES = {1: (0.56, 0.66), 2: (0.45, 0.53), 3: (0.34, 0.4)}
_COLUMNS = {"left": 0.31, "middle": 0.5, "right": 0.69}
_PAIR_COLUMNS = {"left": 0.26, "right": 0.74}
_TRIPLE_COLUMNS = {"left": 0.19, "middle": 0.5, "right": 0.81}


def arranged(
    rng: np.random.Generator, concepts: Sequence[Concept], action: str | None
) -> tuple[Actor, ...]:
    """Concepts in fresh views, placed as an action says; without one, anywhere.

    Args:
        rng: source of all chance.
        concepts: one to three; under "wearing" the first wears the others.
        action: one of `ACTIONS`, or None for one concept.
    """
    if action == "wearing":
        return _worn(rng, concepts)
    if action == "on top of":
        return _stacked(rng, concepts)
    if action == "in front of":
        return _overlapping(rng, concepts)
    columns = {1: _COLUMNS, 2: _PAIR_COLUMNS, 3: _TRIPLE_COLUMNS}[len(concepts)]
    # One subject goes anywhere; two and three stand from left to right.
    positions = [pick(rng, tuple(columns))] if len(concepts) == 1 else list(columns)
    return tuple(
        Actor(
            concept=concept,
            view=_draw_view(
                rng,
                concept.category,
                sizes=_SIZES[len(concepts)],
                column=columns[position],
                position=position,
            ),
        )
        for concept, position in zip(concepts, positions, strict=True)
    )


def _draw_view(
    rng: np.random.Generator,
    category: str,
    *,
    sizes: tuple[float, float],
    column: float,
    position: str,
    ground: tuple[float, float] = (0.85, 0.91),
    postures: Sequence[str] = AGNOSTIC["posture"],
) -> View:
    view = View(
        facing=pick(rng, AGNOSTIC["facing"]),
        posture=pick(rng, postures),
        tilt=round(uniform(rng, -12, 12), 2),
        size=uniform(rng, *sizes),
        position=position,
    )
    x = column + uniform(rng, -0.03, 0.03)
    half = _half_width(category, view)
    return _grounded(
        replace(view, x=round(min(max(x, half), 1 - half), 4)), category, uniform(rng, *ground)
    )


def _half_width(category: str, view: View) -> float:
    """Half of what a view takes of the picture's width, tilt included, in picture widths."""
    wide = topples(category, view) or category not in HALF_WIDTH
    return (0.52 if wide else 0.46) * view.size


def _grounded(view: View, category: str, ground: float) -> View:
    jumping = view.posture == "jumping"
    y = ground - drop(category, view) * view.size - (JUMP_HEIGHT if jumping else 0)
    highest = 0.5 * view.size * (JUMP_STRETCH if jumping else 1)
    return replace(view, y=round(max(y, highest), 4))


def _overlapping(rng: np.random.Generator, concepts: Sequence[Concept]) -> tuple[Actor, ...]:
    back, front = concepts
    position = pick(rng, ("left", "right"))
    other = "right" if position == "left" else "left"
    lean = 0.12 if position == "left" else -0.12
    behind = _draw_view(
        rng, back.category, sizes=(0.5, 0.56), column=0.5 - lean, position=position,
        ground=(0.78, 0.8),
    )  # fmt: skip
    before = _draw_view(
        rng, front.category, sizes=(0.36, 0.42), column=0.5 + lean * 1.5, position=other,
        ground=(0.92, 0.95),
    )  # fmt: skip
    return Actor(concept=back, view=behind), Actor(concept=front, view=before)


def _stacked(rng: np.random.Generator, concepts: Sequence[Concept]) -> tuple[Actor, ...]:
    # The second stands on the first; nobody jumps in a tower.
    below, above = concepts
    column = 0.5 + uniform(rng, -0.08, 0.08)
    quiet = ("standing", "lying")
    base = _draw_view(
        rng, below.category, sizes=(0.42, 0.48), column=column, position="middle", postures=quiet
    )
    top = _draw_view(
        rng, above.category, sizes=(0.36, 0.42), column=column, position="middle", postures=quiet
    )
    rise = drop(below.category, base) if topples(below.category, base) else 0.38
    if base.posture == "lying" and not topples(below.category, base):
        rise = 0.1
    return (
        Actor(concept=below, view=base),
        Actor(concept=above, view=_grounded(replace(top, x=base.x), above.category,
                                            base.y - rise * base.size)),
    )  # fmt: skip


def _worn(rng: np.random.Generator, concepts: Sequence[Concept]) -> tuple[Actor, ...]:
    wearer, *garments = concepts
    position = pick(rng, AGNOSTIC["position"])
    view = _draw_view(
        rng, wearer.category, sizes=_SIZES[1], column=_COLUMNS[position], position=position
    )
    return (
        Actor(concept=wearer, view=view),
        *(Actor(concept=garment, view=_worn_view(wearer, garment, view)) for garment in garments),
    )


def _worn_view(wearer: Concept, garment: Concept, view: View) -> View:
    lying = view.posture == "lying"
    x, y, size = slot(wearer.category, garment.kind, side=view.facing != "front", lying=lying)
    stretch = JUMP_STRETCH if view.posture == "jumping" else 1.0
    across = (x - 50) / 100 * view.size / math.sqrt(stretch)
    across *= -1 if view.facing == "right" else 1
    down = (y - 50) / 100 * view.size * stretch
    turn = math.radians(view.tilt + topple_angle(wearer.category, view))
    return replace(
        view,
        x=round(view.x + across * math.cos(turn) - down * math.sin(turn), 4),
        y=round(view.y + across * math.sin(turn) + down * math.cos(turn), 4),
        size=round(view.size * size / 100, 4),
        # An animal that lies folds its legs: what it wears is not toppled.
        posture="standing" if lying and not topples(wearer.category, view) else view.posture,
    )
