"""Patterns: one path each, over a square larger than any body, clipped by the pen."""

from __future__ import annotations

import math
from functools import lru_cache

from dynaip.miniature.toyland.svg import oval, polygon, polyline

PERIOD = {"fine": 13.0, "coarse": 23.0}
"""Distance between two stripes in hundredths of the subject's height."""

_REACH = 64.0


def _steps(period: float) -> list[float]:
    count = math.ceil(_REACH / period)
    return [50 + index * period for index in range(-count, count + 1)]


def _stripes(period: float) -> str:
    return "".join(
        f"M-14 {y - period * 0.24:.1f}h128v{period * 0.48:.1f}h-128Z" for y in _steps(period)
    )


def _dots(period: float) -> str:
    radius = period * 0.3
    return "".join(
        oval(x + (row % 2) * period / 2, y, radius, radius)
        for row, y in enumerate(_steps(period * 0.87))
        for x in _steps(period)
    )


def _checks(period: float) -> str:
    half = period * 0.55
    return "".join(
        f"M{x:.1f} {y:.1f}h{half:.1f}v{half:.1f}h{-half:.1f}Z"
        for row, y in enumerate(_steps(half))
        for column, x in enumerate(_steps(half))
        if (row + column) % 2
    )


def _zigzag(period: float) -> str:
    rise, run = period * 0.3, period * 0.5
    return "".join(
        polyline(*((x, y + (rise if index % 2 else -rise)) for index, x in enumerate(_steps(run))))
        for y in _steps(period)
    )


def _patches(period: float) -> str:
    # Irregular spots on a loose grid, like a cow's.
    outlines, number = [], 0
    for row, y in enumerate(_steps(period)):
        for x in _steps(period * 1.15):
            number += 1
            outlines.append(_patch(x + (row % 2) * period * 0.5, y, period * 0.42, number))
    return "".join(outlines)


def _patch(x: float, y: float, radius: float, number: int) -> str:
    x += radius * 0.5 * math.sin(number * 2.4)
    y += radius * 0.5 * math.sin(number * 4.1)
    corners = []
    for corner in range(7):
        angle = math.tau * corner / 7
        reach = radius * (0.7 + 0.6 * ((number * 7 + corner * 5) % 6) / 5)
        corners.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    return polygon(*corners)


_DRAWN = {
    "stripes": _stripes,
    "dots": _dots,
    "checks": _checks,
    "patches": _patches,
    "zigzag": _zigzag,
}


@lru_cache(maxsize=32)
def pattern_path(pattern: str, scale: str) -> tuple[str, float]:
    """The path of a pattern and the width of its line (0: the path is filled, not stroked)."""
    period = PERIOD[scale]
    return _DRAWN[pattern](period), period * 0.4 if pattern == "zigzag" else 0.0
