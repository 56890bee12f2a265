"""What a step is trained on: each process's share of its samples, made ahead by workers."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator
from typing import Any

from accelerate import Accelerator
from torch import Tensor
from torch.multiprocessing import get_all_start_methods
from torch.utils.data import DataLoader, Dataset

from dynaip.training.config import TrainingConfig
from dynaip.training.processes import first_said, on_any
from dynaip.training.task import Task

Batch = dict[str, Any]


def batches(
    task: Task, config: TrainingConfig, start: int, accelerator: Accelerator
) -> Iterator[Batch | ValueError | OSError]:
    """This process's share of every step's samples from step `start` on, on its device.

    Yields:
        A batch; or, where a process cannot make its own, on all of them why, and then no more.
    """
    share = config.batch_size // accelerator.num_processes
    offset = share * accelerator.process_index
    rows = [
        list(range(step * config.batch_size + offset, step * config.batch_size + offset + share))
        for step in range(start, config.steps)
    ]
    # A fork shares the models and the cached pictures; a worker begun otherwise would be sent a
    # copy of them, and closures cannot be sent.
    workers = config.workers if "fork" in get_all_start_methods() else 0
    loader = DataLoader(
        _Batches(task, config.seed),
        sampler=rows,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_ignore_stop_signals,
        multiprocessing_context="fork" if workers else None,
    )
    for batch in loader:
        bad = not isinstance(batch, dict)
        if on_any(accelerator, bad):
            reason = first_said(str(batch) if bad else None)
            yield batch if bad else ValueError(reason)
            return
        yield {
            key: value.to(accelerator.device) if isinstance(value, Tensor) else value
            for key, value in batch.items()
        }


class _Batches(Dataset[Any]):
    """A batch by the rows that are in it, or why it cannot be made.

    A worker's exception would reach the loop as its traceback and little else.
    """

    def __init__(self, task: Task, seed: int) -> None:
        self.samples, self.collate = task.dataset(seed), task.collate

    def __getitem__(self, rows: list[int]) -> Batch | ValueError | OSError:
        try:
            return self.collate([self.samples[row] for row in rows])
        except (ValueError, OSError) as error:
            error.add_note(traceback.format_exc())  # which is lost between processes
            return error


def _as_it_is(batch: Any) -> Any:
    return batch


def _ignore_stop_signals(worker: int) -> None:
    """Ctrl-C reaches the whole group of processes; the loop decides when its workers end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
