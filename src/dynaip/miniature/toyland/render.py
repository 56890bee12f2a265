"""From a spec to pixels: picture, masks, and a subject cut out on white."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import resvg_py
from jaxtyping import Bool, UInt8
from PIL import Image

from dynaip.miniature.toyland.lighting import TOWARDS, glow, shadow, turned
from dynaip.miniature.toyland.palette import Air
from dynaip.miniature.toyland.pen import Pen
from dynaip.miniature.toyland.placing import Placement, placement
from dynaip.miniature.toyland.scenes import scenery
from dynaip.miniature.toyland.spec import REFERENCE_SCENE, Actor, Light, Spec
from dynaip.miniature.toyland.subjects import DRAWINGS

Box = tuple[float, float, float]
"""Left, top and side of a square of the picture, whose own side is 100."""

_WHOLE: Box = (0.0, 0.0, 100.0)
_MASK_COLOURS = ("#f00", "#0f0", "#00f")
_BOUNDS_SIZE = 128
_CROP_MARGIN = 0.06
_FRAME = '<path d="M-200 -200H300V300H-200ZM0 0V100H100V0Z" fill="#fff" fill-rule="evenodd"/>'


@dataclass(frozen=True)
class Picture:
    """A rendered spec.

    `image` is uint8 RGB of shape (size, size, 3); `masks` is computed when first asked for.
    """

    image: UInt8[np.ndarray, "size size 3"]
    spec: Spec

    @cached_property
    def masks(self) -> Bool[np.ndarray, "s size size"]:
        """Where each actor is visible: what lies behind another actor is not in its mask."""
        return _masks(self.spec, self.image.shape[0])


def render(spec: Spec, size: int = 64) -> Picture:
    """The picture of a spec.

    Args:
        spec: what to draw.
        size: height and width in pixels.

    Returns:
        The picture, with its masks computed when asked for.

    Raises:
        ValueError: `size` is smaller than 16, or a garment's wearer cannot wear clothes.
    """
    if size < 16:
        raise ValueError(f"A picture of {size} pixels shows nothing: ask for at least 16.")
    air = Air.of(spec.style, spec.light.colour)
    parts = [scenery(spec.scene, spec.scene_seed, air)]
    if spec.scene != REFERENCE_SCENE:
        parts.append(glow(spec.light, air))
        parts += [_shadow(spec, index) for index in range(len(spec.actors))]
    parts += [
        _drawn(actor, air, spec.light, name=f"a{index}") for index, actor in enumerate(spec.actors)
    ]
    return Picture(image=rasterise(parts, _WHOLE, size), spec=spec)


def segment(spec: Spec, index: int = 0, size: int = 64) -> UInt8[np.ndarray, "size size 3"]:
    """One subject cut out of a picture as a perfect segmenter would, on white, at any size.

    The crop is tight and square with a margin of 6 %, and drawn anew at `size`, so it is sharp.
    What other actors hide stays hidden; posture, tilt, light and style stay as in the picture.

    Args:
        spec: the picture to cut from.
        index: which of its actors.
        size: height and width of the result in pixels.

    Raises:
        ValueError: there is no such actor, or nothing of it is visible.
    """
    if not 0 <= index < len(spec.actors):
        raise ValueError(f"This picture has {len(spec.actors)} actors: there is no actor {index}.")
    air = Air.of(spec.style, spec.light.colour)
    parts = ['<path d="M-200 -200H300V300H-200Z" fill="#fff"/>']
    for number, actor in enumerate(spec.actors):
        flat = None if number == index else "#fff"
        parts.append(_drawn(actor, air, spec.light, name=f"a{number}", flat=flat))
    parts.append(_FRAME)
    return rasterise(parts, _tight_box(spec, index), size)


def _drawn(actor: Actor, air: Air, light: Light, *, name: str, flat: str | None = None) -> str:
    place = placement(actor)
    pen = Pen(
        actor.concept,
        air,
        turned(TOWARDS[light.direction], place.turn, mirrored=place.mirror < 0),
        name=name,
        upright=place.upright,
        side=actor.view.facing != "front",
        lying=actor.view.posture == "lying",
        flat=flat,
    )
    DRAWINGS[actor.concept.category](pen)
    return f'<g transform="{place.transform}">{pen.svg()}</g>'


def _shadow(spec: Spec, index: int) -> str:
    # Worn clothes and whoever stands on somebody else's head cast no shadow on the ground.
    if index > 0 and spec.action in ("wearing", "on top of"):
        return ""
    place: Placement = placement(spec.actors[index])
    airborne = spec.actors[index].view.posture == "jumping"
    return shadow(spec.light, place.x, place.ground, place.footprint, airborne=airborne)


def _masks(spec: Spec, size: int) -> Bool[np.ndarray, "s size size"]:
    air = Air.of("book", "white")
    parts = ['<path d="M0 0H100V100H0Z" fill="#000"/>']
    parts += [
        _drawn(actor, air, spec.light, name=f"a{index}", flat=_MASK_COLOURS[index])
        for index, actor in enumerate(spec.actors)
    ]
    image = rasterise(parts, _WHOLE, size)
    return np.moveaxis(image[..., : len(spec.actors)] > 127, -1, 0)


def _tight_box(spec: Spec, index: int) -> Box:
    mask = _masks(spec, _BOUNDS_SIZE)[index]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        raise ValueError(f"Nothing of actor {index} is visible: choose another actor or picture.")
    unit = 100 / _BOUNDS_SIZE
    top, bottom = rows[0] * unit, (rows[-1] + 1) * unit
    left, right = columns[0] * unit, (columns[-1] + 1) * unit
    side = max(bottom - top, right - left) / (1 - 2 * _CROP_MARGIN)
    return ((left + right - side) / 2, (top + bottom - side) / 2, side)


def rasterise(parts: list[str], box: Box, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Draws SVG elements: the part of the plane in a box (left, top, side), at a size in pixels."""
    left, top, side = box
    document = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.3f} {top:.3f} {side:.3f} '
        f'{side:.3f}">{"".join(parts)}</svg>'
    )
    data = resvg_py.svg_to_bytes(
        svg_string=document, width=size, height=size, skip_system_fonts=True
    )
    with Image.open(io.BytesIO(data)) as picture:
        return np.array(picture.convert("RGB"))
