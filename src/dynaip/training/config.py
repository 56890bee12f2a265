"""What a training run is told: one flat, strict dataclass, read from a TOML table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from dynaip.recipes import from_table

# Fields that may differ between a checkpoint and the run that resumes it: they change when a run
# stops, how fast it goes and what it writes, not what it computes at a step. (Once the rate has
# begun to fall, where the run stops does change a step: see `decay_begins`.)
FREE_ON_RESUME = frozenset(
    {
        "steps",
        "cooldown",
        "log_every",
        "diagnose_every",
        "sample_every",
        "checkpoint_minutes",
        "checkpoints_kept",
        "workers",
    }
)
# Numbers by the least that they may be.
LEAST: dict[int, tuple[str, ...]] = {
    1: ("steps", "batch_size", "log_every", "checkpoints_kept"),
    0: (
        "learning_rate",
        "weight_decay",
        "warmup_steps",
        "max_grad_norm",
        "seed",
        "diagnose_every",
        "sample_every",
        "checkpoint_minutes",
        "workers",
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of one stage of training.

    Attributes:
        steps: Optimiser steps of this stage.
        batch_size: Samples a step, summed over all processes.
        optimizer: `"adamw"`, or `"muon"`: Muon for the matrices inside blocks, AdamW for the rest.
        learning_rate: Peak learning rate.
        weight_decay: Decoupled weight decay.
        warmup_steps: Linear warm-up from zero.
        schedule: `"constant"`, or `"cosine"`: to zero at `steps`.
        cooldown: Share of `steps`, at the end, over which a constant rate falls linearly to zero.
            Until it begins a run can be made longer, as one with a cosine cannot.
        max_grad_norm: Gradients are clipped to this global norm, 0 for not at all.
        ema_decay: Decay of the averaged weights, 0 for none. The average is what is exported.
        precision: `"bf16"` runs the forward pass under autocast and iterates Muon in bf16, weights
            stay in fp32; `"no"` is fp32 throughout; `"auto"` is what the run began with, a new one
            with bf16 where the machine is quick in it, else fp32.
        compile: Compile the task's forward pass with `torch.compile`.
        seed: Sample `i` of the run is a function of `(seed, i)`.
        log_every: Steps between rows of `log.jsonl`.
        diagnose_every: Steps between the task's own diagnostics, also made at the end; 0 for none.
        sample_every: Steps between sample pictures, 0 for none.
        checkpoint_minutes: Minutes between checkpoints.
        checkpoints_kept: How many checkpoints stay on disk.
        workers: Processes that prepare samples; 0 prepares them in the training process, as does
            any number on a system that cannot fork (Windows).
    """

    steps: int
    batch_size: int
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup_steps: int = 0
    schedule: str = "constant"
    cooldown: float = 0.0
    max_grad_norm: float = 1.0
    ema_decay: float = 0.0
    precision: str = "auto"
    compile: bool = False
    seed: int = 0
    log_every: int = 20
    diagnose_every: int = 0
    sample_every: int = 0
    checkpoint_minutes: float = 5.0
    checkpoints_kept: int = 2
    workers: int = 1

    def __post_init__(self) -> None:
        for least, names in LEAST.items():
            for name in names:
                if not getattr(self, name) >= least:
                    raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}.")
        for name, allowed in (
            ("optimizer", ("adamw", "muon")),
            ("schedule", ("constant", "cosine")),
            ("precision", ("auto", "bf16", "no")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}."
                )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in [0, 1), got {self.ema_decay}.")
        if not 0 <= self.cooldown <= 1:
            raise ValueError(f"cooldown must lie in [0, 1], got {self.cooldown}.")
        if self.cooldown and self.schedule != "constant":
            raise ValueError("A cosine schedule falls by itself; leave cooldown at 0.")

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], where: str = "the training settings"
    ) -> TrainingConfig:
        """Builds the config from a TOML table.

        Raises:
            ValueError: A key is unknown, a required one is missing, or a value is refused.
        """
        return from_table(cls, values, where)

    @property
    def decay_begins(self) -> float:
        """The step from which the rate depends on `steps`; infinite if it never does."""
        if self.schedule == "cosine":
            return 0
        return self.steps * (1 - self.cooldown) if self.cooldown else math.inf

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of the update that makes step `step + 1` (0-based `step`)."""
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        decay = 1.0
        if self.schedule == "cosine":
            decay = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))
        elif self.cooldown:
            decay = min(1.0, (self.steps - step) / (self.cooldown * self.steps))
        return self.learning_rate * warmup * decay
