"""A subject: a reference picture, where it goes, how strongly, and at which granularity."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dynaip.adapter.card import SubjectCard
from dynaip.adapter.choices import check_granularity, check_phrase, check_window
from dynaip.pictures import PathLike, on_white, open_picture
from dynaip.pipeline.strength import Scale, check_scale

Box = Sequence[float]
Drawn = PathLike | Image.Image | np.ndarray | Tensor
Mask = Drawn | Box
DRAWN = (str, os.PathLike, Image.Image, np.ndarray, Tensor)
Reference = PathLike | Image.Image | SubjectCard
Grid = tuple[int, int]

# A mask is drawn at some size and used at another; more than this and it is for another picture.
ASPECT_TOLERANCE = 0.05


@dataclasses.dataclass(frozen=True)
class Subject:
    """One subject of a picture.

    Attributes:
        image: Its reference, a picture file or a picture (transparency is put on white); a subject
            card or its `.safetensors` file; or a list of these, several views of one subject.
        mask: Where in the picture it goes; nothing for everywhere. A picture or its file (white is
            the subject; where some of it is transparent, what is opaque), an array or tensor of
            height x width (booleans, 0 to 255 whole, or 0 to 1 fractions), a box `(left, top,
            right, bottom)` in fractions of the picture, or `"left"`, `"middle"` or `"right"`:
            halves, or thirds where a subject stands in the middle.
        scale: The paper's lambda, 0 for off, 1 as trained; one number, one for each block, or by
            named range, such as `{"double": 1, "single": 0.5}`; see `block_scales`.
        granularity: Weights of the low, mid and high level, which sum to 1; nothing lets the router
            decide.
        start: Share of the denoising steps that run before it comes in.
        end: Share of the steps after which it is gone.
        phrase: Words of the prompt that name it. Where the prompt's rows see references (see
            `branches` of `PersonalPipeline.__call__`), those of its phrase alone see this one; and
            where another subject of the picture has a phrase and this one has none, no row does.

    Raises:
        ValueError: A `scale` is negative or not finite, `granularity` is not three non-negative
            numbers that sum to 1, not 0 <= start < end <= 1, a box lies outside the picture or is
            empty, there is no view, a view is no picture, or the phrase has no words.
    """

    image: Reference | Sequence[Reference]
    mask: Mask | None = None
    scale: Scale = 1.0
    granularity: Sequence[float] | None = None
    start: float = 0.0
    end: float = 1.0
    phrase: str | None = None

    def __post_init__(self) -> None:
        check_scale(self.scale)
        if self.granularity is not None:
            object.__setattr__(self, "granularity", check_granularity(self.granularity))
        check_window(self.start, self.end)
        if not (self.mask is None or isinstance(self.mask, DRAWN)):
            check_box(self.mask)
        check_phrase(self.phrase)
        if isinstance(self.image, Sequence) and not len(self.image):
            raise ValueError("A subject needs at least one picture; the list of views is empty.")
        for view in self._given:
            if not isinstance(view, str | os.PathLike | Image.Image | SubjectCard):
                raise ValueError(
                    f"A reference is a picture, its file, or a card; got a {type(view).__name__}."
                )

    @property
    def views(self) -> tuple[Reference, ...]:
        """Its references, a card's file opened."""
        return tuple(_open_card(view) for view in self._given)

    @property
    def _given(self) -> Sequence[Reference]:
        several = isinstance(self.image, Sequence) and not isinstance(self.image, str)
        return cast(Sequence[Reference], self.image if several else [self.image])


def are_lists(subjects: object) -> bool:
    """Whether they are given for each prompt apart."""
    return isinstance(subjects, Sequence) and any(
        isinstance(each, list | tuple) for each in subjects
    )


def check_subjects(subjects: object) -> None:
    """Refuses what are no subjects of a picture.

    Raises:
        ValueError: It is no sequence of `Subject`s.
    """
    if isinstance(subjects, Sequence) and all(isinstance(each, Subject) for each in subjects):
        return
    raise ValueError(
        "subjects is a list of `Subject`s, or for each prompt one such list, or what `encode` "
        f"returned; got {type(subjects).__name__}: put pictures into Subject(...)."
    )


def _open_card(reference: Reference) -> Reference:
    if isinstance(reference, str | os.PathLike) and Path(reference).suffix == ".safetensors":
        return SubjectCard.load(reference)
    return reference


