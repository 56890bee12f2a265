"""One model and one worker: jobs wait in a bounded queue and are made one at a time."""

from __future__ import annotations

import collections
import dataclasses
import logging
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from dynaip.apps.cli.errors import MEMORY_FULL, is_memory_full
from dynaip.apps.web.drawing import Made, Pencil, Stopped
from dynaip.apps.web.takes import Take

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

WAITING = 16
KEPT = 60
KEPT_BYTES = 512 * 2**20
PATIENCE = 60.0  # seconds that a job goes on while nobody asks for it


class QueueFullError(RuntimeError):
    """As many jobs as may wait are waiting."""


@dataclasses.dataclass(eq=False)
class Job:
    """Pictures that were asked for, and how far they are.

    Attributes:
        key: Its name, not to be guessed.
        takes: What is to be made, in this order.
        state: "waiting", "drawing", "done", "cancelled", "refused" (it cannot be made as asked) or
            "failed".
        steps: Denoising steps done, of all its pictures.
        made: Pictures that are finished.
        preview: What the picture at work will look like, as far as can be told.
        error: Why it was refused or failed, in a sentence.
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

    @property
    def size(self) -> int:
        """Bytes of its pictures and of the references' files."""
        files = {id(cast.file): cast.file for take in self.takes for cast in take.order.cast}
        return sum(map(len, files.values())) + sum(len(made.png) for made in self.made)

    def finish(self, state: str, error: str | None = None) -> None:
        """Says how it ended."""
        self.state, self.error, self.preview = state, error, None
        self.finished.set()


class Studio:
    """Takes jobs from any thread and makes them in its own.

    Args:
        pencil: What draws; from now on its model is used by the studio's threads alone.
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
        self.pencil, self.waiting, self.patience, self.kept = pencil, waiting, patience, kept
        self._jobs: collections.OrderedDict[str, Job] = collections.OrderedDict()
        self._line: collections.deque[Job] = collections.deque()
        self._at_work: Job | None = None
        self._stopped = False
        self._lock = threading.RLock()  # of the four above
        self._worker = ThreadPoolExecutor(1, "studio")
        # Who holds this uses the model. The worker gives it up between two steps, when asked.
        self._model = threading.Condition()
        self._asked = False
        self._glances = ThreadPoolExecutor(1, "glances")
        self._room = threading.BoundedSemaphore(waiting)

    def submit(self, takes: tuple[Take, ...]) -> Job:
        """Queues a job.

        Raises:
            QueueFullError: Too many wait already.
        """
        job = Job(takes)
        with self._lock:
            for other in filter(self._is_forsaken, tuple(self._line)):
                self.cancel(other)
            if len(self._line) >= self.waiting:
                raise QueueFullError(
                    "Too many pictures are waiting already; try again in a few seconds."
                )
            self._jobs[job.key] = job
            if self._stopped:
                job.finish("cancelled")
                return job
            self._line.append(job)
            self._forget()
            self._start_next()
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
            return self._line.index(job) + 1 if job in self._line else 0

    def cancel(self, job: Job) -> None:
        """Stops a job: one that waits at once, the one at work after its step."""
        job.cancelled.set()
        with self._lock:
            if job in self._line:
                self._line.remove(job)
                job.finish("cancelled")

    def drop(self, job: Job) -> None:
        """Forgets a job and its pictures; stops it where it is not finished."""
        self.cancel(job)
        with self._lock:
            self._jobs.pop(job.key, None)

    def glance(self, look: Callable[[Pencil], Answer]) -> Future[Answer]:
        """Uses the model between two steps of the job at work, so not what makes pictures.

        Raises:
            QueueFullError: Too many want to already.
        """
        return self._ask(self._glances, self._glance, look)

    def borrow(self, use: Callable[[Pencil], Answer]) -> Future[Answer]:
        """Uses the model after the job at work.

        Raises:
            QueueFullError: Too many want to already.
        """
        return self._ask(self._worker, self._use, use)

    def stop(self) -> None:
        """Stops the job at work and those that wait; what still comes is cancelled at once."""
        with self._lock:
            self._stopped = True
            for job in self._jobs.values():
                self.cancel(job)

    def close(self) -> None:
        """Stops, and ends the threads."""
        self.stop()
        self._glances.shutdown(cancel_futures=True)
        self._worker.shutdown(cancel_futures=True)
        self.pencil.personal.detach()

    def _start_next(self) -> None:
        """Lets the worker make the first of the line, where it has none; the lock is held."""
        if self._at_work is None and self._line:
            self._at_work = self._line.popleft()
            self._worker.submit(self._make, self._at_work).add_done_callback(self._finish)

    def _finish(self, work: Future[None]) -> None:
        with self._lock:
            job, self._at_work = self._at_work, None
            assert job is not None
            job.finish(*_outcome(work))
            self._start_next()

    def _ask(
        self,
        thread: ThreadPoolExecutor,
        way: Callable[[Callable[[Pencil], Answer]], Answer],
        use: Callable[[Pencil], Answer],
    ) -> Future[Answer]:
        if not self._room.acquire(blocking=False):
            raise QueueFullError("Too many ask for the model already; try again in a few seconds.")
        answer = thread.submit(way, use)
        answer.add_done_callback(lambda _: self._room.release())
        return answer

    def _glance(self, look: Callable[[Pencil], Answer]) -> Answer:
        self._asked = True
        with self._model:
            try:
                return look(self.pencil)
            finally:
                self._asked = False
                self._model.notify()

    def _use(self, use: Callable[[Pencil], Answer]) -> Answer:
        with self._model:
            return use(self.pencil)

    def _make(self, job: Job) -> None:
        job.state = "drawing"
        with self._model:
            for take in job.takes:
                self._check(job)
                job.made.append(self.pencil.draw(take, lambda preview: self._step(job, preview)))

    def _step(self, job: Job, preview: Image.Image | None) -> None:
        job.steps += 1
        job.preview = preview or job.preview
        self._check(job)
        while self._asked:
            self._model.wait()

    def _check(self, job: Job) -> None:
        if job.cancelled.is_set() or self._is_forsaken(job):
            raise Stopped

    def _is_forsaken(self, job: Job) -> bool:
        return time.monotonic() - job.seen > self.patience

    def _forget(self) -> None:
        """Drops the oldest finished jobs, so that memory stays flat; the lock is held."""
        done = [job for job in self._jobs.values() if job.finished.is_set()]
        count = sum(max(len(job.made), 1) for job in done)
        size = sum(job.size for job in done)
        for job in done:
            if count <= self.kept and size <= KEPT_BYTES:
                break
            count, size = count - max(len(job.made), 1), size - job.size
            del self._jobs[job.key]


def _outcome(work: Future[None]) -> tuple[str, str | None]:
    """How a job ended, and a sentence where it did not end well."""
    error = None if work.cancelled() else work.exception()
    if work.cancelled() or isinstance(error, Stopped):
        return "cancelled", None
    if error is None:
        return "done", None
    if isinstance(error, ValueError):
        return "refused", " ".join(str(error).split())
    if is_memory_full(error):
        return "failed", MEMORY_FULL
    log.error("A picture could not be made.", exc_info=error)
    return "failed", "The model failed; the server's log says why."
