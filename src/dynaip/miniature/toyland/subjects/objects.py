"""Things with faces: the face, a spout or a handle says where they look."""

from __future__ import annotations

from dynaip.miniature.toyland.pen import Pen
from dynaip.miniature.toyland.svg import oval, rounded


def _face(pen: Pen, x: float, y: float) -> None:
    # Seen from the side the face sits at the leading edge and one eye is smaller.
    if pen.side:
        pen.eye(x - 5, y, 3.8)
        pen.eye(x + 6, y, 4.6)
        pen.line(f"M{x - 5} {y + 8}q4 4 9 0", 2.4)
    else:
        pen.eye(x - 9, y, 4.4)
        pen.eye(x + 9, y, 4.4)
        pen.line(f"M{x - 5} {y + 7}q5 5 10 0", 2.4)


def mug(pen: Pen) -> None:
    """A tall cup; the handle is behind it."""
    half = 27 * pen.wide
    centre = 42 if pen.side else 50
    top, reach = 30 - 14 * (pen.big - 0.84), 15 * pen.long
    if pen.side:
        edge = centre + half - 3
        pen.limb(
            f"M{edge:.1f} 42C{edge + reach + 14:.1f} 38 {edge + reach + 14:.1f} 80 {edge:.1f} 78",
            8,
            "second",
        )
    pen.body(
        f"M{centre - half:.1f} {top:.1f}V88Q{centre - half:.1f} 97 {centre - half + 10:.1f} 97"
        f"H{centre + half - 10:.1f}Q{centre + half:.1f} 97 {centre + half:.1f} 88V{top:.1f}Z"
    )
    pen.shape(oval(centre, top, half, 7), "second")
    _face(pen, centre - (half - 12 if pen.side else 0), 46)
    pen.badge(centre + (3 if pen.side else 0), 75, 13.7)
    pen.sticker(centre + half - 11, 52, 8)


def teapot(pen: Pen) -> None:
    """A round pot with a lid; the spout is in front."""
    half = 30 * pen.wide
    lid = 8 * pen.big
    if pen.side:
        pen.limb("M74 46C98 40 98 82 74 80", 7, "second")
        tip = 8 + 10 * (1.16 - pen.long)
        pen.shape(f"M28 84Q14 72 {tip:.1f} 42L{tip + 13:.1f} 40Q26 58 34 60Z")
    else:
        top = 30 - 10 * pen.long
        pen.limb(f"M24 50C20 {top:.1f} 80 {top:.1f} 76 50", 7, "second")
    pen.body(
        f"M50 36C{50 + half + 6:.1f} 36 {50 + half + 6:.1f} 97 {50 + half * 0.6:.1f} 97"
        f"H{50 - half * 0.6:.1f}C{50 - half - 6:.1f} 97 {50 - half - 6:.1f} 36 50 36Z"
    )
    pen.shape(f"M{50 - lid * 2.4:.1f} 40Q50 {38 - lid * 2:.1f} {50 + lid * 2.4:.1f} 40Z", "second")
    pen.shape(oval(50, 32 - lid, 5.5, 5.5), "second")
    _face(pen, 34 if pen.side else 50, 53)
    if not pen.side:
        pen.shape(oval(50, 62, 8, 6), "second")
        pen.dot(50, 62, 3.6)
    pen.badge(54 if pen.side else 50, 78, 12.7)
    pen.sticker(70, 58, 8)


def armchair(pen: Pen) -> None:
    """A back, arms and a cushion; the seat is in front."""
    for x in (24, 76):
        pen.limb(f"M{x} 88V95", 6, "second")
    back = 34 - 22 * (pen.big - 0.84) * 2
    if pen.side:
        left = 18 - 10 * (pen.long - 1)
        right = 82 + 12 * (pen.wide - 1)
        pen.body(
            f"M{left + 4:.1f} 54H60L68 {back - 12:.1f}Q72 {back - 20:.1f} 80 {back - 16:.1f}"
            f"Q{right + 6:.1f} {back - 12:.1f} {right + 2:.1f} {back:.1f}"
            f"L{right:.1f} 90H{left:.1f}V58Q{left:.1f} 54 {left + 4:.1f} 54Z"
        )
        pen.shape(rounded(left - 2, 45, 46, 12, 6), "second")
        _face(pen, left + 14, 66)
        pen.badge(59, 74, 12.3)
        pen.sticker(75, 42, 8)
        return
    half = 26 * pen.wide
    pen.body(rounded(50 - half, back - 20, 2 * half, 92 - back, 13))
    arm = 12 * pen.long
    for side in (-1, 1):
        x = 50 + side * (half + 3)
        pen.shape(rounded(x - arm / 2 - 2, 50, arm + 4, 42, 7))
    pen.shape(rounded(52 - half, 68, 2 * half - 4, 12, 5), "second")
    pen.shape(rounded(52 - half, 80, 2 * half - 4, 12, 3))
    _face(pen, 50, back - 6)
    pen.badge(50, 54, 12.7)
    pen.sticker(50 + half - 10, back + 12, 7.5)