def token_mask(mask: Mask, grid: Grid) -> Float[np.ndarray, " n"]:
    """A mask on the packed tokens: the share of each token's area that is the subject's (Eq. 9).

    Args:
        mask: See `Subject.mask`.
        grid: Rows and columns of tokens, for FLUX `(height // 16, width // 16)`.

    Returns:
        `rows * columns` numbers from 0 to 1, in the order of the packed latents.

    Raises:
        ValueError: The mask is empty, broken, of another shape than the picture, or not a mask.
    """
    if isinstance(mask, DRAWN):
        pixels = _read_mask(cast(Drawn, mask))
        _check_aspect(pixels.shape, grid)
        rows, columns = (_overlap(n, size) for n, size in zip(grid, pixels.shape, strict=True))
        tokens = rows @ pixels @ columns.T
    else:
        tokens = _box_tokens(cast(Box, mask), grid)
    if not tokens.any():
        raise ValueError("The mask is empty, so its subject would not be seen; mark where it goes.")
    return tokens.clip(0, 1).ravel().astype(np.float32)


def check_box(box: Box) -> None:
    """Refuses what is no box `(left, top, right, bottom)` in a picture.

    Raises:
        ValueError: It has not four numbers from 0 to 1, or nothing is between them.
    """
    if len(box) != 4 or not all(isinstance(v, Real) and 0 <= v <= 1 for v in box):
        raise ValueError(
            "A box is (left, top, right, bottom) in fractions of the picture, from 0 to 1, got "
            f"{box}; divide pixels by the picture's width and height."
        )
    left, top, right, bottom = box
    if left >= right or top >= bottom:
        raise ValueError(
            f"A box is (left, top, right, bottom) with left < right and top < bottom, got {box}."
        )


def _box_tokens(box: Box, grid: Grid) -> Float[np.ndarray, "y x"]:
    check_box(box)
    left, top, right, bottom = box
    rows, columns = grid
    return np.outer(_covered(rows, top, bottom), _covered(columns, left, right))


def _covered(cells: int, start: float, end: float) -> Float[np.ndarray, " n"]:
    """The share of each of `cells` equal parts of [0, 1] that lies in [start, end]."""
    edges = np.arange(cells + 1) / cells
    return (np.minimum(edges[1:], end) - np.maximum(edges[:-1], start)).clip(0) * cells


def _overlap(cells: int, pixels: int) -> Float[np.ndarray, "cells pixels"]:
    """Averaging by area along one axis, exact also where `cells` does not divide `pixels`."""
    edges = np.arange(cells + 1)[:, None] * (pixels / cells)
    pixel = np.arange(pixels)[None]
    shared = np.minimum(edges[1:], pixel + 1) - np.maximum(edges[:-1], pixel)
    return shared.clip(0) * (cells / pixels)


def _read_mask(mask: Drawn) -> Float[np.ndarray, "y x"]:
    if isinstance(mask, Tensor):
        # NumPy has no bfloat16.
        mask = (mask.detach().float() if mask.is_floating_point() else mask).cpu().numpy()
    if not isinstance(mask, np.ndarray):
        return np.asarray(_mask_channel(open_picture(mask)), dtype=np.float64) / 255
    if mask.ndim != 2 or 0 in mask.shape:
        raise ValueError(f"A mask has two axes, height and width, got the shape {mask.shape}.")
    whole = np.issubdtype(mask.dtype, np.integer)
    values: Any = mask.astype(np.float64) / (255 if whole and mask.max() > 1 else 1)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("A mask holds numbers from 0 to 1, or whole numbers from 0 to 255.")
    return values


def _mask_channel(picture: Image.Image) -> Image.Image:
    """What says where the subject is: the transparency where there is some, else the brightness.

    Programs often write an alpha channel that is opaque everywhere beside black and white.
    """
    if picture.has_transparency_data:
        alpha = picture.convert("RGBA").getchannel("A")
        if cast(tuple[int, int], alpha.getextrema())[0] < 255:
            return alpha
    return on_white(picture).convert("L")


def _check_aspect(shape: tuple[int, ...], grid: Grid) -> None:
    mask, picture = shape[1] / shape[0], grid[1] / grid[0]
    if abs(mask / picture - 1) > ASPECT_TOLERANCE:
        raise ValueError(
            f"The mask is {shape[1]}x{shape[0]} pixels, but the picture has {grid[1]}x{grid[0]} "
            "tokens; draw the mask in the picture's proportions."
        )
