"""Pairs for training the adapter, rendered: a subject segmented onto white, and a picture of it.

Stage 1 is intra-pair: the reference is cut out of the very picture that is to be made. Stage 2 is
cross-pair: the reference shows the same subject in another picture (Section B.1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.utils.data import Dataset

from dynaip.miniature import toyland

PAIRINGS = ("intra", "cross")


class ToylandPairs(Dataset[dict[str, Any]]):
    """Pictures of one subject with prompt and reference; item `i` is drawn from `(seed, i)`.

    Args:
        seed: Seed of the stream.
        pairing: `"intra"` or `"cross"`.
        size: Side of the picture in pixels.
        reference_size: Side of the reference, the image encoder's.

    Raises:
        ValueError: The pairing is neither of the two.
    """

    def __init__(self, seed: int, pairing: str, size: int, reference_size: int) -> None:
        if pairing not in PAIRINGS:
            raise ValueError(f"pairing is one of {', '.join(PAIRINGS)}; got {pairing!r}.")
        self.seed, self.pairing = seed, pairing
        self.size, self.reference_size = size, reference_size

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, index])
        spec = toyland.sample_spec(rng)
        shown = spec if self.pairing == "intra" else toyland.vary(spec, rng)
        return {
            "image": toyland.render(spec, self.size).image,
            "prompt": toyland.caption(spec, rng),
            "reference": toyland.segment(shown, 0, self.reference_size),
        }
