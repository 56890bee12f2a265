"""Subjects: what is refused, and masks on the token grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from dynaip.pipeline.subject import Subject, token_mask

PICTURE = Image.new("RGB", (4, 4))


@pytest.mark.parametrize("scale", [-0.1, float("nan"), float("inf")])
def test_a_bad_scale_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be"):
        Subject(PICTURE, scale=scale)


@pytest.mark.parametrize(
    "granularity",
    [(1, 1, 1), (-0.5, 1, 0.5), (0.5, 0.5), (0, 0, 0), (float("nan"), 0.5, 0.5), (0.3, 0.3, 0.39)],
)
def test_a_bad_granularity_is_refused(granularity: Any) -> None:
    with pytest.raises(ValueError, match="3 numbers"):
        Subject(PICTURE, granularity=granularity)


@given(st.tuples(*[st.floats(0, 1)] * 3).filter(lambda values: sum(values) > 0.01))
def test_granularity_sums_to_one_exactly_after_rounding(values: tuple[float, ...]) -> None:
    rounded = [round(value / sum(values), 3) for value in values]
    kept = Subject(PICTURE, granularity=rounded).granularity
    assert kept is not None
    assert sum(kept) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0, 0, 64, 64), "divide pixels"),
        ((-0.1, 0, 1, 1), "divide pixels"),
        ((0, 0, float("nan"), 1), "divide pixels"),
        ((0, 0, 1), "fractions"),
        ((0.5, 0, 0.5, 1), "left < right"),
        ((0, 0.7, 1, 0.2), "top < bottom"),
    ],
)
def test_a_bad_box_is_refused_before_anything_is_loaded(box: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Subject(PICTURE, mask=box)
    with pytest.raises(ValueError, match=words):
        token_mask(box, (4, 4))


@pytest.mark.parametrize("image", [5, [PICTURE, None]])
def test_what_is_no_picture_is_refused(image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Under test, the import hook would refuse the type first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"A reference is a picture.*got a (int|NoneType)"):
        Subject(image)


masks = npst.arrays(
    np.float64, npst.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.floats(0.1, 1)
)


@given(masks, st.integers(1, 9))
def test_area_is_kept(mask: np.ndarray, tokens: int) -> None:
    height, width = mask.shape
    grid = (height * tokens, width * tokens) if height != width else (tokens, tokens)
    result = token_mask(mask, grid)
    assert result.shape == (grid[0] * grid[1],)
    assert result.mean() == pytest.approx(mask.mean(), rel=1e-5)


def test_a_token_is_the_mean_of_its_pixels() -> None:
    mask = np.random.default_rng(0).random((6, 9))
    expected = mask.reshape(2, 3, 3, 3).mean((1, 3)).ravel()
    np.testing.assert_allclose(token_mask(mask, (2, 3)), expected, rtol=1e-6)


def test_a_pixel_between_two_tokens_is_shared() -> None:
    mask = np.array([[0.0, 1.0, 0.0]] * 3)
    np.testing.assert_allclose(token_mask(mask, (2, 2)), [1 / 3] * 4, rtol=1e-6)


def test_a_box_is_exact() -> None:
    result = token_mask((0.25, 0.0, 0.875, 0.5), (2, 4)).reshape(2, 4)
    np.testing.assert_allclose(result, [[0, 1, 1, 0.5], [0, 0, 0, 0]])


def test_a_box_equals_its_picture() -> None:
    picture = np.zeros((100, 100), np.uint8)
    picture[13:57, 8:91] = 255
    box = token_mask((0.08, 0.13, 0.91, 0.57), (7, 7))
    np.testing.assert_allclose(token_mask(picture, (7, 7)), box, atol=1e-6)


def test_all_forms_of_one_mask_agree(tmp_path: Path) -> None:
    array = np.zeros((16, 16), np.uint8)
    array[:, :4] = 255
    Image.fromarray(array).save(tmp_path / "mask.png")
    cutout = Image.new("RGBA", (16, 16), (9, 9, 9, 0))
    cutout.paste((0, 0, 0, 255), (0, 0, 4, 16))
    expected = token_mask((0, 0, 0.25, 1), (4, 4))
    for mask in (
        array,
        array > 0,
        array / 255,
        (array > 0).astype(int),
        torch.from_numpy(array),
        torch.from_numpy(array > 0).bfloat16(),
        Image.fromarray(array),
        Image.fromarray(array).convert("RGBA"),
        Image.fromarray(array.astype(np.uint16) * 257),
        str(tmp_path / "mask.png"),
        cutout,
    ):
        np.testing.assert_allclose(token_mask(mask, (4, 4)), expected)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((8, 8)), "empty"),
        (np.full((8, 8), np.nan), "0 to 1"),
        (np.full((8, 8), 2.0), "0 to 1"),
        (np.full((8, 8), -1), "0 to 1"),
        (np.ones((8, 8, 3)), "two axes"),
        (np.ones((0, 8)), "two axes"),
        (np.ones((8, 16)), "proportions"),
        ("nowhere.png", "no picture file"),
    ],
)
def test_a_bad_mask_is_refused(mask: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        token_mask(mask, (4, 4))
