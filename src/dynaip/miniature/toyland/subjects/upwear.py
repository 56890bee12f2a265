"""Hats: a brim, a visor or a feather says where they look."""

from __future__ import annotations

from dynaip.miniature.toyland.pen import Pen
from dynaip.miniature.toyland.svg import oval, rounded


def cap(pen: Pen) -> None:
    """A round cap with a peak in front."""
    half, top, peak = 34 * pen.wide, 46 - 20 * pen.big, 22 * pen.long
    centre = 57 if pen.side else 50
    pen.body(
        f"M{centre - half:.1f} 78Q{centre - half:.1f} {top:.1f} {centre:.1f} {top:.1f}"
        f"Q{centre + half:.1f} {top:.1f} {centre + half:.1f} 78"
        f"Q{centre:.1f} 86 {centre - half:.1f} 78Z"
    )
    pen.shape(oval(centre, top, 6, 4.5), "second")
    if pen.side:
        pen.shape(
            f"M{centre - half + 14:.1f} 70L{centre - half - 3:.1f} 70"
            f"Q{centre - half - peak:.1f} 74 {centre - half - peak:.1f} 86"
            f"Q{centre - half:.1f} 82 {centre - half + 22:.1f} 84Z",
            "second",
        )
    else:
        pen.shape(
            f"M{50 - half - 2:.1f} 76Q50 64 {52 + half:.1f} 76"
            f"Q{50 + half:.1f} {78 + peak:.1f} 50 {78 + peak:.1f}"
            f"Q{50 - half:.1f} {78 + peak:.1f} {50 - half - 2:.1f} 76Z",
            "second",
        )
    pen.badge(centre + (2 if pen.side else 0), 52, 13.7)
    pen.sticker(centre + half * 0.66, 62, 7.5)


def helmet(pen: Pen) -> None:
    """A knight's helmet with a crest; the visor is in front."""
    half, crest = 31 * pen.wide, 14 * pen.big
    chin = 88 + 9 * (pen.long - 0.84) / 0.32
    if pen.side:
        pen.limb(f"M44 18Q76 {18 - crest:.1f} {52 + half:.1f} 50", 9, "second")
    else:
        pen.limb(f"M50 20V{20 - crest:.1f}", 11, "second")
    pen.body(
        f"M{50 - half:.1f} {chin:.1f}V48Q{50 - half:.1f} 18 50 18"
        f"Q{50 + half:.1f} 18 {50 + half:.1f} 48V{chin:.1f}"
        f"Q50 {chin + 5:.1f} {50 - half:.1f} {chin:.1f}Z"
    )
    if pen.side:
        pen.shape(
            f"M{46 - half:.1f} 40H52Q60 47 52 55H{46 - half:.1f}"
            f"Q{40 - half:.1f} 47 {46 - half:.1f} 40Z",
            "second",
        )
        pen.line(f"M{48 - half:.1f} 47.5H46", 4)
    else:
        pen.shape(rounded(54 - half, 39, 2 * half - 8, 17, 7), "second")
        pen.line(f"M{60 - half:.1f} 47.5H{40 + half:.1f}", 4)
    pen.badge(50 + (6 if pen.side else 0), 74, 12.7)
    pen.sticker(50 + half * 0.62, 32, 7.5)


def hat(pen: Pen) -> None:
    """A tall hat with a ribbon and a feather."""
    half, brim = 24 * pen.wide, 40 + 8 * (pen.long - 1)
    top = 30 - 16 * pen.big
    if pen.side:
        pen.shape(f"M66 74Q100 60 {92 + 6 * pen.long:.1f} 14Q70 30 60 66Z", "second")
    pen.body(
        f"M{50 - half:.1f} 80L{52 - half:.1f} {top + 8:.1f}"
        f"Q50 {top - 6:.1f} {48 + half:.1f} {top + 8:.1f}L{50 + half:.1f} 80Z"
    )
    pen.shape(rounded(49 - half, 66, 2 * half + 2, 12, 2), "second")
    if pen.side:
        pen.shape(
            f"M{50 - brim:.1f} 95Q24 76 50 78Q80 78 {46 + brim:.1f} 72"
            f"Q{44 + brim:.1f} 92 50 92Q30 92 {50 - brim:.1f} 95Z"
        )
    else:
        pen.shape(oval(50, 84, brim, 9))
        pen.shape(
            f"M50 {top + 22:.1f}Q40 {top:.1f} 50 {top - 12:.1f}Q60 {top:.1f} 50 {top + 22:.1f}Z",
            "second",
        )
    pen.badge(50, 49, 12.3)
    pen.sticker(50 - half + 9, 27, 7)
