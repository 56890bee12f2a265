"""Light: where it comes from in the picture, its glow on the scene, the shadows it casts."""

from __future__ import annotations

import math

from dynaip.miniature.toyland.palette import WHITE, Air, hexadecimal
from dynaip.miniature.toyland.spec import Light
from dynaip.miniature.toyland.svg import oval

TOWARDS: dict[str, tuple[float, float]] = {
    "left": (-0.93, -0.36),
    "right": (0.93, -0.36),
    "above": (0.0, -1.0),
    "below": (0.0, 1.0),
}
"""Unit vectors from the subject to the light, x to the right and y down."""

_SOURCE = {"left": (0, 24), "right": (100, 24), "above": (50, 0), "below": (50, 104)}
_FAR_SIDE = {
    "left": (0, 40, 100, 60),
    "right": (100, 40, 0, 60),
    "above": (50, 0, 50, 100),
    "below": (50, 100, 50, 0),
}


def glow(light: Light, air: Air) -> str:
    """What light does to the scene: a glowing source and a falling-off to the far side."""
    x, y = _SOURCE[light.direction]
    x1, y1, x2, y2 = _FAR_SIDE[light.direction]
    lamp = hexadecimal(air.lit(WHITE, 0.75))
    return (
        f'<linearGradient id="fall" gradientUnits="userSpaceOnUse" x1="{x1}" y1="{y1}" x2="{x2}" '
        f'y2="{y2}"><stop offset=".25" stop-color="#281a46" stop-opacity="0"/>'
        '<stop offset="1" stop-color="#281a46" stop-opacity=".4"/></linearGradient>'
        f'<radialGradient id="glow" gradientUnits="userSpaceOnUse" cx="{x}" cy="{y}" r="52">'
        f'<stop stop-color="{lamp}"/><stop offset=".22" stop-color="{lamp}" stop-opacity=".95"/>'
        f'<stop offset=".27" stop-color="{lamp}" stop-opacity=".6"/>'
        f'<stop offset="1" stop-color="{lamp}" stop-opacity="0"/></radialGradient>'
        '<path d="M0 0H100V100H0Z" fill="url(#fall)"/><path d="M0 0H100V100H0Z" fill="url(#glow)"/>'
    )


def shadow(light: Light, x: float, ground: float, width: float, *, airborne: bool) -> str:
    """The shadow on the ground of something `width` wide that stands at (x, ground)."""
    half = width * (0.36 if airborne else 0.5)
    reach, rise = 0.42 * width, 0.0
    if light.direction == "left":
        centre, spread = x + reach, half + reach * 0.4
    elif light.direction == "right":
        centre, spread = x - reach, half + reach * 0.4
    elif light.direction == "above":
        centre, spread = x, half
    else:
        centre, spread, rise = x, half * 1.25, -0.13 * width
    path = oval(centre, ground + rise, spread, max(2.0, spread * 0.17))
    return f'<path d="{path}" fill="#281a46" fill-opacity=".{32 if airborne else 42}"/>'


def turned(vector: tuple[float, float], degrees: float, *, mirrored: bool) -> tuple[float, float]:
    """A direction of the picture in a box that was mirrored and then turned clockwise."""
    angle = math.radians(-degrees)
    x = vector[0] * math.cos(angle) - vector[1] * math.sin(angle)
    y = vector[0] * math.sin(angle) + vector[1] * math.cos(angle)
    return (-x if mirrored else x, y)
