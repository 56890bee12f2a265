"""Beings out of stories: a robot, a monster, a wizard."""

from __future__ import annotations

from dynaip.miniature.toyland.pen import Pen
from dynaip.miniature.toyland.svg import oval, polygon, rounded


def robot(pen: Pen) -> None:
    """A square head with an antenna, a square body, grey limbs."""
    half, head, reach = 23 * pen.wide, 17 * pen.big, 17 * pen.long
    for x in (40, 60):
        pen.limb(f"M{x} 80V94{'h-7' if pen.side else ''}", 9, "grey")
    pen.limb("M50 14V6", 3, "grey")
    pen.shape(oval(50, 6, 5, 5), "second")
    if pen.side:
        half *= 0.84
        pen.shape(rounded(50 + half - 4, 46, 15, 28, 4), "second")
    else:
        for side in (-1, 1):
            pen.limb(
                f"M{50 + side * half:.1f} 50l{side * reach * 0.45:.1f} {reach + 6:.1f}", 7, "grey"
            )
    pen.body(rounded(50 - half, 42, 2 * half, 43, 7))
    pen.shape(rounded(50 - head * 1.15, 12, head * 2.3, 28, 6))
    if pen.side:
        pen.limb(f"M{52 - half:.1f} 50h{-reach:.1f}", 7, "grey")
        pen.line(f"M{46 - half - reach:.1f} 44l-6 3M{46 - half - reach:.1f} 56l-6 -3", 4)
        pen.shape(rounded(50 - head * 1.35, 18, head * 1.3, 14, 5), "second")
        pen.eye(50 - head * 0.8, 25, 4.4)
    else:
        pen.shape(rounded(50 - head * 0.92, 18, head * 1.84, 15, 5), "second")
        pen.eye(43, 25.5, 4.4)
        pen.eye(57, 25.5, 4.4)
    pen.badge(50, 64, 12.7)
    pen.sticker(50 + half - 9, 50, 7.5)


def monster(pen: Pen) -> None:
    """One eye, two horns, teeth, all body."""
    half, horn, reach = 28 * pen.wide, 13 * pen.big, 14 * pen.long
    for side in (-1, 1):
        x = 50 + side * half * 0.55
        pen.shape(polygon((x - 7, 24), (x + 7, 24), (x + side * 6, 18 - horn)), "second")
        pen.limb(f"M{x:.1f} 88V94h{-8 if pen.side else side * 5}", 8)
    if pen.side:
        pen.limb(f"M{50 + half - 4:.1f} 82q18 4 {14 + reach * 0.3:.1f} -18", 8, "second")
    else:
        for side in (-1, 1):
            pen.limb(f"M{50 + side * (half - 3):.1f} 58l{side * reach:.1f} -{reach * 0.6:.1f}", 7)
    pen.body(rounded(50 - half, 17, 2 * half, 74, half * 0.9))
    look = -half * 0.5 if pen.side else 0
    pen.shape(oval(50 + look, 35, 12, 12), "paper")
    pen.eye(50 + look * 1.25, 36, 6)
    mouth = 50 + look * 1.1
    pen.shape(f"M{mouth - 11:.1f} 51H{mouth + 11:.1f}Q{mouth:.1f} 62 {mouth - 11:.1f} 51Z", "ink")
    pen.shape(polygon((mouth - 6, 51), (mouth, 51), (mouth - 3, 56)), "paper")
    if pen.side:
        pen.limb(f"M{53 - half:.1f} 62l{-reach:.1f} -3", 7)
    pen.badge(50 + (5 if pen.side else 0), 75, 12.3)
    pen.sticker(50 + half * 0.6, 48, 7.5)


def wizard(pen: Pen) -> None:
    """A pointed hat, a beard, a long robe."""
    half, hat, reach = 28 * pen.wide, 26 * pen.big, 18 * pen.long
    if pen.side:
        pen.limb(f"M{42 - reach:.1f} 96V36", 4, "hair")
        pen.shape(oval(42 - reach, 33, 5.5, 5.5), "second")
        pen.limb(f"M44 56L{42 - reach:.1f} 60", 9)
    else:
        for side in (-1, 1):
            pen.limb(f"M{50 + side * 15} 54l{side * reach * 0.8:.1f} {reach * 0.7:.1f}", 9)
    skew = 6 if pen.side else 0
    pen.body(f"M40 44H60L{50 + half + skew:.1f} 90Q50 102 {50 - half + skew:.1f} 90Z")
    x = 47 if pen.side else 50
    if pen.side:
        pen.shape(polygon((x - 11, 32), (x - 21, 41), (x - 9, 41)), "skin")
    pen.shape(oval(x, 38, 14, 12), "skin")
    if pen.side:
        pen.shape(polygon((x - 13, 43), (x + 8, 40), (x - 2, 62), (x - 16, 60)), "paper")
        pen.eye(x - 6, 36, 3.4)
        pen.shape(
            f"M{x - 22} 30H{x + 18}L{x + 12} {28 - hat:.1f}L{x + 22} {30 - hat:.1f}"
            f"L{x + 4} {24 - hat:.1f}Z",
            "second",
        )
    else:
        pen.shape("M37 41Q50 48 63 41L58 58L50 65L42 58Z", "paper")
        pen.eye(44, 36, 3.4)
        pen.eye(56, 36, 3.4)
        pen.shape(polygon((29, 31), (71, 31), (50, 28 - hat)), "second")
    pen.badge(50 + (6 if pen.side else 0), 79, 12.3)
    pen.sticker(50 if not pen.side else 49, 22, 7)
