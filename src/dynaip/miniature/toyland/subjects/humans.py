"""People: what they wear on top in the main colour, a belt, a hem or trousers in the second."""

from __future__ import annotations

from dataclasses import dataclass

from dynaip.miniature.toyland.pen import Pen
from dynaip.miniature.toyland.svg import oval, polygon, rounded


@dataclass(frozen=True)
class _Build:
    """Where a body's parts sit: chin, waist, head radius, half shoulder and hip width."""

    chin: float
    waist: float
    head: float
    shoulder: float
    hip: float


_WOMAN = _Build(36, 87, 15, 14, 30)
_MAN = _Build(34, 78, 14, 24, 23)
_CHILD = _Build(43, 86, 19, 18, 26)


def _torso(pen: Pen, build: _Build) -> None:
    shoulder, hip = build.shoulder * pen.wide, build.hip * pen.wide
    y, waist, reach = build.chin, build.waist, 19 * pen.long
    if pen.side:
        shoulder, hip = shoulder * 0.86, hip * 0.9
    pen.body(
        f"M{50 - shoulder:.1f} {y + 6:.1f}Q{50 - shoulder:.1f} {y:.1f} {57 - shoulder:.1f} {y:.1f}"
        f"H{43 + shoulder:.1f}Q{50 + shoulder:.1f} {y:.1f} {50 + shoulder:.1f} {y + 6:.1f}"
        f"L{50 + hip:.1f} {waist:.1f}H{50 - hip:.1f}Z"
    )
    if pen.side:
        x = 50 - shoulder + 2
        pen.limb(f"M{x:.1f} {y + 8:.1f}l{-reach:.1f} 3", 8)
        pen.dot(x - reach - 2, y + 11, 5.5, "skin")
        return
    for side in (-1, 1):
        x = 50 + side * (shoulder - 1)
        pen.limb(f"M{x:.1f} {y + 7:.1f}l{side * reach * 0.5:.1f} {reach:.1f}", 8)
        pen.dot(x + side * reach * 0.55, y + 9 + reach, 5.5, "skin")


def _face(pen: Pen, y: float, r: float) -> None:
    if pen.side:
        pen.shape(
            polygon((50 - r * 0.85, y - 3), (50 - r * 1.36, y + 6), (50 - r * 0.8, y + 7)), "skin"
        )
    pen.shape(oval(50, y, r, r), "skin")
    if pen.side:
        pen.eye(50 - r * 0.5, y - 2, 3.6)
        pen.line(f"M{50 - r * 0.8:.1f} {y + r * 0.5:.1f}q4 3 8 0", 2.4)
    else:
        pen.eye(50 - r * 0.42, y - 1, 3.6)
        pen.eye(50 + r * 0.42, y - 1, 3.6)
        pen.line(f"M{50 - 5} {y + r * 0.45:.1f}q5 5 10 0", 2.4)


def _legs(pen: Pen, build: _Build, fill: str) -> None:
    spread = build.hip * pen.wide * 0.52
    for side in (-1, 1):
        x = 50 + side * spread
        pen.limb(f"M{x:.1f} {build.waist - 2:.1f}V92", 9, fill)
        toe = -9 if pen.side else side * 3
        pen.limb(f"M{x:.1f} 95h{toe}", 6, "ink")


def _cap_of_hair(pen: Pen, y: float, r: float) -> None:
    # A fringe over the front, or hair pushed to the back of the head.
    if pen.side:
        pen.shape(
            f"M{50 - r * 0.8:.1f} {y - r * 0.5:.1f}"
            f"A{r:.1f} {r:.1f} 0 0 1 {50 + r:.1f} {y + r * 0.3:.1f}"
            f"Q{50 + r * 0.4:.1f} {y + r * 0.2:.1f} {50 + r * 0.3:.1f} {y - r * 0.35:.1f}Z",
            "hair",
        )
    else:
        pen.shape(
            f"M{50 - r:.1f} {y:.1f}A{r:.1f} {r:.1f} 0 0 1 {50 + r:.1f} {y:.1f}"
            f"Q{50 + r * 0.5:.1f} {y - r * 0.5:.1f} 50 {y - r * 0.5:.1f}"
            f"Q{50 - r * 0.5:.1f} {y - r * 0.5:.1f} {50 - r:.1f} {y:.1f}Z",
            "hair",
        )


def woman(pen: Pen) -> None:
    """Long hair and a dress with a belt."""
    r = _WOMAN.head * pen.big
    y = _WOMAN.chin - r + 3
    if pen.side:
        pen.shape(rounded(50 - r * 0.2, y - r * 0.9, r * 1.5, r * 2.4, 8), "hair")
    else:
        pen.shape(rounded(50 - r * 1.3, y - r * 0.9, r * 2.6, r * 2.3, 10), "hair")
    _legs(pen, _WOMAN, "skin")
    hip = _WOMAN.hip * pen.wide
    _torso(pen, _WOMAN)
    pen.shape(rounded(50 - hip * 0.72, 55, hip * 1.44, 8, 3), "second")
    _face(pen, y, r)
    _cap_of_hair(pen, y, r)
    pen.badge(50, 75, 11.2)
    pen.sticker(50, 46, 6.5)


def man(pen: Pen) -> None:
    """Broad shoulders, short hair, a beard, trousers."""
    r = _MAN.head * pen.big
    y = _MAN.chin - r + 3
    _legs(pen, _MAN, "second")
    _torso(pen, _MAN)
    hip = _MAN.hip * pen.wide * (0.9 if pen.side else 1)
    pen.shape(rounded(50 - hip, 75, 2 * hip, 11, 3), "second")
    _face(pen, y, r)
    if pen.side:
        pen.shape(
            f"M{50 - r:.1f} {y + r * 0.35:.1f}L{50 + r * 0.2:.1f} {y + r * 0.3:.1f}"
            f"Q{50 + r * 0.2:.1f} {y + r * 1.3:.1f} {50 - r * 0.7:.1f} {y + r * 1.25:.1f}Z",
            "hair",
        )
    else:
        pen.shape(
            f"M{50 - r:.1f} {y + r * 0.2:.1f}Q50 {y + r * 0.8:.1f} {50 + r:.1f} {y + r * 0.2:.1f}"
            f"Q{50 + r * 0.9:.1f} {y + r * 1.4:.1f} 50 {y + r * 1.4:.1f}"
            f"Q{50 - r * 0.9:.1f} {y + r * 1.4:.1f} {50 - r:.1f} {y + r * 0.2:.1f}Z",
            "hair",
        )
    _cap_of_hair(pen, y, r)
    pen.badge(50, 60, 11.2)
    pen.sticker(50 + _MAN.shoulder * pen.wide * 0.6, 43, 6.5)


def child(pen: Pen) -> None:
    """A large head with two buns over a wide poncho."""
    r = _CHILD.head * pen.big * 0.95
    y = _CHILD.chin - r + 4
    for side in (-1, 1) if not pen.side else (1,):
        pen.shape(oval(50 + side * r * 0.85, y - r * 0.75, 8, 8), "hair")
    _legs(pen, _CHILD, "second")
    _torso(pen, _CHILD)
    hip = _CHILD.hip * pen.wide * (0.9 if pen.side else 1)
    pen.shape(rounded(50 - hip, 81, 2 * hip, 8, 3), "second")
    _face(pen, y, r)
    _cap_of_hair(pen, y, r)
    pen.badge(50, 65, 11)
    pen.sticker(50 + 18 * pen.wide, 74, 6)
