"""A detector of subjects: where they are, and nothing of who they are.

A small convolutional network marks the middle of every subject on a grid of 4-pixel cells and says
how far its edges are. It has one class, "subject", so identity cannot help or hurt it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from dynaip.evaluation.crops import Box, box_of
from dynaip.evaluation.fitting import Checkpoint, Fitting, Lesson, Lessons, collect_lessons, fit
from dynaip.evaluation.probe import ProbeError, as_tensor, save_instrument
from dynaip.miniature.toyland import Spec, render, sample_spec

FORMAT = 1
CELL = 4
DETECTOR_STREAM = 8
# Arrangements in which everybody has a place of their own; clothes that are worn have none.
ACTIONS = ("next to", "in front of", "on top of")
LEAST_VISIBLE = 0.01
# Boxes of two instances overlap less than this.
SAME = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """A detector's shape.

    Attributes:
        size: Picture height and width in pixels.
        widths: Channels of the layers: two that halve the picture, then some that look ever wider.
        threshold: How sure the middle of an instance must be.
    """

    size: int = 64
    widths: tuple[int, ...] = (24, 48, 64, 64, 64)
    threshold: float = 0.4

    def __post_init__(self) -> None:
        """Refuses pictures that do not fall into cells.

        Raises:
            ProbeError: The size is no multiple of `CELL`.
        """
        if self.size % CELL:
            raise ProbeError(
                f"A detector looks at cells of {CELL} pixels, and {self.size} are not so many; "
                f"choose a multiple of {CELL}."
            )


class Detector(nn.Module):
    """Finds subjects.

    Args:
        config: Its shape.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        before = 3
        for index, width in enumerate(config.widths):
            stride, reach = (2, 1) if index < 2 else (1, 2 ** (index - 2))
            layers += [
                nn.Conv2d(
                    before, width, 3, stride=stride, padding=reach, dilation=reach, bias=False
                ),
                nn.BatchNorm2d(width),
                nn.SiLU(),
            ]
            before = width
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Conv2d(before, 5, 1)

    def forward(self, pictures: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b 5 gy gx"]:
        """Logit of a middle, and log distances to left, top, right and bottom in cells."""
        return self.head(self.trunk(pictures))

    @torch.inference_mode()
    def find(
        self, pictures: UInt8[np.ndarray, "b y x 3"], batch_size: int = 256
    ) -> list[list[Box]]:
        """The boxes of each picture's subjects, the surest first.

        Raises:
            ProbeError: The pictures are not of the size that the detector was trained at.
        """
        size = self.config.size
        if pictures.shape[1:3] != (size, size):
            raise ProbeError(
                f"This detector looks at pictures of {size}x{size} pixels, got "
                f"{pictures.shape[2]}x{pictures.shape[1]}; train one for them with "
                "`dynaip evaluate train-detector --size`."
            )
        self.eval()
        found: list[list[Box]] = []
        for start in range(0, len(pictures), batch_size):
            output = self(as_tensor(pictures[start : start + batch_size]))
            found += [_boxes(grid, self.config) for grid in output]
        return found

    def save_pretrained(self, folder: Path) -> None:
        """Writes `config.json` and `model.safetensors` (16 bit), each whole or not at all."""
        save_instrument(self, {"format": FORMAT, **dataclasses.asdict(self.config)}, folder)

    @classmethod
    def from_pretrained(cls, folder: Path) -> Detector:
        """Reads what `save_pretrained` wrote.

        Raises:
            ProbeError: No detector there, or its files are broken.
        """
        try:
            fields = json.loads((folder / "config.json").read_text())
            if fields.pop("format", None) != FORMAT:
                raise ProbeError(f"{folder} holds no detector of format {FORMAT}.")
            widths = tuple(fields.pop("widths"))
            detector = cls(DetectorConfig(widths=widths, **fields))
            detector.load_state_dict(load_file(folder / "model.safetensors"))
        except FileNotFoundError as error:
            raise ProbeError(
                f"There is no detector in {folder}; train one with `dynaip evaluate "
                "train-detector`."
            ) from error
        except (json.JSONDecodeError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
            raise ProbeError(f"The detector in {folder} is broken ({error}).") from error
        return detector.eval()


class Scenes(torch.utils.data.Dataset[Lesson]):
    """Pictures of one to three subjects and their boxes; item `i` is drawn from `(seed, i)`."""

    def __init__(self, seed: int, count: int, size: int) -> None:
        self.seed, self.count, self.size = seed, count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Lesson:
        if index >= self.count:
            raise IndexError(index)
        picture = render(draw_scene(index, self.seed, "train"), self.size)
        return picture.image, _targets(picture.masks)


def draw_scene(index: int, seed: int, split: str) -> Spec:
    """A picture of one to three subjects in turn, each in a place of its own."""
    rng = np.random.default_rng([DETECTOR_STREAM, seed, index])
    subjects = 1 + index % 3
    action = None
    if subjects > 1:
        action = ACTIONS[int(rng.integers(len(ACTIONS)))] if subjects == 2 else ACTIONS[0]
    return sample_spec(rng, subjects=subjects, split=split, action=action)


def visible_boxes(masks: Bool[np.ndarray, "s y x"]) -> list[Box]:
    """Boxes of the subjects that enough is to be seen of."""
    return [box for mask in masks if mask.mean() >= LEAST_VISIBLE and (box := box_of(mask))]


def train_detector(
    config: DetectorConfig,
    fitting: Fitting,
    autoencoder: nn.Module | None = None,
    on_renders: Callable[[int], Any] | None = None,
    on_step: Callable[[int, float], Any] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Detector:
    """Trains a detector; arguments as in `probe_training.train_probe`."""
    lessons: Lessons = collect_lessons(
        Scenes(fitting.seed, fitting.renders, config.size), fitting, on_renders
    )
    torch.manual_seed(fitting.seed)
    detector = Detector(config)
    # Most cells are no middle; without this the first steps only learn that.
    assert detector.head.bias is not None
    nn.init.constant_(detector.head.bias[:1], -3.0)
    fit(detector, fitting, lessons, detection_loss, autoencoder, on_step, checkpoint)
    return detector


def detection_loss(
    output: Float[Tensor, "b 5 gy gx"], wanted: Float[Tensor, "b 5 gy gx"]
) -> Float[Tensor, ""]:
    """Focal loss on middles (Zhou et al. 2019, CenterNet), absolute error on log distances."""
    output = output.float()
    heat, middles = wanted[:, 0], wanted[:, 0] == 1
    sure = output[:, 0].sigmoid()
    hit = (1 - sure).square() * F.logsigmoid(output[:, 0]) * middles
    miss = sure.square() * (1 - heat) ** 4 * F.logsigmoid(-output[:, 0]) * ~middles
    edges = (output[:, 1:] - wanted[:, 1:]).abs().sum(1) * middles
    return (edges - hit - miss).sum() / middles.sum().clamp_min(1)


class Detection(NamedTuple):
    """How well a detector finds: shares of subjects found, and of boxes that are subjects."""

    recall: float
    precision: float
    right_count: float


def detection_quality(found: list[list[Box]], true: list[list[Box]]) -> Detection:
    """Boxes match one to one where they overlap by half or more."""
    hits = sum(_matched(f, t) for f, t in zip(found, true, strict=True))
    return Detection(
        recall=hits / max(1, sum(map(len, true))),
        precision=hits / max(1, sum(map(len, found))),
        right_count=float(np.mean([len(f) == len(t) for f, t in zip(found, true, strict=True)])),
    )


def _matched(found: list[Box], true: list[Box]) -> int:
    left, hits = list(true), 0
    for box in found:
        best = max(left, key=box.overlap, default=None)
        if best is not None and box.overlap(best) >= SAME:
            left.remove(best)
            hits += 1
    return hits


def _targets(masks: Bool[np.ndarray, "s y x"]) -> Float[np.ndarray, "5 gy gx"]:
    """What the network should say: Gaussian hills with a 1 on top, and log distances there."""
    grid = masks.shape[-1] // CELL
    wanted = np.zeros((5, grid, grid), dtype=np.float32)
    rows, columns = np.mgrid[:grid, :grid]
    for box in visible_boxes(masks):
        x, y = (min(int(v / CELL), grid - 1) for v in box.centre)
        hill = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2).astype(np.float32)
        wanted[0] = np.maximum(wanted[0], hill)
        middle = ((x + 0.5) * CELL, (y + 0.5) * CELL)
        edges = (
            middle[0] - box.left,
            middle[1] - box.top,
            box.right - middle[0],
            box.bottom - middle[1],
        )
        wanted[1:, y, x] = np.log(np.maximum(edges, 1) / CELL)
    return wanted


def _boxes(grid: Float[Tensor, "5 gy gx"], config: DetectorConfig) -> list[Box]:
    """Peaks that are sure enough, without those whose box is another's."""
    sure = grid[0].sigmoid()
    peaks = sure == F.max_pool2d(sure[None], 3, stride=1, padding=1)[0]
    places = ((sure > config.threshold) & peaks).nonzero().tolist()
    boxes: list[Box] = []
    for y, x in sorted(places, key=lambda place: -sure[place[0], place[1]].item()):
        left, top, right, bottom = (CELL * grid[1:, y, x].exp()).tolist()
        middle = ((x + 0.5) * CELL, (y + 0.5) * CELL)
        box = Box(middle[0] - left, middle[1] - top, middle[0] + right, middle[1] + bottom)
        if all(box.overlap(other) < SAME for other in boxes):
            boxes.append(box)
    return boxes
