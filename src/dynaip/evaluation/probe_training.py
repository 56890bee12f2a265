"""Training a probe: renders of one subject, spoilt as generated pictures are, and their specs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from dynaip.evaluation.corruptions import Corruption, corrupt
from dynaip.evaluation.factors import UNANSWERABLE, labels
from dynaip.evaluation.probe import Probe, ProbeConfig, as_tensor
from dynaip.miniature.toyland import render, sample_spec

TRAINING_STREAM = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeTraining:
    """How a probe is trained.

    Attributes:
        renders: Pictures rendered.
        epochs: Times each is seen, every time spoilt in another way.
        batch_size: Pictures a step; small, since steps are what is short.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: AdamW's.
        seed: Of weights, renders and corruptions; another seed makes another, comparable probe.
        workers: Processes that render; 0 renders in this one.
        corruption: What happens to the renders.
    """

    renders: int = 40_000
    epochs: int = 4
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    seed: int = 0
    workers: int = 1
    corruption: Corruption = dataclasses.field(default_factory=Corruption)

    def __post_init__(self) -> None:
        if self.renders < 2 * self.batch_size:
            raise ValueError(
                f"{self.renders} renders make fewer than two steps of {self.batch_size} pictures; "
                f"ask for {2 * self.batch_size} or more."
            )

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return self.epochs * (self.renders // self.batch_size)


class Lessons(NamedTuple):
    """Pictures, 0 to 255, and the index of the true value of each factor."""

    pictures: UInt8[np.ndarray, "b y x 3"]
    answers: Int[np.ndarray, "b k"]


def train_probe(
    config: ProbeConfig,
    training: ProbeTraining,
    lessons: Lessons,
    autoencoder: nn.Module | None = None,
    on_step: Callable[[int, float], Any] | None = None,
) -> Probe:
    """Trains a probe.

    Args:
        config: Its shape.
        training: How long and how.
        lessons: What from; see `render_lessons`.
        autoencoder: The base's, so that the probe knows what its round trip looks like.
        on_step: Called with the number of steps done and the loss, in nats per factor.
    """
    torch.manual_seed(training.seed)
    probe = Probe(config).train()
    optimizer = torch.optim.AdamW(
        probe.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=training.steps, pct_start=0.15
    )
    generator = torch.Generator().manual_seed(training.seed)
    for step, batch in enumerate(_batches(lessons, training), 1):
        with torch.autocast("cpu", torch.bfloat16):
            pictures = as_tensor(batch.pictures)
            spoilt = corrupt(pictures, training.corruption, generator, autoencoder)
            logits = probe(spoilt.contiguous(memory_format=torch.channels_last))
        loss = factor_loss(logits, torch.from_numpy(batch.answers))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(probe.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step, loss.item())
    return probe.eval()


def _batches(lessons: Lessons, training: ProbeTraining) -> Iterator[Lessons]:
    rng = np.random.default_rng(training.seed)
    for _ in range(training.epochs):
        order = rng.permutation(len(lessons.pictures))
        for start in range(0, len(order) - training.batch_size + 1, training.batch_size):
            chosen = order[start : start + training.batch_size]
            yield Lessons(lessons.pictures[chosen], lessons.answers[chosen])


def factor_loss(
    logits: Mapping[str, Float[Tensor, "b _"]], answers: Int[Tensor, "b k"]
) -> Float[Tensor, ""]:
    """Cross-entropy, averaged over the factors and over the pictures that can be answered for."""
    losses = []
    for scores, wanted in zip(logits.values(), answers.T, strict=True):
        summed = F.cross_entropy(scores.float(), wanted, ignore_index=UNANSWERABLE, reduction="sum")
        losses.append(summed / (wanted != UNANSWERABLE).sum().clamp_min(1))
    return torch.stack(losses).mean()


class LabelledRenders(Dataset[tuple[np.ndarray, np.ndarray]]):
    """Renders of one subject of the training split; item `i` is drawn from `(seed, i)`."""

    def __init__(self, seed: int, count: int, size: int, values: Mapping[str, Sequence[str]]):
        self.seed, self.count, self.size, self.values = seed, count, size, values

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index >= self.count:
            raise IndexError(index)
        spec = sample_spec(np.random.default_rng([TRAINING_STREAM, self.seed, index]))
        answers = labels([spec], self.values)
        return render(spec, self.size).image, np.concatenate(list(answers.values()))


def render_lessons(
    config: ProbeConfig, training: ProbeTraining, on_renders: Callable[[int], Any] | None = None
) -> Lessons:
    """Renders what a probe is trained on: concepts of the training split.

    Args:
        config: Picture size, factors and their values.
        training: How many, and from which seed.
        on_renders: Called with how many more are done.
    """
    loader = DataLoader(
        LabelledRenders(training.seed, training.renders, config.size, config.values),
        batch_size=64,
        num_workers=training.workers,
        collate_fn=_stack,
    )
    parts = []
    for part in loader:
        parts.append(part)
        if on_renders is not None:
            on_renders(len(part.pictures))
    return Lessons(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _stack(items: list[tuple[np.ndarray, np.ndarray]]) -> Lessons:
    return Lessons(*(np.stack(arrays) for arrays in zip(*items, strict=True)))
