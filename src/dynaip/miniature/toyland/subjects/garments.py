"""Clothes for the body. From the side, sleeves, toes and hems point where the garment looks."""

from __future__ import annotations

from dynaip.miniature.toyland.pen import Pen
from dynaip.miniature.toyland.svg import oval, polygon, rounded


def _sleeves(pen: Pen, shoulder: float, y: float, length: float, width: float, fill: str) -> None:
    # Both arms reach forward from the side; from the front they hang left and right.
    if pen.side:
        x = 52 - shoulder
        pen.limb(f"M{x + 6:.1f} {y:.1f}l{-length:.1f} 2", width, fill)
        pen.limb(f"M{x + 14:.1f} {y + width + 2:.1f}l{-length:.1f} 8", width, fill)
        return
    for side in (-1, 1):
        x = 50 + side * (shoulder - 4)
        pen.limb(f"M{x:.1f} {y:.1f}l{side * length * 0.55:.1f} {length * 0.8:.1f}", width, fill)


def _top(pen: Pen, half: float, top: float, bottom: float) -> None:
    waist = half * 0.92
    pen.body(
        f"M{50 - half:.1f} {top + 8:.1f}"
        f"Q{50 - half:.1f} {top:.1f} {58 - half:.1f} {top:.1f}H{42 + half:.1f}"
        f"Q{50 + half:.1f} {top:.1f} {50 + half:.1f} {top + 8:.1f}"
        f"L{50 + waist:.1f} {bottom:.1f}H{50 - waist:.1f}Z"
    )


def shirt(pen: Pen) -> None:
    """Short sleeves and a round collar."""
    half = 27 * pen.wide * (0.9 if pen.side else 1)
    length, x = 22 * pen.long, 50 - (8 if pen.side else 0)
    if not pen.side:
        _sleeves(pen, half, 25, length, 16, "main")
    _top(pen, half, 12, 94)
    if pen.side:
        pen.limb(f"M{54 - half:.1f} 28l{-length + 7:.1f} 6", 16, "second")
    pen.shape(oval(x, 13, 11 * pen.big, 6 * pen.big), "second")
    pen.badge(50 + (4 if pen.side else 0), 58, 13.7)
    pen.sticker(50 + half * 0.55, 33, 8)


def jacket(pen: Pen) -> None:
    """Long sleeves, wide lapels, a row of buttons."""
    half, length = 25 * pen.wide, 38 * pen.long
    if pen.side:
        half *= 0.92
        _top(pen, half, 14, 92)
        _sleeves(pen, half, 27, length * 0.8, 11, "main")
        pen.shape(polygon((52 - half, 12), (56, 12), (54 - half, 34)), "second")
        pen.line(f"M{54 - half:.1f} 56V90", 3)
        pen.badge(54, 70, 12.7)
        pen.sticker(50 + half * 0.5, 30, 7.5)
        return
    _sleeves(pen, half, 24, length, 11, "main")
    _top(pen, half, 14, 92)
    lapel = 12 * pen.big
    for side in (-1, 1):
        pen.shape(
            polygon((50 + side * 3, 12), (50 + side * (lapel + 4), 12), (50 + side * 2, 44)),
            "second",
        )
    pen.line("M50 44V91", 3)
    pen.badge(50, 67, 12.7)
    pen.sticker(50 + half * 0.6, 84, 7)


def hoodie(pen: Pen) -> None:
    """A hood, a pocket, long sleeves."""
    half, length, hood = 26 * pen.wide, 32 * pen.long, 19 * pen.big
    if not pen.side:
        _sleeves(pen, half, 42, length, 13, "main")
        _top(pen, half, 30, 95)
        pen.shape(oval(50, 22, hood * 1.1, hood), "second")
        pen.shape(oval(50, 24, hood * 0.62, hood * 0.66), "ink")
        pen.badge(50, 58, 12.7)
        pen.shape(rounded(36, 77, 28, 12, 5), "second")
        pen.sticker(50 + half * 0.62, 45, 7)
        return
    half *= 0.92
    _top(pen, half, 30, 95)
    pen.limb(f"M{56 - half:.1f} 45l{-length * 0.72:.1f} 4", 13)
    pen.shape(
        f"M{46 - hood * 0.6:.1f} {24 - hood:.1f}"
        f"Q{54 + hood:.1f} {20 - hood:.1f} {54 + hood * 1.2:.1f} 36"
        f"L{44 - hood * 0.5:.1f} 38Z",
        "second",
    )
    pen.shape(oval(48 - hood * 0.5, 26, hood * 0.34, hood * 0.7), "ink")
    pen.badge(55, 62, 12.7)
    pen.shape(rounded(54 - half, 80, 22, 11, 5), "second")
    pen.sticker(50 + half * 0.6, 82, 7)


