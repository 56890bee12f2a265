"""Animals. Lying down they fold their legs and close their eyes."""

from __future__ import annotations

from dynaip.miniature.toyland.pen import Pen
from dynaip.miniature.toyland.svg import oval, polygon, rounded


def _legs(pen: Pen, columns: tuple[float, ...], hip: float, fill: str, width: float = 9) -> None:
    for x in columns:
        pen.limb(f"M{x} {hip}V94", width, fill)


def dog(pen: Pen) -> None:
    """Floppy ears, a snout, a tail held up."""
    drop = 17 if pen.lying else 0
    if pen.side:
        _dog_side(pen, drop)
    else:
        _dog_front(pen, drop)


def _dog_side(pen: Pen, drop: float) -> None:
    tail = 12 * pen.long
    pen.limb(
        f"M82 {54 + drop}Q92 {50 + drop} {90 + tail * 0.3:.1f} {44 + drop - tail:.1f}", 7, "second"
    )
    if pen.lying:
        pen.limb("M34 93H10M88 93H66", 9)
    else:
        _legs(pen, (34, 46, 68, 80), 72, "main")
    half = 18 * pen.wide
    pen.body(rounded(27, 60 + drop - half, 60, 2 * half, 17))
    x, y, r = 27, 32 + drop * 1.9, 17 * pen.big
    pen.shape(rounded(x - r - 12, y - 2, 26, 16, 7), "paper")
    pen.shape(oval(x, y, r, r * 0.95))
    pen.shape(rounded(x - r - 12, y + 2, 20, 11, 5), "paper")
    pen.dot(x - r - 11, y + 3, 4)
    pen.shape(oval(x + r * 0.62, y + 3, 7, 14), "second")
    pen.eye(x - r * 0.3, y - 4)
    pen.badge(60, 60 + drop, 12.7)
    pen.sticker(80, 49 + drop)


def _dog_front(pen: Pen, drop: float) -> None:
    pen.limb(
        f"M70 {70 + drop * 0.4}Q86 {66 + drop * 0.4} 85 {62 - 12 * pen.long + drop:.1f}",
        7,
        "second",
    )
    if pen.lying:
        half = 34 * pen.wide
        pen.body(rounded(50 - half, 64, 2 * half, 33, 16))
        pen.limb("M22 94H12M78 94H88", 9)
    else:
        _legs(pen, (38, 62), 76, "main", 10)
        half = 22 * pen.wide
        pen.body(rounded(50 - half, 42, 2 * half, 48, 18))
    y, r = 27 + drop * 1.6, 19 * pen.big
    pen.shape(oval(50, y, r * 1.1, r))
    for ear in (-1, 1):
        pen.shape(oval(50 + ear * (r * 1.1 + 1), y + 3, 7, 15), "second")
        pen.eye(50 + ear * 8, y - 4)
    pen.shape(oval(50, y + 10, 11, 8), "paper")
    pen.dot(50, y + 7, 4.2)
    pen.badge(50, 83 if pen.lying else 66, 12.7)
    pen.sticker(76 if pen.lying else 65, 84, 8)


def cat(pen: Pen) -> None:
    """Pointed ears, whiskers, a long tail."""
    drop = 16 if pen.lying else 0
    if pen.side:
        _cat_side(pen, drop)
    else:
        _cat_front(pen, drop)


def _cat_head(pen: Pen, x: float, y: float, r: float, look: float) -> None:
    for ear in (-1, 1):
        pen.shape(
            polygon(
                (x + ear * r * 0.2, y - r * 0.7),
                (x + ear * r * 0.92, y - r * 1.6),
                (x + ear * r, y),
            ),
            "second",
        )
    pen.shape(oval(x, y, r * 1.12, r * 0.95))
    for eye in (-1, 1):
        if look == 0 or eye == -1:
            pen.eye(x + look * 0.6 + eye * r * (0.45 if look == 0 else 0.3), y - 3)
    nose = x + look * 1.5
    pen.dot(nose, y + 5, 2.8)
    pen.line(f"M{nose} {y + 5}l-16 -3M{nose} {y + 7}l-15 5", 2)
    if look == 0:
        pen.line(f"M{nose} {y + 5}l16 -3M{nose} {y + 7}l15 5", 2)


