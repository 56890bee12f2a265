"""Captions: paraphrased templates that name any subset of a picture's factors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from dynaip.miniature.toyland.chance import pick
from dynaip.miniature.toyland.spec import (
    AGNOSTIC,
    FACTORS,
    SPECIFIC,
    Actor,
    Concept,
    Light,
    Spec,
    View,
)

MOST_WORDS = 30
PLURAL = ("overalls", "trousers", "boots")
SHARES: dict[str, float] = {
    **dict.fromkeys(SPECIFIC, 0.5),
    **dict.fromkeys(("facing", "posture", "position", "light", "light_colour", "style"), 0.6),
    "category": 0.85,
    "scene": 0.85,
}
"""How often a random caption names each factor."""

_SCENES = {
    "room": ("in a room", "inside a room", "in the living room"),
    "snow": ("in the snow", "on the snow", "in a snowy landscape"),
    "jungle": ("in the jungle", "in a jungle", "between jungle plants"),
    "beach": ("on the beach", "at the beach", "on a sandy beach"),
    "grass": ("on the grass", "in the grass", "on a grass field"),
    "street": ("on a cobblestone street", "in a cobblestone street", "on cobblestones"),
    "white": ("on white", "on a white background", "on white paper"),
}
_FACING = {
    "left": ("facing left", "looking to the left", "turned left"),
    "front": ("facing front", "looking at us", "facing forward"),
    "right": ("facing right", "looking to the right", "turned right"),
}
_POSTURES = {
    "standing": (("stands", "stand"), ("is standing", "are standing")),
    "lying": (("lies", "lie"), ("is lying down", "are lying down")),
    "jumping": (("jumps", "jump"), ("is jumping", "are jumping")),
}
_POSITIONS = {
    "left": ("on the left", "at the left", "on the left side"),
    "middle": ("in the middle", "at the centre", "in the centre"),
    "right": ("on the right", "at the right", "on the right side"),
}
_LIGHTS = {
    "left": ("from the left", "from the left side"),
    "right": ("from the right", "from the right side"),
    "above": ("from above", "from the top"),
    "below": ("from below", "from underneath"),
}
_LIGHT_COLOURS = {
    "white": ("white light", "clear daylight"),
    "warm": ("warm light", "warm evening light"),
    "cool": ("cool light", "cold light"),
    "pink": ("pink light", "rosy light"),
}
_STYLES = {
    "book": ("picture book style", "like a picture book"),
    "ink": ("ink style", "as an ink drawing"),
    "pastel": ("pastel style", "as a pastel drawing"),
    "cutout": ("paper style", "as a paper cut"),
}
_SIZES = {"fine": ("small", "fine"), "coarse": ("big", "large")}
_MARKS = {"star": "a star", "heart": "a heart", "cross": "a cross", "ring": "a ring"}


def caption(spec: Spec, rng: np.random.Generator, name: Iterable[str] | None = None) -> str:
    """A sentence about a picture, at most 30 words, in a small lower-case vocabulary.

    Args:
        spec: the picture.
        rng: chooses the words, their order and, without `name`, the factors.
        name: factors to name, out of `FACTORS`; a category left out is called "toy". None draws
            a subset by `SHARES`.

    Raises:
        ValueError: an unknown factor, or more factors of more subjects than 30 words can name.
    """
    if name is not None:
        named = frozenset(name)
        if unknown := named - set(FACTORS):
            raise ValueError(f"There is no factor {sorted(unknown)[0]!r}: see FACTORS.")
        return _fitting(spec, rng, named)
    return _shortened(spec, rng, [f for f, share in SHARES.items() if rng.random() < share])


def full_caption(spec: Spec, rng: np.random.Generator) -> str:
    """A sentence of all factors; chance drops others than the category until 30 words hold it."""
    others = [name for name in FACTORS if name != "category"]
    return _shortened(spec, rng, others, frozenset({"category"}))


def view_caption(spec: Spec, rng: np.random.Generator, category_share: float) -> str:
    """A sentence of all that a reference does not decide; a share of them names the category."""
    named = rng.random() < category_share
    return caption(spec, rng, (*AGNOSTIC, "category") if named else AGNOSTIC)


def _shortened(
    spec: Spec, rng: np.random.Generator, chosen: list[str], always: frozenset[str] = frozenset()
) -> str:
    """Leaves out chosen factors until 30 words hold the sentence."""
    left = list(chosen)
    while True:
        text = _sentence(spec, rng, always.union(left))
        if len(text.split()) <= MOST_WORDS:
            return text
        left.pop(int(rng.integers(len(left))))


def _fitting(spec: Spec, rng: np.random.Generator, named: frozenset[str]) -> str:
    # What is asked for is named: rather a shorter wording than a factor less.
    for _ in range(8):
        text = _sentence(spec, rng, named)
        if len(text.split()) <= MOST_WORDS:
            return text
    text = _sentence(spec, None, named)
    if len(text.split()) <= MOST_WORDS:
        return text
    raise ValueError(f"{MOST_WORDS} words cannot name all of this: name fewer factors.")


def _pick(rng: np.random.Generator | None, phrases: Sequence[str]) -> str:
    """A phrase; without chance the one of fewest words."""
    if rng is None:
        return min(phrases, key=lambda phrase: len(phrase.split()))
    return pick(rng, phrases)


def _sentence(spec: Spec, rng: np.random.Generator | None, named: frozenset[str]) -> str:
    if len(spec.actors) == 1:
        clause = _alone(spec.actors[0], rng, named)
    elif spec.action == "wearing":
        clause = _dressed(spec, rng, named)
    else:
        clause = _together(spec, rng, named)
    place = _pick(rng, _SCENES[spec.scene]) if "scene" in named else ""
    closing = [part for part in (_light(spec.light, rng, named), _style(spec, rng, named)) if part]
    if place and rng is not None and rng.random() < 0.25:
        return ", ".join([place, clause, *closing])
    return ", ".join([f"{clause} {place}".strip(), *closing])


def _alone(actor: Actor, rng: np.random.Generator | None, named: frozenset[str]) -> str:
    view = actor.view
    verb = _verb(actor, rng, named) if "posture" in named else ""
    place = _pick(rng, _POSITIONS[view.position]) if "position" in named else ""
    look = _pick(rng, _FACING[view.facing]) if "facing" in named else ""
    order = (verb, look, place) if rng is not None and rng.random() < 0.3 else (verb, place, look)
    return " ".join(part for part in (_noun(actor.concept, rng, named), *order) if part)


def _together(spec: Spec, rng: np.random.Generator | None, named: frozenset[str]) -> str:
    described = [
        " ".join(
            part
            for part in (_noun(actor.concept, rng, named), _doing(actor.view, rng, named))
            if part
        )
        for actor in spec.actors
    ]
    if spec.action != "next to":
        return f"{described[1]} {spec.action} {described[0]}"
    if "position" in named:
        described = [
            f"{text} {_POSITIONS[actor.view.position][0]}"
            for text, actor in zip(described, spec.actors, strict=True)
        ]
    elif len(described) == 2:
        return f"{described[0]} next to {described[1]}"
    return ", ".join(described[:-1]) + f" and {described[-1]}"


def _dressed(spec: Spec, rng: np.random.Generator | None, named: frozenset[str]) -> str:
    wearer, *garments = spec.actors
    worn = " and ".join(_noun(garment.concept, rng, named) for garment in garments)
    parts = [_noun(wearer.concept, rng, named), f"wearing {worn}", _doing(wearer.view, rng, named)]
    if "position" in named:
        parts.append(_pick(rng, _POSITIONS[wearer.view.position]))
    return " ".join(part for part in parts if part)


def _doing(view: View, rng: np.random.Generator | None, named: frozenset[str]) -> str:
    posture = view.posture if "posture" in named else ""
    look = _pick(rng, _FACING[view.facing][::2]) if "facing" in named else ""
    return f"{posture} {look}".strip()


def _verb(actor: Actor, rng: np.random.Generator | None, named: frozenset[str]) -> str:
    plural = "category" in named and actor.concept.category in PLURAL
    forms = [form[plural] for form in _POSTURES[actor.view.posture]]
    return _pick(rng, forms)


def _noun(concept: Concept, rng: np.random.Generator | None, named: frozenset[str]) -> str:
    category = concept.category if "category" in named else "toy"
    words = [category]
    if "main_colour" in named:
        words.insert(0, concept.main_colour)
    if "pattern" in named and concept.pattern == "plain":
        words.insert(0, "plain")
    extras = [
        part for part in (_pattern(concept, rng, named), *_signs(concept, rng, named)) if part
    ]
    text = " ".join(words)
    if category not in PLURAL:
        text = _with_article(text)
    if not extras:
        return text
    listed = ", ".join(extras[:-1]) + " and " + extras[-1] if len(extras) > 1 else extras[0]
    return f"{text} with {listed}"


def _pattern(concept: Concept, rng: np.random.Generator | None, named: frozenset[str]) -> str:
    colour = concept.second_colour if "second_colour" in named else ""
    if "pattern" not in named or concept.pattern == "plain":
        return f"{colour} parts" if colour else ""
    size = _pick(rng, _SIZES[concept.pattern_scale]) if "pattern_scale" in named else ""
    pattern = "zigzags" if concept.pattern == "zigzag" else concept.pattern
    return " ".join(part for part in (size, colour, pattern) if part)


def _signs(concept: Concept, rng: np.random.Generator | None, named: frozenset[str]) -> list[str]:
    signs = []
    if "glyph" in named and concept.glyph:
        noun = "letter" if len(concept.glyph) == 1 else "letters"
        signs.append(_pick(rng, (f"the {noun} {concept.glyph}", f"{_a_letter(concept.glyph)}")))
    if "mark" in named and concept.mark != "none":
        signs.append(_MARKS[concept.mark] + _pick(rng, ("", " sticker")))
    return signs


def _a_letter(glyph: str) -> str:
    if len(glyph) > 1:
        return f"the letters {glyph}"
    # By sound: an F, a U.
    return f"{'an' if glyph in 'AEFHILMNORSX' else 'a'} {glyph}"


def _with_article(text: str) -> str:
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def _light(light: Light, rng: np.random.Generator | None, named: frozenset[str]) -> str:
    colour = _pick(rng, _LIGHT_COLOURS[light.colour]) if "light_colour" in named else ""
    direction = _pick(rng, _LIGHTS[light.direction]) if "light" in named else ""
    if not colour and not direction:
        return ""
    phrase = " ".join(part for part in (colour or "light", direction) if part)
    return _pick(rng, (phrase, f"in {phrase}" if colour else f"with {phrase}"))


def _style(spec: Spec, rng: np.random.Generator | None, named: frozenset[str]) -> str:
    return _pick(rng, _STYLES[spec.style]) if "style" in named else ""
