"""Fitting an instrument's network: renders, spoilt as generated pictures are, and what is true."""

from __future__ import annotations

import dataclasses
import os
import pickle
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Dataset

from dynaip.evaluation.corruptions import Corruption, corrupt
from dynaip.evaluation.probe import as_tensor
from dynaip.numerics import build_muon, quick_in_bf16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitting:
    """How a network is fitted.

    Attributes:
        renders: Pictures rendered.
        epochs: Times each is seen, every time spoilt in another way.
        batch_size: Pictures a step.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: Decoupled weight decay.
        seed: Of weights, renders and corruptions; another seed makes another, comparable network.
        workers: Processes that render; 0 renders in this one.
        compile: Compile the network, and leave it so.
        corruption: What happens to the renders.
    """

    renders: int = 40_000
    epochs: int = 5
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    seed: int = 0
    workers: int = 1
    compile: bool = False
    corruption: Corruption = dataclasses.field(default_factory=Corruption)

    def __post_init__(self) -> None:
        """Refuses runs without steps.

        Raises:
            ValueError: There are too few renders.
        """
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
    """Pictures, 0 to 255, and what is true of each."""

    pictures: UInt8[np.ndarray, "b y x 3"]
    answers: Shaped[np.ndarray, "b ..."]


Lesson = tuple[UInt8[np.ndarray, "y x 3"], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where a fit keeps its state, so that one that was stopped goes on exactly.

    Attributes:
        path: The file.
        seconds: Between writes.
    """

    path: Path
    seconds: float = 120.0


def fit(
    network: nn.Module,
    fitting: Fitting,
    lessons: Lessons,
    loss_of: Callable[[Any, Tensor], Float[Tensor, ""]],
    autoencoder: nn.Module | None = None,
    on_step: Callable[[int, float], Any] | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Fits a network in place and leaves it in evaluation mode.

    Args:
        network: Its weights are the start, unless a checkpoint is there.
        fitting: How long and how.
        lessons: What from.
        loss_of: Of the network's output and the lessons' answers.
        autoencoder: The base's, so that the network knows what its round trip looks like.
        on_step: Called with the number of steps done and the loss.
        checkpoint: Where to go on from, and where to keep the state; removed at the end.

    Raises:
        ValueError: The checkpoint is of another run.
    """
    quick = quick_in_bf16(torch.device("cpu"))
    optimizers = _optimizers(network, fitting, bf16=quick)
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            fitting.learning_rate,
            total_steps=fitting.steps,
            pct_start=0.15,
            cycle_momentum=False,  # Muon's is no beta
        )
        for optimizer in optimizers
    ]
    generator = torch.Generator().manual_seed(fitting.seed)
    parts: dict[str, Any] = {"network": network}
    parts |= {f"optimizer-{index}": each for index, each in enumerate(optimizers)}
    parts |= {f"schedule-{index}": each for index, each in enumerate(schedules)}
    done, about = 0, _identity(fitting, lessons, autoencoder, bf16=quick)
    if checkpoint is not None and checkpoint.path.is_file():
        done = _resume(checkpoint.path, about, parts, generator)
    if fitting.compile:
        network.compile()
    network.train()
    written = time.monotonic()
    for step, batch in enumerate(islice(_batches(lessons, fitting), done, None), done + 1):
        # On a CPU the fused attention's backward pass is slow on short sequences.
        with torch.autocast("cpu", torch.bfloat16, quick), sdpa_kernel(SDPBackend.MATH):
            pictures = as_tensor(batch.pictures)
            spoilt = corrupt(pictures, fitting.corruption, generator, autoencoder)
            output = network(spoilt.contiguous(memory_format=torch.channels_last))
        loss = loss_of(output, torch.from_numpy(batch.answers))
        network.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        if checkpoint is not None and time.monotonic() - written >= checkpoint.seconds:
            _write(checkpoint.path, step, about, parts, generator)
            written = time.monotonic()
        if on_step is not None:
            on_step(step, loss.item())
    if checkpoint is not None:
        checkpoint.path.unlink(missing_ok=True)
    network.eval()


def _optimizers(network: nn.Module, fitting: Fitting, *, bf16: bool) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of attention layers, where there are any; AdamW for the rest.

    As in training: docs/log.md has what it gains.
    """
    matrices = {n: p for n, p in network.named_parameters() if ".layers." in n and p.ndim == 2}
    others = [p for name, p in network.named_parameters() if name not in matrices]
    rate, decay = fitting.learning_rate, fitting.weight_decay
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=rate, weight_decay=decay)
    ]
    if matrices:
        optimizers.append(build_muon(matrices.values(), rate, decay, bf16=bf16))
    return optimizers


def collect_lessons(
    dataset: Dataset[Lesson], fitting: Fitting, on_renders: Callable[[int], Any] | None = None
) -> Lessons:
    """Renders all lessons of a dataset.

    Args:
        dataset: Its items are a picture and what is true of it.
        fitting: Says how many processes render.
        on_renders: Called with how many more are done.
    """
    loader = DataLoader(dataset, batch_size=64, num_workers=fitting.workers, collate_fn=_stack)
    parts = []
    for part in loader:
        parts.append(part)
        if on_renders is not None:
            on_renders(len(part.pictures))
    return Lessons(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _batches(lessons: Lessons, fitting: Fitting) -> Iterator[Lessons]:
    rng = np.random.default_rng(fitting.seed)
    for _ in range(fitting.epochs):
        order = rng.permutation(len(lessons.pictures))
        for start in range(0, len(order) - fitting.batch_size + 1, fitting.batch_size):
            chosen = order[start : start + fitting.batch_size]
            yield Lessons(lessons.pictures[chosen], lessons.answers[chosen])


def _identity(
    fitting: Fitting, lessons: Lessons, autoencoder: nn.Module | None, *, bf16: bool
) -> dict[str, Any]:
    """What a resumed run must share; processes that render may change."""
    weights = {} if autoencoder is None else autoencoder.state_dict()
    return {
        **dataclasses.asdict(fitting),
        "workers": 0,
        "bf16": bf16,
        "pictures": list(lessons.pictures.shape),
        "autoencoder": {name: float(value.double().sum()) for name, value in weights.items()},
    }


def _write(
    path: Path,
    step: int,
    about: dict[str, Any],
    parts: dict[str, Any],
    generator: torch.Generator,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    state = {name: part.state_dict() for name, part in parts.items()}
    torch.save({"step": step, "fitting": about, "chance": generator.get_state(), **state}, partial)
    os.replace(partial, path)


def _resume(
    path: Path, about: dict[str, Any], parts: dict[str, Any], generator: torch.Generator
) -> int:
    try:
        state = torch.load(path, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is broken; remove it to start over.") from error
    if state["fitting"] != about:
        raise ValueError(
            f"{path} is of a run with other settings, pictures or autoencoder, or in the precision "
            "of another machine; give those, another --out, or remove it."
        )
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except RuntimeError as error:
        raise ValueError(f"{path} is of another network; remove it, or give that one.") from error
    generator.set_state(state["chance"])
    return state["step"]


def _stack(items: list[Lesson]) -> Lessons:
    return Lessons(*(np.stack(arrays) for arrays in zip(*items, strict=True)))
