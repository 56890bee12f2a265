"""Rendered pictures are drawn once, and never taken for others."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynaip.miniature import toyland
from dynaip.miniature.base import PromptedPictures
from dynaip.miniature.cache import PictureCache


def test_pictures_come_from_the_cache_once_drawn(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path, "x", 3, 16)
    picture = np.full((16, 16, 3), 7, dtype=np.uint8)
    assert np.array_equal(cache.get(1, lambda: picture), picture)
    again = PictureCache(tmp_path, "x", 3, 16)

    def never() -> np.ndarray:
        raise AssertionError("drawn twice")

    assert np.array_equal(again.get(1, never), picture)
    with pytest.raises(AssertionError, match="drawn twice"):
        again.get(0, never)


def test_pictures_of_other_shares_are_not_taken(tmp_path: Path) -> None:
    def picture(*subjects: float) -> np.ndarray:
        about = {"size": 16, "pool": 1, "full_captions": 0.0, "cache": tmp_path}
        return PromptedPictures(0, subjects=subjects, **about)[0]["image"]

    one, three = picture(1.0, 0.0, 0.0), picture(0.0, 0.0, 1.0)
    assert not np.array_equal(one, three)
    assert np.array_equal(picture(1.0, 0.0, 0.0), one)


@pytest.mark.parametrize("changed", ["sample_spec", "render", "segment", "vary"])
def test_pictures_of_another_world_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """Whatever made them."""
    plain = getattr(toyland, changed)

    def otherwise(*args: Any, **kwargs: Any) -> Any:
        made = plain(*args, **kwargs)
        if changed == "render":
            return dataclasses.replace(made, image=255 - made.image)
        return 255 - made if changed == "segment" else plain(*args, **kwargs)

    PictureCache(tmp_path, "x", 1, 16)
    once = len(list(tmp_path.iterdir()))
    monkeypatch.setattr(f"dynaip.miniature.cache.toyland.{changed}", otherwise)
    PictureCache(tmp_path, "x", 1, 16)
    assert len(list(tmp_path.iterdir())) == 2 * once