def dress(pen: Pen) -> None:
    """A narrow top, a belt, a wide hem."""
    half, hem, length = 15 * pen.wide, 36 * pen.wide, 16 * pen.long
    sweep = 9 if pen.side else 0
    if not pen.side:
        _sleeves(pen, half, 14, length, 10, "second")
    pen.body(
        f"M{50 - half:.1f} 6H{50 + half:.1f}L{48 + half:.1f} 38L{50 + hem + sweep:.1f} 93"
        f"Q{50 + sweep} 100 {50 - hem + 2 * sweep:.1f} 93L{52 - half:.1f} 38Z"
    )
    if pen.side:
        pen.limb(f"M{56 - half:.1f} 15l{-length - 8:.1f} 5", 10, "second")
        pen.shape(polygon((50 + half, 38), (66 + half, 30), (66 + half, 48)), "second")
    belt = 9 * pen.big
    pen.shape(rounded(50 - half - 1, 42 - belt, 2 * half + 2, belt, 2), "second")
    if not pen.side:
        pen.shape(oval(50, 7, 8, 5), "second")
    pen.badge(50 + sweep * 0.6, 67, 13.7)
    pen.sticker(50 + hem * 0.55 + sweep, 84, 8)


def overalls(pen: Pen) -> None:
    """A bib on straps over two legs."""
    half, bib = 24 * pen.wide, 15 * pen.big
    foot = 11 * pen.long
    if pen.side:
        back = 50 + half
        pen.limb(
            f"M{48 - bib:.1f} 26Q{50 - bib:.1f} 4 {56 - bib:.1f} 6"
            f"Q{back - 2:.1f} 14 {back - 4:.1f} 48",
            6,
            "second",
        )
        pen.body(
            f"M{44 - bib:.1f} 22H{54 + bib * 0.2:.1f}L{54 + bib * 0.2:.1f} 46"
            f"H{back:.1f}L{back + 2:.1f} 94H54L50 72"
            f"L{45 - foot * 0.6:.1f} 94L{24 - foot * 0.6:.1f} 90L{44 - bib:.1f} 46Z"
        )
        pen.shape(
            polygon(
                (24 - foot * 0.6, 90),
                (45 - foot * 0.6, 94),
                (43 - foot * 0.6, 99),
                (22 - foot * 0.6, 96),
            ),
            "second",
        )
        pen.shape(rounded(52, 88, half + 2, 9, 3), "second")
    else:
        for side in (-1, 1):
            pen.limb(f"M{50 + side * (bib - 4):.1f} 30V8", 6, "second")
        pen.body(
            f"M{50 - bib:.1f} 24H{50 + bib:.1f}V46H{50 + half:.1f}L{52 + half:.1f} 94"
            "H54L50 72L46 94"
            f"H{48 - half:.1f}L{50 - half:.1f} 46H{50 - bib:.1f}Z"
        )
        for side in (-1, 1):
            left = 54 if side > 0 else 48 - half
            pen.shape(rounded(left, 95 - foot, half - 2, foot, 3), "second")
    pen.badge(49 if pen.side else 50, 48, 12.7)
    pen.sticker(50 + half * 0.7, 66, 7.5)


def coat(pen: Pen) -> None:
    """A long coat with buttons and a fur collar."""
    half, length, hem = 21 * pen.wide, 34 * pen.long, 31 * pen.wide
    if not pen.side:
        _sleeves(pen, half, 21, length, 11, "main")
    sweep = 6 if pen.side else 0
    pen.body(
        f"M{50 - half:.1f} 12H{50 + half:.1f}L{50 + hem + sweep:.1f} 95H{50 - hem + 2 * sweep:.1f}Z"
    )
    if pen.side:
        _sleeves(pen, half, 25, length * 0.75, 11, "main")
    collar = 15 * pen.big
    x = 50 - (5 if pen.side else 0)
    pen.shape(rounded(x - collar * 1.2, 5, collar * 2.4, 13, 6.5), "second")
    line = 50 - (half - 4 if pen.side else 0)
    for y in (48, 82) if pen.side else (27, 40, 88):
        pen.shape(oval(line + (2 if pen.side else 0), y, 4, 4), "second")
    pen.badge(54 if pen.side else 50, 66, 13.2)
    pen.sticker(50 + hem * 0.6, 82, 7.5)


