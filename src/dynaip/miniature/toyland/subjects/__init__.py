"""One drawing function per category, and where clothes sit on whoever wears them."""

from __future__ import annotations

from collections.abc import Callable

from dynaip.miniature.toyland.pen import Pen
from dynaip.miniature.toyland.subjects import (
    characters,
    garments,
    humans,
    living,
    objects,
    upwear,
)

DRAWINGS: dict[str, Callable[[Pen], None]] = {
    "dog": living.dog,
    "cat": living.cat,
    "duck": living.duck,
    "mug": objects.mug,
    "teapot": objects.teapot,
    "armchair": objects.armchair,
    "woman": humans.woman,
    "man": humans.man,
    "child": humans.child,
    "robot": characters.robot,
    "monster": characters.monster,
    "wizard": characters.wizard,
    "cap": upwear.cap,
    "helmet": upwear.helmet,
    "hat": upwear.hat,
    "shirt": garments.shirt,
    "jacket": garments.jacket,
    "hoodie": garments.hoodie,
    "dress": garments.dress,
    "overalls": garments.overalls,
    "coat": garments.coat,
    "trousers": garments.trousers,
    "skirt": garments.skirt,
    "boots": garments.boots,
}

Slot = tuple[float, float, float]
"""Centre and size of a garment in its wearer's box of 100 by 100."""

_PEOPLE: dict[str, Slot] = {
    "upwearing": (50, 6, 44),
    "midwearing": (50, 55, 46),
    "wholewearing": (50, 63, 56),
    "downwearing": (50, 81, 36),
}
_CHILD: dict[str, Slot] = {
    "upwearing": (50, 6, 52),
    "midwearing": (50, 66, 42),
    "wholewearing": (50, 70, 48),
    "downwearing": (50, 85, 30),
}
_LIVING_FRONT: dict[str, Slot] = {
    "upwearing": (50, 8, 44),
    "midwearing": (50, 66, 56),
    "wholewearing": (50, 70, 62),
    "downwearing": (50, 82, 42),
}
_LIVING_SIDE: dict[str, Slot] = {
    "upwearing": (29, 12, 40),
    "midwearing": (55, 64, 52),
    "wholewearing": (56, 66, 58),
    "downwearing": (64, 78, 42),
}
_LOWERED: dict[str, float] = {
    "upwearing": 28,
    "midwearing": 14,
    "wholewearing": 12,
    "downwearing": 6,
}
"""How far each slot sinks when an animal lies down."""


def slot(wearer: str, garment_kind: str, *, side: bool, lying: bool) -> Slot:
    """Where a kind of garment sits in the box of a wearer's category.

    Raises:
        ValueError: this category cannot wear clothes.
    """
    if wearer in ("woman", "man", "child"):
        return (_CHILD if wearer == "child" else _PEOPLE)[garment_kind]
    if wearer in ("dog", "cat", "duck"):
        x, y, size = (_LIVING_SIDE if side else _LIVING_FRONT)[garment_kind]
        return x, y + (_LOWERED[garment_kind] if lying else 0), size
    raise ValueError(
        f"A {wearer} cannot wear clothes: choose a person or an animal as first actor."
    )
