"""Colours: their names, their small shifts, and what light and style do to them."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

RGB = tuple[float, float, float]

NAMED: dict[str, RGB] = {
    "red": (218, 38, 40),
    "orange": (255, 136, 16),
    "yellow": (252, 218, 46),
    "green": (52, 168, 72),
    "blue": (44, 104, 224),
    "purple": (132, 58, 188),
    "pink": (255, 140, 192),
    "brown": (120, 72, 40),
    "white": (250, 250, 250),
    "black": (42, 40, 50),
}
PAPER: RGB = (255, 252, 240)
WHITE: RGB = (255, 255, 255)
GREY: RGB = (168, 172, 184)
DUSK: RGB = (40, 26, 70)
TINTS: dict[str, RGB] = {
    "white": (1.0, 1.0, 1.0),
    "warm": (1.07, 0.88, 0.64),
    "cool": (0.7, 0.88, 1.08),
    "pink": (1.06, 0.76, 0.92),
}
"""What each light colour multiplies a white wall by."""


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """`first` with `share` of `second` in it."""
    return (
        first[0] + (second[0] - first[0]) * share,
        first[1] + (second[1] - first[1]) * share,
        first[2] + (second[2] - first[2]) * share,
    )


def shaded(name: str, shade: float) -> RGB:
    """A named colour moved by `shade` in [-1, 1]: 4 degrees of hue and 9 % of lightness."""
    red, green, blue = (value / 255 for value in NAMED[name])
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    turned = colorsys.hls_to_rgb(
        (hue + shade * 4 / 360) % 1, min(1.0, lightness * (1 + 0.09 * shade)), saturation
    )
    return (turned[0] * 255, turned[1] * 255, turned[2] * 255)


def skin(tone: float) -> RGB:
    """Skin between a light (0) and a deep (1) tone."""
    return mix((255, 216, 184), (168, 110, 76), tone)


def hexadecimal(colour: RGB) -> str:
    """`#rrggbb`, clipped to what a screen can show."""
    red, green, blue = (max(0, min(255, round(value))) for value in colour)
    return f"#{red:02x}{green:02x}{blue:02x}"


@dataclass(frozen=True)
class Look:
    """What a style does: line, shading strength, and how far colours fade to paper or grey."""

    outline: RGB | None
    line_width: float
    shading: float
    subject_fade: float
    scene_fade: float
    scene_grey: float


LOOKS: dict[str, Look] = {
    "book": Look((52, 38, 58), 2.8, 1.0, 0.0, 0.0, 0.0),
    "ink": Look((0, 0, 0), 4.6, 0.75, 0.0, 0.35, 1.0),
    "pastel": Look(None, 0.0, 0.8, 0.34, 0.3, 0.0),
    "cutout": Look((255, 255, 255), 5.2, 0.6, 0.0, 0.0, 0.0),
}


@dataclass(frozen=True)
class Air:
    """What lies between a surface's own colour and the picture: the light's tint and the style."""

    look: Look
    tint: RGB

    @classmethod
    def of(cls, style: str, light_colour: str) -> Air:
        """The air of a style under a light colour."""
        return cls(LOOKS[style], TINTS[light_colour])

    def scene(self, colour: RGB) -> str:
        """A scene colour: fully tinted."""
        mean = sum(colour) / 3
        calm = mix(colour, (mean, mean, mean), self.look.scene_grey)
        return hexadecimal(self.lit(mix(calm, WHITE, self.look.scene_fade), 1.0))

    def subject(self, colour: RGB) -> RGB:
        """A subject colour: tinted by two fifths, so that its name stays readable."""
        return self.lit(mix(colour, WHITE, self.look.subject_fade), 0.4)

    def lit(self, colour: RGB, strength: float) -> RGB:
        """`colour` under this light's tint, at a strength in [0, 1]."""
        red, green, blue = (
            value * (1 + (tint - 1) * strength)
            for value, tint in zip(colour, self.tint, strict=True)
        )
        return (red, green, blue)
