"""Twenty-five capitals and four stickers as paths: no fonts, the same on every machine."""

from __future__ import annotations

from dynaip.miniature.toyland.svg import oval

LETTER_WIDTH, LETTER_HEIGHT = 10, 14

LETTER_PATHS: dict[str, str] = {
    "A": "M0 14L5 0L10 14M2 9H8",
    "B": "M0 0V14H5Q10 14 10 10.2Q10 6.6 5 6.6H0M5 6.6Q9 6.6 9 3.3Q9 0 5 0H0",
    "C": "M10 2.5Q8.5 0 5.5 0Q0 0 0 7Q0 14 5.5 14Q8.5 14 10 11.5",
    "D": "M0 0V14H4Q10 14 10 7Q10 0 4 0Z",
    "E": "M10 0H0V14H10M0 7H8",
    "F": "M10 0H0V14M0 7H8",
    "G": "M10 2.5Q8.5 0 5.5 0Q0 0 0 7Q0 14 5.5 14Q10 14 10 10V8H6",
    "H": "M0 0V14M10 0V14M0 7H10",
    "I": "M5 0V14M1.5 0H8.5M1.5 14H8.5",
    "J": "M3 0H10M8 0V9.5Q8 14 4 14Q0 14 0 10",
    "K": "M0 0V14M10 0L1 8M3.5 6L10 14",
    "L": "M0 0V14H9.5",
    "M": "M0 14V0L5 8L10 0V14",
    "N": "M0 14V0L10 14V0",
    "O": "M5 0Q0 0 0 7Q0 14 5 14Q10 14 10 7Q10 0 5 0Z",
    "P": "M0 14V0H5Q10 0 10 4Q10 8 5 8H0",
    "R": "M0 14V0H5Q10 0 10 3.8Q10 7.6 5 7.6H0M5 7.6L10 14",
    "S": "M9.5 2.5Q8 0 5 0Q0.5 0 0.5 3.5Q0.5 6.6 5 7Q9.8 7.4 9.8 10.6Q9.8 14 5 14Q1.5 14 0 11.3",
    "T": "M0 0H10M5 0V14",
    "U": "M0 0V9Q0 14 5 14Q10 14 10 9V0",
    "V": "M0 0L5 14L10 0",
    "W": "M0 0L2.6 14L5 5L7.4 14L10 0",
    "X": "M0 0L10 14M10 0L0 14",
    "Y": "M0 0L5 7.5L10 0M5 7.5V14",
    "Z": "M0 0H10L0 14H10",
}
"""Strokes on a grid of 10 by 14."""

STICKER_PATHS: dict[str, str] = {
    "star": "M0 -10L2.9 -3.6L9.6 -3L4.6 1.6L6.2 8.4L0 4.8L-6.2 8.4L-4.6 1.6L-9.6 -3L-2.9 -3.6Z",
    "heart": "M0 9L-8.6 0Q-11 -6 -6 -8Q-2 -9 0 -4.5Q2 -9 6 -8Q11 -6 8.6 0Z",
    "cross": "M-3.2 -9H3.2V-3.2H9V3.2H3.2V9H-3.2V3.2H-9V-3.2H-3.2Z",
    "ring": oval(0, 0, 9, 9) + oval(0, 0, 3.6, 3.6),
}
"""Stickers in a circle of radius 10 around the origin."""


def letter_strokes(letter: str, transform: str, ink: str) -> str:
    """An SVG element of one letter as every badge has it, in a colour, under a transform."""
    return (
        f'<path transform="{transform}" d="{LETTER_PATHS[letter]}" fill="none" stroke="{ink}" '
        'stroke-width="3.3" stroke-linejoin="round" stroke-linecap="round"/>'
    )
