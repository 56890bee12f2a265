"""Drawing concepts and pictures: every concept-agnostic factor uniform and independent."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeVar

import numpy as np

from dynaip.miniature.toyland.placing import (
    HALF_WIDTH,
    JUMP_HEIGHT,
    JUMP_STRETCH,
    drop,
    topple_angle,
    topples,
)
from dynaip.miniature.toyland.spec import (
    ACTIONS,
    AGNOSTIC,
    KIND_OF,
    KINDS,
    LETTERS,
    SPECIFIC,
    Actor,
    Concept,
    Light,
    Spec,
    View,
)
from dynaip.miniature.toyland.subjects import slot

Split = Literal["train", "test"]
T = TypeVar("T")

WEARERS = ("living", "human")
GARMENTS = ("upwearing", "midwearing", "wholewearing", "downwearing")
ACTION_SHARES = {"next to": 0.55, "in front of": 0.15, "on top of": 0.15, "wearing": 0.15}
BOOK_SHARE = 0.7
"""Share of pictures in picture-book style; the other styles share the rest evenly."""

GLYPH_SHARE = 0.75
LONG_SHARE = 0.25
"""Share of held-out concepts whose glyph has two letters."""

HELD_OUT_SHADE = (0.35, 0.65)
"""No training concept has a colour whose shade lies, by size, between these."""

_HELD_OUT_ONE_IN = 8
_SIZES = {1: (0.56, 0.66), 2: (0.45, 0.53), 3: (0.34, 0.4)}
_COLUMNS = {"left": 0.31, "middle": 0.5, "right": 0.69}
_PAIR_COLUMNS = {"left": 0.26, "right": 0.74}
_TRIPLE_COLUMNS = {"left": 0.19, "middle": 0.5, "right": 0.81}


def is_held_out(concept: Concept) -> bool:
    """Whether a concept belongs to the test split: a rule on its values, the same everywhere.

    Held out are an eighth of the (category, main colour, glyph) combinations, an eighth of the
    (category, main colour, second colour, pattern) combinations, all glyphs of two or more
    letters, and the shades within `HELD_OUT_SHADE`.
    """
    low, high = HELD_OUT_SHADE
    return _combination_held_out(concept) or any(low <= abs(v) < high for v in concept.shade)


def sample_concept(
    rng: np.random.Generator, split: Split = "train", *, kinds: Sequence[str] = tuple(KINDS)
) -> Concept:
    """A subject's identity. The train split never draws what `is_held_out`, the test split only.

    Args:
        rng: source of all chance.
        split: "train" or "test".
        kinds: the kinds to choose from.

    Raises:
        ValueError: unknown split or kind.
    """
    if split not in ("train", "test"):
        raise ValueError(f'There is no split {split!r}: choose "train" or "test".')
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"Unknown kind {sorted(unknown)[0]!r}: choose from {', '.join(KINDS)}.")
    held_out = split == "test"
    while True:
        concept = _draw_concept(rng, held_out, kinds)
        if _combination_held_out(concept) == held_out:
            return concept


def sample_spec(
    rng: np.random.Generator,
    *,
    concepts: Sequence[Concept] | None = None,
    subjects: int = 1,
    split: Split = "train",
    action: str | None = None,
) -> Spec:
    """A picture: concepts (drawn unless given) in fresh, independent concept-agnostic factors.

    Args:
        rng: source of all chance.
        concepts: one to three concepts to show; None draws `subjects` of them from `split`.
        subjects: how many concepts to draw.
        split: where they are drawn from.
        action: how several subjects are arranged; None draws one that these concepts can do.

    Raises:
        ValueError: not one to three subjects, or an action that they cannot do.
    """
    count = subjects if concepts is None else len(concepts)
    if not 1 <= count <= 3:
        raise ValueError(f"A picture shows one to three subjects, not {count}.")
    if action is None and count > 1:
        action = _draw_action(rng, concepts, count)
    if concepts is None:
        concepts = _draw_cast(rng, count, split, action)
    _check_action(concepts, action)
    light = Light(
        direction=_pick(rng, AGNOSTIC["light"]), colour=_pick(rng, AGNOSTIC["light_colour"])
    )
    others = AGNOSTIC["style"][1:]
    style = AGNOSTIC["style"][0] if rng.random() < BOOK_SHARE else _pick(rng, others)
    return Spec(
        actors=_arranged(rng, concepts, action),
        scene=_pick(rng, AGNOSTIC["scene"]),
        scene_seed=int(rng.integers(1 << 16)),
        light=light,
        style=style,
        action=action,
    )


def vary(spec: Spec, rng: np.random.Generator) -> Spec:
    """The same concepts in another picture: all concept-agnostic factors drawn anew.

    Clothes that are worn stay worn; other arrangements are drawn anew too.
    """
    action = spec.action if spec.action == "wearing" else None
    return sample_spec(rng, concepts=[actor.concept for actor in spec.actors], action=action)


def _pick(rng: np.random.Generator, values: Sequence[T]) -> T:
    return values[int(rng.integers(len(values)))]


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    # Rounded so that a spec written to JSON is short and draws the same picture.
    return round(float(rng.uniform(low, high)), 4)


def _combination_held_out(concept: Concept) -> bool:
    name = f"{concept.category}|{concept.main_colour}|"
    return (
        len(concept.glyph) > 1
        or _bucket(name + concept.glyph) == 0
        or _bucket(f"{name}{concept.second_colour}|{concept.pattern}") == 0
    )


def _bucket(text: str) -> int:
    return zlib.crc32(text.encode()) % _HELD_OUT_ONE_IN


def _draw_concept(rng: np.random.Generator, held_out: bool, kinds: Sequence[str]) -> Concept:
    category = _pick(rng, [name for kind in kinds for name in KINDS[kind]])
    main = _pick(rng, SPECIFIC["main_colour"])
    angle = 45.0 * int(rng.integers(4)) + _uniform(rng, -6, 6)
    return Concept(
        kind=KIND_OF[category],
        category=category,
        main_colour=main,
        second_colour=_pick(rng, [name for name in SPECIFIC["second_colour"] if name != main]),
        pattern=_pick(rng, SPECIFIC["pattern"]),
        pattern_scale=_pick(rng, SPECIFIC["pattern_scale"]),
        pattern_direction=angle,
        proportions=(_uniform(rng, 0, 1), _uniform(rng, 0, 1), _uniform(rng, 0, 1)),
        glyph=_draw_glyph(rng, held_out),
        mark=_pick(rng, SPECIFIC["mark"]),
        shade=(_draw_shade(rng, held_out), _draw_shade(rng, held_out)),
    )


def _draw_glyph(rng: np.random.Generator, held_out: bool) -> str:
    if held_out and rng.random() < LONG_SHARE:
        return _pick(rng, LETTERS) + _pick(rng, LETTERS)
    return _pick(rng, LETTERS) if rng.random() < GLYPH_SHARE else ""


def _draw_shade(rng: np.random.Generator, held_out: bool) -> float:
    low, high = HELD_OUT_SHADE
    while True:
        shade = _uniform(rng, -1, 1)
        if (low <= abs(shade) < high) == held_out:
            return shade


def _can_wear(concepts: Sequence[Concept]) -> bool:
    wearer, *garments = concepts
    return wearer.kind in WEARERS and all(garment.kind in GARMENTS for garment in garments)


def _draw_action(rng: np.random.Generator, concepts: Sequence[Concept] | None, count: int) -> str:
    names = [
        name
        for name in ACTIONS
        if (count == 2 or name in ("next to", "wearing"))
        and (name != "wearing" or concepts is None or _can_wear(concepts))
    ]
    shares = np.array([ACTION_SHARES[name] for name in names])
    return names[int(np.searchsorted(np.cumsum(shares / shares.sum()), rng.random()))]


def _check_action(concepts: Sequence[Concept], action: str | None) -> None:
    if len(concepts) == 1:
        if action is not None:
            raise ValueError(f'"{action}" needs at least two subjects: leave the action out.')
    elif action not in ACTIONS:
        raise ValueError(f"Unknown action {action!r}: choose from {', '.join(ACTIONS)}.")
    elif action == "wearing" and not _can_wear(concepts):
        raise ValueError("Only a person or an animal, given first, can wear clothes, given after.")
    elif len(concepts) == 3 and action in ("in front of", "on top of"):
        raise ValueError(f'Three subjects cannot be "{action}": use "next to" or "wearing".')


def _draw_cast(
    rng: np.random.Generator, count: int, split: Split, action: str | None
) -> list[Concept]:
    if action == "wearing":
        garments = ("upwearing", "midwearing", "downwearing") if count == 3 else GARMENTS
        order = rng.permutation(len(garments))[: count - 1]
        kinds = [WEARERS, *((garments[int(index)],) for index in sorted(order))]
        return [sample_concept(rng, split, kinds=choice) for choice in kinds]
    cast: list[Concept] = []
    while len(cast) < count:
        concept = sample_concept(rng, split)
        # Two dogs in one picture could not be told apart in a caption.
        if all(concept.category != other.category for other in cast):
            cast.append(concept)
    return cast


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
        facing=_pick(rng, AGNOSTIC["facing"]),
        posture=_pick(rng, postures),
        tilt=round(_uniform(rng, -12, 12), 2),
        size=_uniform(rng, *sizes),
        position=position,
    )
    x = column + _uniform(rng, -0.03, 0.03)
    half = half_width(category, view)
    return _grounded(
        replace(view, x=round(min(max(x, half), 1 - half), 4)), category, _uniform(rng, *ground)
    )


def half_width(category: str, view: View) -> float:
    """Half of what a view takes of the picture's width, tilt included, in picture widths."""
    wide = topples(category, view) or category not in HALF_WIDTH
    return (0.52 if wide else 0.46) * view.size


