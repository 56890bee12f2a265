"""Cutting single subjects out of pictures of several, for probes that read one at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

# What stands around a subject in a crop, as a share of its longer side, on each side.
MARGIN = 0.1


class Box(NamedTuple):
    """Edges in pixels; right and bottom are the first ones outside."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def centre(self) -> tuple[float, float]:
        """X and y in pixels."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    @property
    def area(self) -> float:
        """In square pixels, never negative."""
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)

    def overlap(self, other: Box) -> float:
        """Intersection over union."""
        both = Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        ).area
        union = self.area + other.area - both
        return both / union if union else 0.0


def box_of(mask: Bool[np.ndarray, "y x"]) -> Box | None:
    """The tight box around a mask; `None` if it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def crop(
    picture: UInt8[np.ndarray, "y x 3"], box: Box, size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """A square around a box with a margin, at another size; beyond the picture its edge goes on."""
    x, y = box.centre
    half = max(box.right - box.left, box.bottom - box.top, 1.0) * (0.5 + MARGIN)
    pad = max(0, *(int(np.ceil(v)) for v in (half - x, half - y, x + half - picture.shape[1])))
    pad = max(pad, int(np.ceil(y + half - picture.shape[0])))
    padded = np.pad(picture, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    window = (x - half + pad, y - half + pad, x + half + pad, y + half + pad)
    cut = Image.fromarray(padded).resize((size, size), Image.Resampling.BICUBIC, box=window)
    return np.asarray(cut)
