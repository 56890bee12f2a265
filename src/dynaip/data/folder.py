"""Training pairs from a folder: pictures, references and prompts named in a JSONL file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch.utils.data import Dataset

from dynaip.pictures import PictureError, on_white, open_picture, square

FIELDS = ("image", "reference", "prompt")


class FolderPairs(Dataset[dict[str, Any]]):
    """Pairs listed in `metadata.jsonl`, shuffled anew every epoch; the stream has no end.

    A row names the picture to make, the reference (its subject segmented, on white or
    transparent), both relative to the folder, and the prompt. Item `i` is a function of
    `(seed, i)`.

    Args:
        folder: Holds `metadata.jsonl` and the pictures.
        seed: Seed of the order.
        size: Side of the picture in pixels; it is scaled to cover the square and cut at the middle.
        reference_size: Side of the reference, made square as at inference: it is scaled to fit and
            padded with white, never cut.

    Raises:
        ValueError: The list is missing, empty, or a row is not of this form.
    """

    def __init__(self, folder: Path, seed: int, size: int, reference_size: int) -> None:
        self.folder, self.seed = folder, seed
        self.size, self.reference_size = size, reference_size
        self.rows = _read_rows(folder / "metadata.jsonl")

    def __getitem__(self, index: int) -> dict[str, Any]:
        epoch, place = divmod(index, len(self.rows))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
        row = self.rows[order[place]]
        picture = self._open(row["image"])
        reference = self._open(row["reference"])
        return {
            "image": np.asarray(
                ImageOps.fit(picture, (self.size, self.size), Image.Resampling.LANCZOS)
            ),
            "reference": np.asarray(square(reference, self.reference_size)),
            "prompt": row["prompt"],
        }

    def _open(self, name: str) -> Image.Image:
        try:
            return on_white(open_picture(self.folder / name))
        except PictureError as error:
            raise ValueError(
                f"{self.folder / 'metadata.jsonl'} names a bad picture: {error}"
            ) from error


def _read_rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise ValueError(f"There are no pairs: {path} does not exist.")
    rows = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"Line {number} of {path} is not JSON: {error}.") from error
            if not isinstance(row, dict) or any(not isinstance(row.get(f), str) for f in FIELDS):
                raise ValueError(
                    f"Line {number} of {path} must have the texts {', '.join(FIELDS)}."
                )
            rows.append(row)
    if not rows:
        raise ValueError(f"{path} lists no pairs.")
    return rows
