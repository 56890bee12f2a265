"""Training a probe: renders of one subject, or of one among several, and their factors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from dynaip.evaluation.crops import box_of, crop
from dynaip.evaluation.factors import UNANSWERABLE, labels
from dynaip.evaluation.fitting import Checkpoint, Fitting, Lesson, Lessons, collect_lessons, fit
from dynaip.evaluation.probe import Probe, ProbeConfig
from dynaip.miniature.toyland import render, sample_spec

TRAINING_STREAM = 1
# Every so many lessons, one is a subject cut out of a picture of two or three.
CROP_EVERY = 4
# A subject of which less is to be seen, as a share of the picture, cannot be asked about.
LEAST_VISIBLE = 0.02


def train_probe(
    config: ProbeConfig,
    fitting: Fitting,
    lessons: Lessons,
    autoencoder: nn.Module | None = None,
    on_step: Callable[[int, float], Any] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Probe:
    """Trains a probe.

    Args:
        config: Its shape.
        fitting: How long and how.
        lessons: What from; see `render_lessons`.
        autoencoder: The base's, so that the probe knows what its round trip looks like.
        on_step: Called with the number of steps done and the loss, in nats per factor.
        checkpoint: See `fit`.
    """
    torch.manual_seed(fitting.seed)
    probe = Probe(config)
    fit(probe, fitting, lessons, factor_loss, autoencoder, on_step, checkpoint)
    return probe


def factor_loss(
    logits: Mapping[str, Float[Tensor, "b _"]], answers: Int[Tensor, "b k"]
) -> Float[Tensor, ""]:
    """Cross-entropy, averaged over the factors and over the pictures that can be answered for."""
    losses = []
    for scores, wanted in zip(logits.values(), answers.T, strict=True):
        summed = F.cross_entropy(scores.float(), wanted, ignore_index=UNANSWERABLE, reduction="sum")
        losses.append(summed / (wanted != UNANSWERABLE).sum().clamp_min(1))
    return torch.stack(losses).mean()


class LabelledRenders(Dataset[Lesson]):
    """Renders of the training split; item `i` is drawn from `(seed, i)`.

    Of every `CROP_EVERY` items the last is a crop; its position in the picture has no answer.
    """

    def __init__(self, seed: int, count: int, size: int, values: Mapping[str, Sequence[str]]):
        self.seed, self.count, self.size, self.values = seed, count, size, values

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Lesson:
        if index >= self.count:
            raise IndexError(index)
        rng = np.random.default_rng([TRAINING_STREAM, self.seed, index])
        if index % CROP_EVERY == CROP_EVERY - 1:
            return self._crop(rng)
        spec = sample_spec(rng)
        answers = labels([spec], self.values)
        return render(spec, self.size).image, np.concatenate(list(answers.values()))

    def _crop(self, rng: np.random.Generator) -> Lesson:
        """A subject that is seen well enough, out of a picture that has one."""
        while True:
            picture = render(sample_spec(rng, subjects=int(rng.integers(2, 4))), self.size)
            actor = int(rng.integers(len(picture.spec.actors)))
            mask = picture.masks[actor]
            box = box_of(mask)
            if box is not None and mask.mean() >= LEAST_VISIBLE:
                break
        answers = labels([picture.spec], self.values, actor)
        if "position" in answers:
            answers["position"][:] = UNANSWERABLE
        return crop(picture.image, box, self.size), np.concatenate(list(answers.values()))


def render_lessons(
    config: ProbeConfig, fitting: Fitting, on_renders: Callable[[int], Any] | None = None
) -> Lessons:
    """Renders what a probe is trained on: concepts of the training split.

    Args:
        config: Picture size, factors and their values.
        fitting: How many, and from which seed.
        on_renders: Called with how many more are done.
    """
    dataset = LabelledRenders(fitting.seed, fitting.renders, config.size, config.values)
    return collect_lessons(dataset, fitting, on_renders)
