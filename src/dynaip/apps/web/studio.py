"""One model and one worker: jobs wait in a bounded queue and are made one at a time."""

from __future__ import annotations

import collections
import dataclasses
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from dynaip.apps.web.drawing import Made, Pencil, Stopped
from dynaip.apps.web.takes import Take

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

WAITING = 16
KEPT = 60
PATIENCE = 60.0  # seconds that a job goes on while nobody asks for it


class QueueFullError(RuntimeError):
    """As many jobs as may wait are waiting."""


@dataclasses.dataclass(eq=False)
class Job:
    """Pictures that were asked for, and how far they are.

    Attributes:
        key: Its name, not to be guessed.
        takes: What is to be made, in this order.
        state: "waiting", "drawing", "done", "cancelled" or "failed".
        steps: Denoising steps done, of all its pictures.
        made: Pictures that are finished.
        preview: What the picture at work will look like, as far as can be told.
        error: Why it failed, in a sentence.
        cancelled: Set when it is to stop.
        finished: Set when nothing more happens to it.
        seen: When somebody last asked for it.
    """

    takes: tuple[Take, ...]
    key: str = dataclasses.field(default_factory=lambda: secrets.token_urlsafe(16))
    state: str = "waiting"
    steps: int = 0
    made: list[Made] = dataclasses.field(default_factory=list)
    preview: Image.Image | None = None
    error: str | None = None
    cancelled: threading.Event = dataclasses.field(default_factory=threading.Event)
    finished: threading.Event = dataclasses.field(default_factory=threading.Event)
    seen: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def total(self) -> int:
        """Denoising steps of all its pictures."""
        return sum(take.order.steps for take in self.takes)


class Studio:
    """Takes jobs from any thread and makes them in its own.

    Args:
        pencil: What draws; from now on it is used by the studio's worker alone.
        waiting: Jobs that may wait, besides the one at work.
        patience: Seconds after which a job is dropped that nobody asks for.
        kept: Finished pictures that are kept for who asks for them.
    """

    def __init__(
        self,
        pencil: Pencil,
        waiting: int = WAITING,
        patience: float = PATIENCE,
        kept: int = KEPT,
    ) -> None:
        self.pencil, self.patience, self.kept = pencil, patience, kept
        self._queue: queue.Queue[Job | None] = queue.Queue(waiting)
        self._jobs: collections.OrderedDict[str, Job] = collections.OrderedDict()
        self._lock = threading.Lock()
        self._model = threading.Lock()
        self._closing = False
        self._worker = threading.Thread(target=self._work, name="studio", daemon=True)
        self._worker.start()

    def submit(self, takes: tuple[Take, ...]) -> Job:
        """Queues a job.

        Raises:
            QueueFullError: Too many wait already.
        """
        job = Job(takes)
        with self._lock:
            try:
                self._queue.put_nowait(job)
            except queue.Full:
                raise QueueFullError(
                    "Too many pictures are waiting already; try again in a few seconds."
                ) from None
            self._jobs[job.key] = job
            self._forget()
        return job

    def find(self, key: str) -> Job | None:
        """A job by its key, which counts as asking for it."""
        with self._lock:
            job = self._jobs.get(key)
        if job is not None:
            job.seen = time.monotonic()
        return job

    def find_picture(self, key: str) -> Made | None:
        """A finished picture by its key."""
        with self._lock:
            jobs = list(self._jobs.values())
        return next((made for job in jobs for made in job.made if made.key == key), None)

    def ahead(self, job: Job) -> int:
        """How many jobs come before this one."""
        with self._lock:
            keys = [key for key, other in self._jobs.items() if not other.finished.is_set()]
        return keys.index(job.key) if job.key in keys else 0

    def borrow(self, use: Callable[[Pencil], Any]) -> Any:
        """Uses the model between two jobs, for what takes no longer than a step or two."""
        with self._model:
            return use(self.pencil)

    def close(self) -> None:
        """Stops the job at work and those that wait, and ends the worker."""
        self._closing = True
        with self._lock:
            for job in self._jobs.values():
                job.cancelled.set()
        self._queue.put(None)
        self._worker.join()
        self.pencil.personal.detach()

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            with self._model:
                self._make(job)
            job.preview = None
            job.finished.set()

    def _make(self, job: Job) -> None:
        try:
            for take in job.takes:
                self._check(job)
                job.state = "drawing"
                job.made.append(self.pencil.draw(take, lambda preview: self._step(job, preview)))
            job.state = "done"
        except Stopped:
            job.state = "cancelled"
        except (ValueError, OSError) as error:
            job.state, job.error = "failed", " ".join(str(error).split())
        except torch.OutOfMemoryError:
            job.state, job.error = "failed", "The memory is full; ask for a smaller picture."
        except RuntimeError:  # what torch raises; the next job may go well
            log.exception("A picture could not be made.")
            job.state, job.error = "failed", "The model failed; the server's log says why."

    def _step(self, job: Job, preview: Image.Image | None) -> None:
        job.steps += 1
        job.preview = preview or job.preview
        self._check(job)

    def _check(self, job: Job) -> None:
        if self._closing or job.cancelled.is_set():
            raise Stopped
        if time.monotonic() - job.seen > self.patience:
            raise Stopped

    def _forget(self) -> None:
        """Drops the oldest finished jobs, so that memory stays flat; the lock is held."""
        done = [job for job in self._jobs.values() if job.finished.is_set()]
        kept = sum(max(len(job.made), 1) for job in done)
        for job in done:
            if kept <= self.kept:
                break
            kept -= max(len(job.made), 1)
            del self._jobs[job.key]
