"""Drawing concepts and pictures: every concept-agnostic factor uniform and independent."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from dynaip.miniature.toyland.arranging import arranged
from dynaip.miniature.toyland.chance import pick, uniform
from dynaip.miniature.toyland.spec import (
    ACTIONS,
    AGNOSTIC,
    KIND_OF,
    KINDS,
    LETTERS,
    SPECIFIC,
    Concept,
    Light,
    Spec,
)

WEARERS = ("living", "human")
GARMENTS = ("upwearing", "midwearing", "wholewearing", "downwearing")
ACTION_SHARES = {"next to": 0.55, "in front of": 0.15, "on top of": 0.15, "wearing": 0.15}
BOOK_SHARE = 0.7
"""Share of pictures in picture-book style; the other styles share the rest evenly."""

GLYPH_SHARE = 0.75
LONG_SHARE = 0.2
"""Share of held-out concepts whose glyph has two letters."""

HELD_OUT_SHADE = (0.35, 0.65)
"""No training concept has a colour whose shade lies, by size, between these."""

_HELD_OUT_ONE_IN = 8


def is_held_out(concept: Concept) -> bool:
    """Whether a concept belongs to the test split: a rule on its values, the same everywhere.

    Held out are an eighth of the (category, main colour, glyph) combinations, an eighth of the
    (category, main colour, second colour, pattern) combinations, all glyphs of two or more
    letters, and the shades within `HELD_OUT_SHADE`.
    """
    low, high = HELD_OUT_SHADE
    return _combination_held_out(concept) or any(low <= abs(v) < high for v in concept.shade)


def sample_concept(
    rng: np.random.Generator, split: str = "train", *, kinds: Sequence[str] = tuple(KINDS)
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
    long = held_out and rng.random() < LONG_SHARE
    while True:
        concept = _draw_concept(rng, held_out, long, kinds)
        if _combination_held_out(concept) == held_out:
            return concept


def sample_spec(
    rng: np.random.Generator,
    *,
    concepts: Sequence[Concept] | None = None,
    subjects: int = 1,
    split: str = "train",
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
        direction=pick(rng, AGNOSTIC["light"]), colour=pick(rng, AGNOSTIC["light_colour"])
    )
    others = AGNOSTIC["style"][1:]
    style = AGNOSTIC["style"][0] if rng.random() < BOOK_SHARE else pick(rng, others)
    return Spec(
        actors=arranged(rng, concepts, action),
        scene=pick(rng, AGNOSTIC["scene"]),
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


def _combination_held_out(concept: Concept) -> bool:
    name = f"{concept.category}|{concept.main_colour}|"
    return (
        len(concept.glyph) > 1
        or _bucket(name + concept.glyph) == 0
        or _bucket(f"{name}{concept.second_colour}|{concept.pattern}") == 0
    )


def _bucket(text: str) -> int:
    return zlib.crc32(text.encode()) % _HELD_OUT_ONE_IN


def _draw_concept(
    rng: np.random.Generator, held_out: bool, long: bool, kinds: Sequence[str]
) -> Concept:
    category = pick(rng, [name for kind in kinds for name in KINDS[kind]])
    main = pick(rng, SPECIFIC["main_colour"])
    angle = 45.0 * int(rng.integers(4)) + uniform(rng, -6, 6)
    return Concept(
        kind=KIND_OF[category],
        category=category,
        main_colour=main,
        second_colour=pick(rng, [name for name in SPECIFIC["second_colour"] if name != main]),
        pattern=pick(rng, SPECIFIC["pattern"]),
        pattern_scale=pick(rng, SPECIFIC["pattern_scale"]),
        pattern_direction=angle,
        proportions=(uniform(rng, 0, 1), uniform(rng, 0, 1), uniform(rng, 0, 1)),
        glyph=_draw_glyph(rng, long),
        mark=pick(rng, SPECIFIC["mark"]),
        shade=(_draw_shade(rng, held_out), _draw_shade(rng, held_out)),
    )


def _draw_glyph(rng: np.random.Generator, long: bool) -> str:
    if long:
        return pick(rng, LETTERS) + pick(rng, LETTERS)
    return pick(rng, LETTERS) if rng.random() < GLYPH_SHARE else ""


def _draw_shade(rng: np.random.Generator, held_out: bool) -> float:
    low, high = HELD_OUT_SHADE
    while True:
        shade = uniform(rng, -1, 1)
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
    rng: np.random.Generator, count: int, split: str, action: str | None
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