def trousers(pen: Pen) -> None:
    """A belt and two long legs; from the side one leg kicks forward."""
    half, belt, cuff = 22 * pen.wide, 11 * pen.big, 10 * pen.long
    if pen.side:
        pen.body(
            f"M{50 - half:.1f} 12H{50 + half:.1f}L{54 + half:.1f} 94H54L50 60"
            f"L{34 - half * 0.4:.1f} 90"
            f"L{16 - half * 0.4:.1f} 76L{50 - half:.1f} 40Z"
        )
        pen.shape(
            polygon(
                (16 - half * 0.4, 76),
                (34 - half * 0.4, 90),
                (34 - half * 0.4 - cuff * 0.5, 97),
                (16 - half * 0.4 - cuff * 0.5, 83),
            ),
            "second",
        )
        pen.shape(rounded(53, 96 - cuff, half + 3, cuff, 3), "second")
    else:
        pen.body(
            f"M{50 - half:.1f} 12H{50 + half:.1f}L{56 + half:.1f} 94H55L50 52L45 94"
            f"H{44 - half:.1f}Z"
        )
        for side in (-1, 1):
            left = 55 if side > 0 else 44 - half
            pen.shape(rounded(left, 96 - cuff, half + 1, cuff, 3), "second")
    pen.shape(rounded(49 - half, 8, 2 * half + 2, belt, 3), "second")
    pen.badge(51, 37, 12.3)
    pen.sticker(50 + half * 0.72, 68, 7.5)


def skirt(pen: Pen) -> None:
    """A waistband and a wide hem; from the side it swings back."""
    half, hem, belt = 21 * pen.wide, 39 * pen.wide, 13 * pen.big
    edge = 10 * pen.long
    if pen.side:
        pen.body(
            f"M{50 - half:.1f} 20H{50 + half:.1f}Q{56 + half:.1f} 60 96 78L84 94"
            f"Q50 92 {26:.1f} 90L{50 - half:.1f} 20Z"
        )
        pen.shape(
            f"M96 78L84 94Q50 92 26 90L{27.5:.1f} {90 - edge:.1f}"
            f"Q56 {92 - edge:.1f} {88:.1f} {74:.1f}Z",
            "second",
        )
        pen.shape(polygon((48 + half, 22), (64 + half, 12), (64 + half, 34)), "second")
    else:
        pen.body(f"M{50 - half:.1f} 20H{50 + half:.1f}L{50 + hem:.1f} 88Q50 98 {50 - hem:.1f} 88Z")
        pen.shape(
            f"M{50 + hem:.1f} 88Q50 98 {50 - hem:.1f} 88"
            f"L{53 - hem:.1f} {88 - edge:.1f}"
            f"Q50 {98 - edge:.1f} {47 + hem:.1f} {88 - edge:.1f}Z",
            "second",
        )
    pen.shape(rounded(49 - half, 12, 2 * half + 2, belt, 3), "second")
    pen.badge(50, 52, 13.7)
    pen.sticker(50 + half * 1.05, 70, 7.5)


def boots(pen: Pen) -> None:
    """Two tall boots; the toes say where they look."""
    shaft, toe, cuff = 22 * pen.wide, 17 * pen.long, 11 * pen.big
    if pen.side:
        for x, y in ((68, -6), (44, 0)):
            path = (
                f"M{x:.1f} {16 + y}H{x + shaft:.1f}V{90 + y}"
                f"Q{x + shaft:.1f} {94 + y} {x + shaft - 4:.1f} {94 + y}H{x - toe:.1f}"
                f"Q{x - toe - 8:.1f} {94 + y} {x - toe - 6:.1f} {82 + y}"
                f"Q{x - toe:.1f} {70 + y} {x:.1f} {68 + y}Z"
            )
            pen.body(path)
            pen.shape(rounded(x - 2, 12 + y, shaft + 4, cuff, 4), "second")
            pen.shape(rounded(x - toe - 7, 91 + y, shaft + toe + 8, 6, 2), "second")
        pen.badge(44 + shaft / 2 - 1, 48, 11.8)
        pen.sticker(40, 80, 7)
        return
    for side in (-1, 1):
        x = 50 + side * 21
        half = shaft * 0.72
        pen.body(
            f"M{x - half:.1f} 16H{x + half:.1f}V72Q{x + half + 4:.1f} 94 {x:.1f} 94"
            f"Q{x - half - 4:.1f} 94 {x - half:.1f} 72Z"
        )
        pen.shape(rounded(x - half - 2, 12, 2 * half + 4, cuff, 4), "second")
        pen.shape(oval(x, 93 - toe * 0.25, half * 0.9, toe * 0.36), "second")
    pen.badge(29, 50, 11.8)
    pen.sticker(71, 48, 7.5)