def _cat_side(pen: Pen, drop: float) -> None:
    tail = 34 * pen.long
    pen.limb(
        f"M80 {62 + drop}Q98 {62 + drop} 92 {58 + drop - tail * 0.6:.1f}"
        f"Q88 {54 + drop - tail:.1f} 96 {50 + drop - tail:.1f}",
        6,
        "second",
    )
    if pen.lying:
        pen.limb("M34 94H14M86 94H68", 7)
    else:
        _legs(pen, (36, 46, 70, 79), 74, "main", 6)
    half = 16 * pen.wide
    pen.body(
        f"M28 {62 + drop}Q30 {44 + drop} 56 {62 + drop - half:.1f}Q88 {44 + drop} 86 {66 + drop}"
        f"Q86 {80 + drop} 56 {62 + drop + half:.1f}Q30 {80 + drop} 28 {62 + drop}Z"
    )
    _cat_head(pen, 28, 38 + drop * 1.8, 16 * pen.big, -8)
    pen.badge(62, 63 + drop, 12.3)
    pen.sticker(80, 60 + drop, 7.5)


def _cat_front(pen: Pen, drop: float) -> None:
    tail = 30 * pen.long
    pen.limb(
        f"M66 {88 - drop * 0.3}Q92 {90} 86 {72 - tail * 0.5:.1f}"
        f"Q82 {68 - tail:.1f} 92 {62 - tail:.1f}",
        6,
        "second",
    )
    if pen.lying:
        half = 32 * pen.wide
        pen.body(rounded(50 - half, 68, 2 * half, 29, 15))
    else:
        half = 20 * pen.wide
        pen.body(
            f"M50 40Q{50 - half * 0.7:.1f} 44 {50 - half:.1f} 78Q{50 - half:.1f} 96 50 96"
            f"Q{50 + half:.1f} 96 {50 + half:.1f} 78Q{50 + half * 0.7:.1f} 44 50 40Z"
        )
        pen.shape(oval(41, 94, 7, 5) + oval(59, 94, 7, 5))
    _cat_head(pen, 50, 33 + drop * 1.5, 18 * pen.big, 0)
    pen.badge(50, 84 if pen.lying else 70, 12.3)
    pen.sticker(74 if pen.lying else 62, 85 if pen.lying else 53, 7.5)


def duck(pen: Pen) -> None:
    """A round body, a beak, wings, two feet."""
    drop = 11 if pen.lying else 0
    if not pen.lying:
        for x in (42, 58):
            pen.limb(
                f"M{x} 82V95h-7" if pen.side else f"M{x} 82V95h{-6 if x < 50 else 6}", 5, "second"
            )
    if pen.side:
        _duck_side(pen, drop)
    else:
        _duck_front(pen, drop)


def _duck_side(pen: Pen, drop: float) -> None:
    half = 22 * pen.wide
    tip = 88 + 9 * pen.long
    x, y, r = 32, 26 + drop * 1.6, 16 * pen.big
    pen.shape(polygon((24, 34 + drop), (42, 34 + drop), (52, 60 + drop), (22, 62 + drop)))
    pen.body(
        f"M20 {60 + drop}Q34 {44 + drop} 60 {48 + drop}Q78 {52 + drop} {tip:.1f} {40 + drop}"
        f"Q{tip:.1f} {66 + half + drop:.1f} 54 {64 + half + drop:.1f}"
        f"Q20 {64 + half + drop:.1f} 20 {60 + drop}Z"
    )
    pen.shape(polygon((x - r + 5, y - 5), (x - r - 15, y + 3), (x - r + 5, y + 10)), "second")
    pen.shape(oval(x, y, r, r))
    pen.eye(x - 4, y - 4)
    pen.shape(
        f"M64 {54 + drop}Q84 {54 + drop} 88 {50 + drop}Q88 {74 + drop} 66 {72 + drop}Z", "second"
    )
    pen.badge(48, 66 + drop, 12.3)
    pen.sticker(74, 63 + drop, 7.5)


def _duck_front(pen: Pen, drop: float) -> None:
    half = 27 * pen.wide
    wing = 8 * pen.long
    for side in (-1, 1):
        x = 50 + side * half
        pen.shape(
            f"M{x - side * 8:.1f} {50 + drop}"
            f"Q{x + side * wing:.1f} {52 + drop} {x + side * wing:.1f} {78 + drop}"
            f"L{x - side * 8:.1f} {74 + drop}Z",
            "second",
        )
    pen.body(oval(50, 64 + drop, half, 24))
    y, r = 27 + drop * 1.4, 17 * pen.big
    pen.shape(oval(50, y, r, r))
    pen.eye(43, y - 5)
    pen.eye(57, y - 5)
    pen.shape(oval(50, y + 6, 11, 5.5), "second")
    pen.badge(50, 67 + drop, 12.7)
    pen.sticker(67, 78 + drop, 7.5)
