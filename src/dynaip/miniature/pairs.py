"""Pairs for training the adapter, rendered: a subject segmented onto white, and a picture of it.

Stage 1 is intra-pair: the reference is cut out of the very picture that is to be made. Stage 2 is
cross-pair: the reference shows the same subject in another picture (Section B.1).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import UInt8
from torch.utils.data import Dataset

from dynaip.miniature import toyland
from dynaip.miniature.cache import PictureCache

Pairing = Literal["intra", "cross"]
PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)
Draw = Callable[[], UInt8[np.ndarray, "h w 3"]]


class ToylandPairs(Dataset[dict[str, Any]]):
    """Pictures of one subject with prompt and reference; item `i` is drawn from `(seed, i)`.

    The stream goes through `pool` pairs again and again, each time with another caption; they are
    drawn once for all runs that share a cache.

    Args:
        seed: Seed of the stream.
        pairing: `"intra"` or `"cross"`.
        size: Side of the picture in pixels.
        reference_size: Side of the reference, the image encoder's.
        pool: Number of pairs.
        view_captions: Share of the captions that name all of the view and, of the subject, at most
            its category: what is left to tell is told by the reference. The others name any subset.
        view_category: Share of the captions of the view that name the category; else half.
        cache: Folder that keeps them; without one they are drawn each time.

    Raises:
        ValueError: The pairing is neither of the two, a share is none or one of nothing, or there
            are no pairs.
    """

    def __init__(
        self,
        seed: int,
        pairing: str,
        size: int,
        reference_size: int,
        *,
        pool: int = 32_768,
        view_captions: float = 0.0,
        view_category: float | None = None,
        cache: Path | None = None,
    ) -> None:
        if pairing not in PAIRINGS:
            raise ValueError(f"pairing is one of {', '.join(PAIRINGS)}; got {pairing!r}.")
        if pool < 1:
            raise ValueError(f"pool is a number of pairs, at least 1; got {pool}.")
        if view_category is None:
            view_category = 0.5
        elif not view_captions:
            raise ValueError("view_category is a share of view_captions, of which there are none.")
        for name, share in (("view_captions", view_captions), ("view_category", view_category)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is a share, from 0 to 1; got {share:g}.")
        self.seed, self.pairing, self.pool = seed, pairing, pool
        self.view_captions, self.view_category = view_captions, view_category
        self.size, self.reference_size = size, reference_size
        self.pictures, self.references = (
            None if cache is None else PictureCache(cache, f"{pairing}-{name}-{seed}", pool, side)
            for name, side in (("pictures", size), ("references", reference_size))
        )

    def __getitem__(self, index: int) -> dict[str, Any]:
        place = index % self.pool
        rng = np.random.default_rng([self.seed, place])
        spec = toyland.sample_spec(rng)
        shown = spec if self.pairing == "intra" else toyland.vary(spec, rng)
        return {
            "image": _kept(self.pictures, place, lambda: toyland.render(spec, self.size).image),
            "prompt": self._prompt(spec, np.random.default_rng([self.seed, index, 3])),
            "reference": _kept(
                self.references, place, lambda: toyland.segment(shown, 0, self.reference_size)
            ),
        }

    def _prompt(self, spec: toyland.Spec, rng: np.random.Generator) -> str:
        viewed = self.view_captions and rng.random() < self.view_captions
        if viewed:
            return toyland.view_caption(spec, rng, self.view_category)
        return toyland.caption(spec, rng)


def _kept(cache: PictureCache | None, place: int, draw: Draw) -> UInt8[np.ndarray, "h w 3"]:
    return draw() if cache is None else cache.get(place, draw)
