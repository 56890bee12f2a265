"""Training a probe: renders of one subject, spoilt as generated pictures are, and their specs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
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
        renders: Pictures rendered, each seen once.
        batch_size: Pictures a step.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: AdamW's.
        seed: Of weights, renders and corruptions; another seed makes another, comparable probe.
        workers: Processes that render; 0 renders between steps.
        corruption: What happens to the renders.
    """

    renders: int = 80_000
    batch_size: int = 128
    learning_rate: float = 3e-3
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
        return self.renders // self.batch_size


def train_probe(
    config: ProbeConfig,
    training: ProbeTraining,
    autoencoder: nn.Module | None = None,
    on_step: Callable[[int, float], Any] | None = None,
) -> Probe:
    """Trains a probe on concepts of the training split.

    Args:
        config: Its shape.
        training: How long and on what.
        autoencoder: The base's, so that the probe knows what its round trip looks like.
        on_step: Called with the number of steps done and the loss, in nats per factor.
    """
    torch.manual_seed(training.seed)
    probe = Probe(config).train()
    optimizer = torch.optim.AdamW(
        probe.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=training.steps, pct_start=0.2
    )
    generator = torch.Generator().manual_seed(training.seed)
    for step, (pictures, answers) in enumerate(_batches(config, training), 1):
        spoilt = corrupt(as_tensor(pictures), training.corruption, generator, autoencoder)
        with torch.autocast("cpu", torch.bfloat16):
            logits = probe(spoilt.contiguous(memory_format=torch.channels_last))
        loss = factor_loss(logits, torch.from_numpy(answers))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(probe.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step, loss.item())
    return probe.eval()


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


def _batches(
    config: ProbeConfig, training: ProbeTraining
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    count = training.steps * training.batch_size
    return iter(
        DataLoader(
            LabelledRenders(training.seed, count, config.size, config.values),
            batch_size=training.batch_size,
            num_workers=training.workers,
            prefetch_factor=4 if training.workers else None,
            collate_fn=_stack,
        )
    )


def _stack(items: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    pictures, answers = zip(*items, strict=True)
    return np.stack(pictures), np.stack(answers)
