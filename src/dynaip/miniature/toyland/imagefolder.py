"""Samples of Toyland as files: an imagefolder with its specs, and contact sheets to look at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dynaip.miniature.toyland.captions import caption
from dynaip.miniature.toyland.render import Picture, render, segment
from dynaip.miniature.toyland.sampling import sample_concept, sample_spec, vary
from dynaip.miniature.toyland.spec import KINDS, Spec

METADATA = "metadata.jsonl"


def write_imagefolder(
    folder: Path,
    count: int,
    *,
    seed: int = 0,
    split: str = "train",
    size: int = 64,
    subjects: int = 1,
) -> Iterator[Path]:
    """Writes pictures, masks and `metadata.jsonl`, the layout that `datasets` opens.

    Each line holds `file_name`, `text`, `mask_file_names` (one a subject) and `spec`. Picture
    `i` depends on `seed` and `i` alone, so a longer run begins with the same pictures. The
    metadata appears when all pictures are there.

    Args:
        folder: where to write; made if missing.
        count: how many pictures.
        seed: of all chance.
        split: "train" or "test".
        size: height and width in pixels.
        subjects: how many subjects each picture has, 1 to 3.

    Yields:
        The path of each picture, once written.

    Raises:
        ValueError: the folder already holds samples, or pictures of the same names that are not
            from a run of this that was interrupted; or `count` is not positive.
    """
    if count < 1:
        raise ValueError(f"{count} pictures cannot be written: ask for at least one.")
    if (folder / METADATA).exists():
        raise ValueError(f"{folder} already holds samples: choose another folder.")
    unfinished = folder / f"{METADATA}.partial"
    if not unfinished.exists():
        _check_free(folder, count, subjects)
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    with unfinished.open("w", encoding="utf-8") as lines:
        for index in range(count):
            rng = np.random.default_rng([seed, index])
            spec = sample_spec(rng, subjects=subjects, split=split)
            text = caption(spec, rng)
            entry = _write_picture(folder, index, render(spec, size))
            lines.write(json.dumps({**entry, "text": text, "spec": spec.to_dict()}) + "\n")
            yield folder / entry["file_name"]
    unfinished.replace(folder / METADATA)


def _names(index: int, subjects: int) -> tuple[str, list[str]]:
    """Of a picture and its masks."""
    return f"{index:06d}.png", [f"masks/{index:06d}-{each}.png" for each in range(subjects)]


def _check_free(folder: Path, count: int, subjects: int) -> None:
    """Raises where somebody else's files have the names that are to be written."""
    for index in range(count):
        picture, masks = _names(index, subjects)
        for name in (picture, *masks):
            if (folder / name).exists():
                raise ValueError(
                    f"{folder / name} is there already, and would be written over: choose another "
                    "folder."
                )


def _write_picture(folder: Path, index: int, picture: Picture) -> dict[str, Any]:
    name, masks = _names(index, len(picture.masks))
    Image.fromarray(picture.image).save(folder / name)
    for mask_name, mask in zip(masks, picture.masks, strict=True):
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / mask_name)
    return {"file_name": name, "mask_file_names": masks}


def contact_sheet(
    images: Iterable[UInt8[np.ndarray, "size size 3"]], columns: int, gap: int = 4
) -> Image.Image:
    """Pictures of one size in rows of `columns`, left to right, on white.

    Raises:
        ValueError: no pictures.
    """
    cells: Sequence[np.ndarray] = list(images)
    if not cells:
        raise ValueError("A contact sheet needs at least one picture.")
    step = cells[0].shape[0] + gap
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * step + gap, rows * step + gap), "white")
    for index, cell in enumerate(cells):
        row, column = divmod(index, columns)
        sheet.paste(Image.fromarray(cell), (gap + column * step, gap + row * step))
    return sheet


def world_sheet(size: int = 96, seed: int = 4) -> Image.Image:
    """The world on one page: every category, some subjects again and again, pairs and triples."""
    rng = np.random.default_rng(seed)
    columns = len(KINDS)
    return contact_sheet(
        [
            *(render(spec, size).image for spec in _one_of_each(rng)),
            *(cell for _ in range(2) for cell in _again(rng, columns, size)),
            *(render(sample_spec(rng, subjects=2), size).image for _ in range(columns)),
            *(render(sample_spec(rng, subjects=3), size).image for _ in range(columns)),
        ],
        columns,
    )


def _one_of_each(rng: np.random.Generator) -> Iterator[Spec]:
    # A column a kind, a row for each of its categories.
    for row in range(3):
        for kind, categories in KINDS.items():
            while True:
                concept = sample_concept(rng, kinds=(kind,))
                if concept.category == categories[row]:
                    break
            yield sample_spec(rng, concepts=[concept])


def _again(rng: np.random.Generator, columns: int, size: int) -> Iterator[np.ndarray]:
    spec = sample_spec(rng)
    yield segment(spec, 0, size)
    for _ in range(columns - 1):
        yield render(vary(spec, rng), size).image
