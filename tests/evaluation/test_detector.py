"""The detector: what it is taught, how its answers are read, and its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dynaip.evaluation.crops import MARGIN, Box, box_of, crop
from dynaip.evaluation.detector import (
    Detector,
    DetectorConfig,
    Scenes,
    _boxes,
    _targets,
    detection_loss,
    detection_quality,
    draw_scene,
    train_detector,
    visible_boxes,
)
from dynaip.evaluation.fitting import Fitting
from dynaip.evaluation.probe import ProbeError
from dynaip.miniature.toyland import render

CONFIG = DetectorConfig(size=32, widths=(8, 16, 16))


def said(wanted: np.ndarray) -> torch.Tensor:
    """A network's output that says what it should."""
    output = torch.from_numpy(wanted.copy())
    output[0] = torch.logit(output[0].clamp(0.001, 0.999))
    return output


def test_what_it_is_taught_reads_as_the_boxes() -> None:
    for index in range(6):
        masks = render(draw_scene(index, 0, "test"), 64).masks
        true = visible_boxes(masks)
        found = _boxes(said(_targets(masks)), DetectorConfig())
        assert len(found) == len(true) == 1 + index % 3
        for box in true:
            assert max(box.overlap(other) for other in found) > 0.95


def test_the_loss_is_least_where_it_is_right() -> None:
    wanted = torch.from_numpy(np.stack([Scenes(0, 4, 32)[i][1] for i in range(3)]))
    right = torch.stack([said(each.numpy()) for each in wanted])
    assert detection_loss(right, wanted) < 0.2 * detection_loss(torch.zeros_like(right), wanted)
    moved = right.clone()
    moved[:, 1:] += 0.5
    assert detection_loss(moved, wanted) > detection_loss(right, wanted) + 1.9


def test_one_instance_has_one_box() -> None:
    grid = torch.full((5, 8, 8), -9.0)
    grid[0, 3, 3], grid[0, 3, 5] = 3.0, 2.0
    grid[1:, 3, 3] = grid[1:, 3, 5] = float(np.log(3.0))
    assert len(_boxes(grid, CONFIG)) == 1
    grid[1:, 3, 5] = 0.0
    assert len(_boxes(grid, CONFIG)) == 2
    grid[0, 3, 5] = -1.0
    assert _boxes(grid, CONFIG) == [Box(2, 2, 26, 26)]


def test_quality_counts_both_kinds_of_error() -> None:
    one, other = Box(0, 0, 10, 10), Box(20, 0, 30, 10)
    assert detection_quality([[one, other]], [[other, one]]) == (1, 1, 1)
    assert detection_quality([[one, one]], [[one, other]]) == (0.5, 0.5, 1)
    assert detection_quality([[one]], [[one, other]]) == (0.5, 1, 0)
    assert detection_quality([[]], [[one]]) == (0, 0, 0)


def test_it_learns(tmp_path: Path) -> None:
    losses: list[float] = []
    fitting = Fitting(renders=48, epochs=5, batch_size=12, learning_rate=1e-2, workers=0)
    detector = train_detector(CONFIG, fitting, on_step=lambda _, loss: losses.append(loss))
    assert np.mean(losses[-4:]) < 0.7 * losses[0]
    detector.save_pretrained(tmp_path)
    again = Detector.from_pretrained(tmp_path)
    assert again.config == CONFIG
    pictures = np.stack([Scenes(1, 4, 32)[i][0] for i in range(3)])
    assert len(again.find(pictures)) == 3
    with pytest.raises(ProbeError, match="32x32 pixels, got 16x16"):
        again.find(pictures[:, :16, :16])


def test_missing_and_broken_files_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="train-detector"):
        Detector.from_pretrained(tmp_path)
    Detector(CONFIG).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"format": 9}')
    with pytest.raises(ProbeError, match="format 1"):
        Detector.from_pretrained(tmp_path)


class TestCrops:
    def test_a_box_fills_its_crop_but_for_the_margin(self) -> None:
        picture = np.zeros((40, 40, 3), np.uint8)
        picture[10:20, 12:22] = 255
        box = box_of(picture[..., 0] > 0)
        assert box == Box(12, 10, 22, 20)
        bright = crop(picture, box, 120)[..., 0] > 127
        assert bright.mean() == pytest.approx((1 / (1 + 2 * MARGIN)) ** 2, abs=0.02)
        assert bright[60, 60]
        assert not bright[2, 2]

    def test_the_edge_goes_on_beyond_the_picture(self) -> None:
        picture = np.full((20, 20, 3), 90, np.uint8)
        assert (crop(picture, Box(-8, 0, 12, 20), 32) == 90).all()

    def test_boxes_overlap_as_areas_do(self) -> None:
        assert Box(0, 0, 2, 2).overlap(Box(1, 0, 3, 2)) == pytest.approx(1 / 3)
        assert Box(0, 0, 2, 2).overlap(Box(2, 0, 3, 2)) == 0
        assert box_of(np.zeros((4, 4), bool)) is None


def test_pictures_that_do_not_fall_into_cells_are_refused() -> None:
    with pytest.raises(ProbeError, match="choose a multiple of 4"):
        DetectorConfig(size=50)
