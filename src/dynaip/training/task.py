"""What the loop trains: a task is a module whose forward is the loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor
from torch.utils.data import Dataset


@runtime_checkable
class Task(Protocol):
    """A module that turns a batch into a loss; its parameters with gradients are what is trained.

    Everything random about sample `i` is drawn when the dataset makes it, from `(seed, i)`. The
    forward pass draws nothing, so a run can be cut anywhere, and spread over any number of
    processes, without changing what it computes.
    """

    def dataset(self, seed: int) -> Dataset[dict[str, Any]]:
        """Map-style, without end: item `i` is the dictionary that makes row `i` of the run."""
        ...

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Stacks samples into the batch that `forward` takes."""
        ...

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Returns `loss` (scalar, with gradient) and any further scalars to log."""
        ...

    def diagnose(self, batch: dict[str, Any]) -> dict[str, float]:
        """Dearer numbers to log now and then, without gradients; may be empty."""
        ...

    def sample(self, path: Path) -> None:
        """Writes pictures that show how far training has come (may do nothing)."""
        ...

    def export(self, folder: Path) -> None:
        """Writes the trained modules the way inference loads them."""
        ...
