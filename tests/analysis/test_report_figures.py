"""Figures: a picture with ink in it, and nothing where there is nothing to draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynaip.analysis.report_figures import Point, draw_trade_off

OURS = Point("ours", (0.696, 0.68, 0.71), (0.934, 0.92, 0.95))
OTHER = Point("other", (0.785, 0.77, 0.8), (0.799, 0.78, 0.82))


def test_one_panel_for_each_setting(tmp_path: Path) -> None:
    draw_trade_off({"one subject": [OURS, OTHER], "several subjects": []}, tmp_path / "one.png")
    draw_trade_off({"one subject": [OURS], "several subjects": [OTHER]}, tmp_path / "two.png")
    one, two = (Image.open(tmp_path / name).convert("RGB") for name in ("one.png", "two.png"))
    assert two.width > 1.8 * one.width
    # The first method's colour is there: marker, bars and legend.
    pixels = np.asarray(one).reshape(-1, 3)
    assert (pixels == (0x1B, 0x5E, 0x58)).all(axis=1).sum() > 50


def test_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing is drawn"):
        draw_trade_off({"one subject": []}, tmp_path / "none.png")
