"""M1 without a classifier: is a detail still there, and in which band of frequencies is it lost?

Both compare a picture with renders of what it should show. A picture may show it a little to the
side, so the best of some shifts counts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from torch.nn import functional as F

# Laplacian bands, finest first.
BANDS = 4
SHIFTS = 3


def band_correlations(
    picture: UInt8[np.ndarray, "y x 3"],
    wanted: UInt8[np.ndarray, "y x 3"],
    mask: Bool[np.ndarray, "y x"],
    *,
    shifts: int = SHIFTS,
) -> Float[np.ndarray, " bands"]:
    """How alike a picture is to a render in each band, finest first, inside a mask.

    Band-limited re-render fidelity is this, over the same of the autoencoder's round trip.

    Args:
        picture: What was made.
        wanted: The render of what it should show.
        mask: Of the subject in the render.
        shifts: Pixels that the picture may be off by; the shift that suits it best is used.

    Returns:
        Correlations from -1 to 1; 0 where a band is empty.
    """
    true = _bands(wanted)[mask]
    best = np.full(BANDS, -np.inf)
    # Bands of a moved picture are its bands, moved, but for its edges.
    for moved in _shifted(_bands(picture), shifts):
        values = _correlations(moved[mask], true)
        if values.sum() > best.sum():
            best = values
    return best


def prefers(
    picture: UInt8[np.ndarray, "y x 3"],
    wanted: UInt8[np.ndarray, "y x 3"],
    twin: UInt8[np.ndarray, "y x 3"],
    mask: Bool[np.ndarray, "y x"],
    *,
    shifts: int = SHIFTS,
) -> float:
    """The hard-distractor choice: is a picture nearer to its subject than to a twin of it?

    Only the pixels in which the two differ are looked at, so the choice is about that detail.

    Args:
        picture: What was made.
        wanted: The render of what it should show.
        twin: The same with one factor changed.
        mask: Of the subject.
        shifts: See `band_correlations`.

    Returns:
        1 for the subject, 0 for the twin, one half where nothing tells them apart.
    """
    differs = (wanted != twin).any(-1) & mask
    if not differs.any():
        return 0.5
    own, other = np.inf, np.inf
    for moved in _shifted(picture, shifts):
        pixels = moved[differs].astype(np.float64)
        own = min(own, float(np.square(pixels - wanted[differs]).mean()))
        other = min(other, float(np.square(pixels - twin[differs]).mean()))
    return 0.5 if own == other else float(own < other)


def _shifted(
    picture: Shaped[np.ndarray, "y x ..."], shifts: int
) -> Iterator[Shaped[np.ndarray, "y x ..."]]:
    """The picture moved by up to so many pixels, its edge going on."""
    sides = [(shifts, shifts)] * 2 + [(0, 0)] * (picture.ndim - 2)
    padded = np.pad(picture, sides, mode="edge")
    height, width = picture.shape[:2]
    # Unmoved first: ties are decided for it.
    for y in sorted(range(2 * shifts + 1), key=lambda v: abs(v - shifts)):
        for x in sorted(range(2 * shifts + 1), key=lambda v: abs(v - shifts)):
            yield padded[y : y + height, x : x + width]


def _bands(picture: UInt8[np.ndarray, "y x 3"]) -> Float[np.ndarray, "y x bands 3"]:
    """Differences of ever wider averages; the last is what remains."""
    current = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).double()
    bands = []
    for level in range(BANDS - 1):
        side = 2 ** (level + 1) + 1
        padded = F.pad(current[None], (side // 2,) * 4, mode="replicate")
        smooth = F.avg_pool2d(padded, side, stride=1)[0]
        bands.append(current - smooth)
        current = smooth
    return torch.stack([*bands, current]).permute(2, 3, 0, 1).numpy()


def _correlations(
    first: Float[np.ndarray, "n bands 3"], second: Float[np.ndarray, "n bands 3"]
) -> Float[np.ndarray, " bands"]:
    """Of each band, its channels' means taken off."""
    a, b = first - first.mean(0), second - second.mean(0)
    scale = np.sqrt((a * a).sum((0, 2)) * (b * b).sum((0, 2)))
    return (a * b).sum((0, 2)) / np.where(scale > 0, scale, 1)
