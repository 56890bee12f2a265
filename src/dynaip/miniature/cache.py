"""Rendered pictures kept on disk, so that a run draws each one once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from dynaip.adapter import storage
from dynaip.miniature import toyland


class PictureCache:
    """A fixed number of square pictures, drawn when first asked for.

    The file's name carries a fingerprint of the world, so that pictures of an older Toyland are
    never taken for today's. Processes may share a file: all of them draw the same pictures.

    Args:
        folder: Where the files lie; made when absent.
        name: What the pictures are of, and their seed.
        count: How many pictures there are.
        size: Their side in pixels.
    """

    def __init__(self, folder: Path, name: str, count: int, size: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / f"{name}-{count}x{size}-{_fingerprint(size)}"
        self._pictures = _open(stem.with_name(stem.name + ".npy"), (count, size, size, 3))
        self._drawn = _open(stem.with_name(stem.name + "-drawn.npy"), (count,))

    def get(
        self, index: int, draw: Callable[[], UInt8[np.ndarray, "h w 3"]]
    ) -> UInt8[np.ndarray, "h w 3"]:
        """Picture `index`, from the file or else from `draw`."""
        if not self._drawn[index]:
            self._pictures[index] = draw()
            self._drawn[index] = 1
        return np.array(self._pictures[index])


def _open(path: Path, shape: tuple[int, ...]) -> np.memmap:
    if not path.is_file():
        storage.replace(path, lambda partial: _write_zeros(partial, shape))
    return np.lib.format.open_memmap(path, mode="r+")


def _write_zeros(path: Path, shape: tuple[int, ...]) -> None:
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()


def _fingerprint(size: int) -> str:
    """Changes whenever the world looks or is sampled differently."""
    digest = hashlib.sha256()
    for index in range(8):
        rng = np.random.default_rng([9, index])
        spec = toyland.sample_spec(rng, subjects=1 + index % 3)
        digest.update(toyland.render(spec, size).image.tobytes())
        digest.update(toyland.segment(spec, 0, size).tobytes())
        digest.update(toyland.segment(toyland.vary(spec, rng), 0, size).tobytes())
    return digest.hexdigest()[:12]