def _grounded(view: View, category: str, ground: float) -> View:
    jumping = view.posture == "jumping"
    y = ground - drop(category, view) * view.size - (JUMP_HEIGHT if jumping else 0)
    highest = 0.5 * view.size * (JUMP_STRETCH if jumping else 1)
    return replace(view, y=round(max(y, highest), 4))


def _arranged(
    rng: np.random.Generator, concepts: Sequence[Concept], action: str | None
) -> tuple[Actor, ...]:
    if action == "wearing":
        return _worn(rng, concepts)
    if action == "on top of":
        return _stacked(rng, concepts)
    if action == "in front of":
        return _overlapping(rng, concepts)
    columns = {1: _COLUMNS, 2: _PAIR_COLUMNS, 3: _TRIPLE_COLUMNS}[len(concepts)]
    # One subject goes anywhere; two and three stand from left to right.
    positions = [_pick(rng, tuple(columns))] if len(concepts) == 1 else list(columns)
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


def _overlapping(rng: np.random.Generator, concepts: Sequence[Concept]) -> tuple[Actor, ...]:
    back, front = concepts
    position = _pick(rng, ("left", "right"))
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
    column = 0.5 + _uniform(rng, -0.08, 0.08)
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
    position = _pick(rng, AGNOSTIC["position"])
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
