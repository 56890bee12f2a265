"""The pen that every subject is drawn with: outlined shapes in shaded, tinted colours.

Subjects are drawn in a box of 100 by 100 with the ground at y = 100, looking left when seen from
the side; the renderer mirrors, turns and places the box.
"""

from __future__ import annotations

from dynaip.miniature.toyland import palette
from dynaip.miniature.toyland.glyphs import (
    LETTER_HEIGHT,
    LETTER_WIDTH,
    STICKER_PATHS,
    letter_strokes,
)
from dynaip.miniature.toyland.palette import RGB, Air
from dynaip.miniature.toyland.patterns import pattern_path
from dynaip.miniature.toyland.spec import Concept
from dynaip.miniature.toyland.svg import oval, rounded

_INK: RGB = (38, 28, 44)
_HAIR: RGB = (74, 44, 34)


class Pen:
    """Collects the SVG of one subject.

    Args:
        concept: whose colours, pattern, glyph and mark are drawn.
        air: the light's tint and the style.
        light: where the light comes from in the subject's own box, a unit vector (x, y).
        name: prefix of the ids in the document.
        upright: transform that undoes the box's mirror and turn, for what has to stay readable.
        side: whether the subject is seen from the side.
        lying: whether it lies down; the living fold their legs, everything else is toppled.
        flat: draw everything in this one colour instead (for masks).
    """

    def __init__(
        self,
        concept: Concept,
        air: Air,
        light: tuple[float, float],
        *,
        name: str,
        upright: str,
        side: bool,
        lying: bool,
        flat: str | None = None,
    ) -> None:
        self.concept = concept
        self.side = side
        self.lying = lying
        self.wide, self.big, self.long = (0.84 + 0.32 * value for value in concept.proportions)
        self._air = air
        self._light = light
        self._name = name
        self._upright = upright
        self._flat = flat
        self._parts: list[str] = []
        self._paints: dict[str, str] = {}
        self._colours: dict[str, RGB] = {
            "main": palette.shaded(concept.main_colour, concept.shade[0]),
            "second": palette.shaded(concept.second_colour, concept.shade[1]),
            "skin": palette.skin(concept.proportions[1]),
            "hair": _HAIR,
            "paper": palette.PAPER,
            "grey": palette.GREY,
            "ink": _INK,
        }
        line = air.look.outline
        self._line = flat or (palette.hexadecimal(line) if line else "none")
        self._width = air.look.line_width

    def svg(self) -> str:
        """The elements drawn so far."""
        return "".join(self._parts)

    def shape(self, path: str, fill: str = "main") -> None:
        """A filled shape with an outline."""
        self._parts.append(
            f'<path d="{path}" fill="{self._paint(fill)}" stroke="{self._line}" '
            f'stroke-width="{self._width}" stroke-linejoin="round"/>'
        )

    def body(self, path: str) -> None:
        """The main shape: main colour, with the pattern in the second colour inside."""
        pattern = self.concept.pattern
        if self._flat or pattern == "plain":
            self.shape(path)
            return
        clip = f"{self._name}c{len(self._parts)}"
        marks, width = pattern_path(pattern, self.concept.pattern_scale)
        paint = self._paint("second")
        stroked = f'fill="none" stroke="{paint}" stroke-width="{width}"'
        style = stroked if width else f'fill="{paint}"'
        turn = f'transform="rotate({self.concept.pattern_direction:.1f} 50 50)"'
        self._parts.append(
            f'<clipPath id="{clip}"><path d="{path}"/></clipPath>'
            f'<path d="{path}" fill="{self._paint("main")}"/>'
            f'<g clip-path="url(#{clip})"><path d="{marks}" {turn} {style}/></g>'
        )
        self._parts.append(
            f'<path d="{path}" fill="none" stroke="{self._line}" stroke-width="{self._width}" '
            'stroke-linejoin="round"/>'
        )

    def limb(self, path: str, width: float, fill: str = "main") -> None:
        """A thick round-ended stroke with an outline: arms, legs, tails, handles."""
        common = 'fill="none" stroke-linecap="round" stroke-linejoin="round"'
        self._parts.append(
            f'<path d="{path}" {common} stroke="{self._line}" '
            f'stroke-width="{width + 2 * self._width:.1f}"/>'
            f'<path d="{path}" {common} stroke="{self._paint(fill)}" stroke-width="{width:.1f}"/>'
        )

    def line(self, path: str, width: float = 2.8) -> None:
        """A line of ink, without filling."""
        colour = self._flat or palette.hexadecimal(_INK)
        self._parts.append(
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}" '
            'stroke-linecap="round" stroke-linejoin="round"/>'
        )

    def dot(self, x: float, y: float, radius: float, fill: str = "ink") -> None:
        """A round spot without an outline."""
        self._parts.append(f'<path d="{oval(x, y, radius, radius)}" fill="{self._paint(fill)}"/>')

    def eye(self, x: float, y: float, radius: float = 4.0) -> None:
        """An eye; closed while lying."""
        if self.lying:
            self.line(f"M{x - radius:.1f} {y:.1f}q{radius:.1f} 4 {2 * radius:.1f} 0", 3.0)
            return
        self.dot(x, y, radius)
        self.dot(x - radius * 0.3, y - radius * 0.35, radius * 0.38, "paper")

    def badge(self, x: float, y: float, radius: float) -> None:
        """The glyph on a light badge around (x, y), always upright."""
        glyph = self.concept.glyph
        if not glyph:
            return
        scale = radius * 1.34 / LETTER_HEIGHT
        letter_width = LETTER_WIDTH * scale * (1.0 if len(glyph) == 1 else 0.86)
        gap = 5.2
        width = len(glyph) * letter_width + (len(glyph) - 1) * gap
        half = max(radius, width / 2 + radius * 0.42)
        self._parts.append(f'<g transform="translate({x:.1f} {y:.1f}) {self._upright}">')
        self.shape(rounded(-half, -radius, 2 * half, 2 * radius, radius * 0.55), "paper")
        ink = self._flat or palette.hexadecimal(_INK)
        for index, letter in enumerate(glyph):
            left = -width / 2 + index * (letter_width + gap)
            where = f"translate({left:.1f} {-radius * 0.67:.1f})"
            how = f"scale({letter_width / LETTER_WIDTH:.3f} {scale:.3f})"
            self._parts.append(letter_strokes(letter, f"{where} {how}", ink))
        self._parts.append("</g>")

    def sticker(self, x: float, y: float, radius: float = 8.5) -> None:
        """The mark around (x, y), always upright."""
        mark = self.concept.mark
        if mark == "none":
            return
        self._parts.append(
            f'<path transform="translate({x:.1f} {y:.1f}) {self._upright} scale({radius / 10})" '
            f'd="{STICKER_PATHS[mark]}" fill="{self._paint("paper")}" stroke="{self._line}" '
            f'stroke-width="{self._width * 1.1:.1f}" fill-rule="evenodd" stroke-linejoin="round"/>'
        )

    def _paint(self, fill: str) -> str:
        if self._flat:
            return self._flat
        if fill not in self._paints:
            identity = f"{self._name}{fill}"
            self._paints[fill] = f"url(#{identity})"
            self._parts.insert(0, self._gradient(identity, self._colours[fill]))
        return self._paints[fill]

    def _gradient(self, identity: str, colour: RGB) -> str:
        # From the lit edge of the box to the far one: the subject's form shadow.
        own = self._air.subject(colour)
        # Paper is shaded by half, so that a letter keeps its contrast on the dark side.
        strength = self._air.look.shading * (0.5 if identity.endswith("paper") else 1.0)
        lit = palette.hexadecimal(
            palette.mix(own, self._air.lit(palette.WHITE, 0.5), 0.4 * strength)
        )
        dark = palette.hexadecimal(palette.mix(own, palette.DUSK, 0.46 * strength))
        x, y = self._light[0] * 44, self._light[1] * 44
        return (
            f'<linearGradient id="{identity}" gradientUnits="userSpaceOnUse" x1="{50 + x:.1f}" '
            f'y1="{50 + y:.1f}" x2="{50 - x:.1f}" y2="{50 - y:.1f}"><stop stop-color="{lit}"/>'
            f'<stop offset=".45" stop-color="{palette.hexadecimal(own)}"/>'
            f'<stop offset="1" stop-color="{dark}"/></linearGradient>'
        )
