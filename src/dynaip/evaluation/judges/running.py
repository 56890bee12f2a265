"""Asking: many questions at once, every attempt written down as it comes, nothing asked twice."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from dynaip.evaluation.judges.answers import Reply, expected_score, read_answer
from dynaip.evaluation.judges.endpoint import Ask, RefusedError, TransportError
from dynaip.evaluation.judges.protocols import SQUEEZED, Protocol
from dynaip.evaluation.judges.questions import Judge, Question
from dynaip.evaluation.judges.rubrics import SCALE
from dynaip.evaluation.scores import ScoreRow, append_scores, final_scores, read_scores

LONGEST_WAIT = 60.0
# Questions that may fail for good before any is answered: then it is not the questions.
HOPELESS = 8
# Side of what Qwen3-VL sees as one token. InternVL3 takes as many for 512 pixels, more above.
CELL = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Patience:
    """How a run deals with failures.

    Attributes:
        attempts: Tries of a question that does not get through, in one run.
        answers: Tries of one that is answered without a score. Greedy answers do not change, so
            at temperature 0 it is asked once.
        wait: Sleeps so many seconds; by default less where the run is stopped.
    """

    attempts: int = 6
    answers: int = 2
    wait: Callable[[float], Any] | None = None

    def delay(self, failures: int, retry_after: float | None) -> float:
        """Seconds before the next try: what the server says, or doubling, with some chance."""
        if retry_after is not None:
            return min(retry_after, LONGEST_WAIT)
        return min(LONGEST_WAIT, 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tally:
    """What a run did.

    Attributes:
        asked: Attempts made.
        reused: Questions that had their answer already.
        statuses: How the questions that were asked ended.
        failure: Why the last attempt that did not get through did not; empty where all did.
    """

    asked: int
    reused: int
    statuses: dict[str, int]
    failure: str

    @property
    def unanswered(self) -> bool:
        """Whether questions were asked, and none got through."""
        return set(self.statuses) == {"transport"}


def ask_all(
    questions: Iterable[Question],
    judge: Judge,
    protocol: Protocol,
    ask: Ask,
    path: Path,
    *,
    concurrency: int = 8,
    patience: Patience | None = None,
    on_question: Callable[[], Any] | None = None,
) -> Tally:
    """Asks every question that has no answer yet.

    An answer is there when the file has a success for the same unit and the same key: the same
    judge, protocol and rubric, and the same bytes. After a kill, the same call goes on.

    Args:
        questions: What is asked.
        judge: Who.
        protocol: How.
        ask: Puts one question; called from several threads.
        path: The file of scores, appended to after every attempt.
        concurrency: Questions under way at once.
        patience: With failures.
        on_question: Called after each question, answered or not.

    Raises:
        ValueError: The endpoint cannot be used, answers none of the first questions, or a picture
            cannot be read; what was answered before is kept.
    """
    journal = _Journal(path)
    run = _Run(judge, protocol, ask, journal, patience or Patience())
    executor = concurrent.futures.ThreadPoolExecutor(max_workers=concurrency)
    try:
        futures = [executor.submit(run.settle, question) for question in questions]
        outcomes = collections.Counter[str]()
        for future in concurrent.futures.as_completed(futures):
            outcomes[future.result()] += 1
            if on_question is not None:
                on_question()
    except BaseException:
        run.stopped.set()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
    reused = outcomes.pop(_REUSED, 0)
    return Tally(
        asked=journal.written, reused=reused, statuses=dict(outcomes), failure=journal.failure
    )


_REUSED = "reused"


def _is_answered(known: ScoreRow | None, key: str) -> bool:
    """Whether the row that counts is a success, and of exactly what would be asked."""
    return known is not None and known.status == "ok" and known.key == key


class _Journal:
    """The file of scores, shared by the threads."""

    def __init__(self, path: Path) -> None:
        self.path, self.written = path, 0
        rows = read_scores(path).rows
        self.final = final_scores(rows)
        self.attempts = collections.Counter(row.unit for row in rows)
        self.answered, self.failure = False, ""
        self._given_up = 0
        self._lock = threading.Lock()

    def append(self, row: ScoreRow) -> None:
        with self._lock:
            append_scores(self.path, [row])
            self.attempts[row.unit] += 1
            self.written += 1
            if row.status == "transport":
                self.failure = row.details["error"]
            else:
                self.answered = True

    def give_up(self) -> bool:
        """Counts a question that gets no answer; says whether none of the first ones had one."""
        with self._lock:
            self._given_up += 1
            return self._given_up >= HOPELESS and not self.answered


@dataclasses.dataclass(frozen=True)
class _Run:
    """One call of `ask_all`, as its threads see it."""

    judge: Judge
    protocol: Protocol
    ask: Ask
    journal: _Journal
    patience: Patience
    stopped: threading.Event = dataclasses.field(default_factory=threading.Event)

    def settle(self, question: Question) -> str:
        """Asks until there is a score or patience ends; returns the last status."""
        messages = question.messages(self.protocol)
        key = question.key(self.judge, self.protocol, messages)
        if _is_answered(self.journal.final.get(question.unit(self.judge, self.protocol)), key):
            return _REUSED
        failures = answers = 0
        status = "missing"
        while not self.stopped.is_set():
            row, failure = self._attempt(question, messages, key)
            self.journal.append(row)
            status = row.status
            if failure is not None:
                failures += 1
                if failure.rejected or failures >= self.patience.attempts:
                    if self.journal.give_up():
                        self.stopped.set()
                        raise ValueError(_why_hopeless(failure))
                    break
                wait = self.patience.wait or self.stopped.wait
                wait(self.patience.delay(failures, failure.retry_after))
                continue
            answers += 1
            if status == "ok" or not self.protocol.temperature or answers >= self.patience.answers:
                break
        return status

    def _attempt(
        self, question: Question, messages: Sequence[Any], key: str
    ) -> tuple[ScoreRow, TransportError | None]:
        attempt = self.journal.attempts[question.unit(self.judge, self.protocol)]
        seed = 1000 * question.repeat + attempt
        began = time.monotonic()
        failure, details, score = None, {}, None
        try:
            reply = self.ask(
                messages,
                temperature=self.protocol.temperature,
                max_tokens=self.protocol.max_tokens,
                seed=seed,
                candidates=self.protocol.expected,
            )
        except TransportError as error:
            status, details, failure = "transport", {"error": str(error)}, error
        except RefusedError as error:
            status, details = "refused", {"error": str(error)}
        else:
            status, score, details = self._read(reply)
        details |= {"seed": seed, "seconds": round(time.monotonic() - began, 3)}
        row = question.row(
            self.judge, self.protocol, status, score, attempt=attempt, key=key, **details
        )
        return row, failure

    def _read(self, reply: Reply) -> tuple[Any, float | None, dict[str, Any]]:
        status, score = read_answer(reply, SCALE, self.protocol.reading)
        details: dict[str, Any] = {
            "answer": reply.text,
            "finish": reply.finish,
            "prompt_tokens": reply.prompt_tokens,
            "answer_tokens": reply.answer_tokens,
        }
        if self.protocol.expected and score is not None:
            details["said"] = score
            score = expected_score(reply, SCALE, self.protocol.reading)
            if score is None:
                return "parse_error", None, details
        return status, score, details


def _why_hopeless(failure: TransportError) -> str:
    if failure.rejected:
        return (
            f"The endpoint rejects every question ({failure}); check the model's name, the kind of "
            "server (--server), and how many pictures it takes at once."
        )
    return (
        f"The endpoint answers no question ({failure}); check that it runs, its address, and "
        "whether --timeout is long enough."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """What asking would take: arithmetic, not measurement.

    Attributes:
        calls: Questions without an answer to exactly what would be sent.
        prompt_tokens: Of text, a token for four letters, and of pictures.
        answer_tokens: If every answer were as long as it may be.
        seconds: At so many seconds a call, so many at once.
    """

    calls: int
    prompt_tokens: int
    answer_tokens: int
    seconds: float

    def __add__(self, other: Estimate) -> Estimate:
        """Both, one after the other."""
        mine, theirs = vars(self), vars(other)
        return Estimate(**{name: mine[name] + theirs[name] for name in mine})


def estimate(
    questions: Iterable[Question],
    judge: Judge,
    protocol: Protocol,
    path: Path,
    *,
    concurrency: int = 8,
    seconds_per_call: float = 2.0,
) -> Estimate:
    """Counts what `ask_all` would ask; nothing is sent.

    Raises:
        ValueError: A picture that was judged before cannot be read any more.
    """
    final = final_scores(read_scores(path).rows)

    def is_asked(question: Question) -> bool:
        known = final.get(question.unit(judge, protocol))
        if known is None or known.status != "ok":
            return True  # without the pictures having to be encoded
        key = question.key(judge, protocol, question.messages(protocol))
        return not _is_answered(known, key)

    asked = [question for question in questions if is_asked(question)]
    letters = sum(
        len(question.text) + len(question.closing) + len(question.rubric.assistant)
        for question in asked
    )
    pictures = sum(
        _visual_tokens(picture, protocol) for question in asked for picture in question.pictures
    )
    return Estimate(
        calls=len(asked),
        prompt_tokens=letters // 4 + pictures,
        answer_tokens=protocol.max_tokens * len(asked),
        seconds=math.ceil(len(asked) / concurrency) * seconds_per_call,
    )


def _visual_tokens(picture: Path | Image.Image, protocol: Protocol) -> int:
    """As Qwen3-VL counts; of a file only the header is read."""
    if protocol.encoding == "jpeg-512":
        size = SQUEEZED
    elif isinstance(picture, Image.Image):
        size = picture.size
    else:
        with Image.open(picture) as file:
            size = file.size
    return math.prod(math.ceil(side / CELL) for side in size)
