"""Times that can be compared: all contenders in one run, one step each in turn, many rounds."""

from __future__ import annotations

import contextlib
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from benchmarks.contenders import Contender

Times = dict[str, list[float]]


class Ratio(NamedTuple):
    """One contender's time over another's, round by round.

    Attributes:
        median: Of the rounds' ratios.
        low: Their lower quartile.
        high: Their upper quartile.
    """

    median: float
    low: float
    high: float


def interleave(
    contenders: Sequence[Contender],
    rounds: int,
    wait: Callable[[], None],
    tick: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Times:
    """Seconds of every contender in every round; the order changes from round to round.

    Args:
        contenders: Each has been run before, so that nothing is made for the first time.
        rounds: How often.
        wait: Waits for the device.
        tick: Called after each measured step.
        clock: Seconds; a processor's own leave out what other programs take from it.
    """
    times: Times = {contender.name: [] for contender in contenders}
    order, shuffle = list(contenders), random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for contender in order:
            with ready(contender):
                wait()
                start = clock()
                contender.step()
                wait()
                times[contender.name].append(clock() - start)
            tick()
    return times


@contextlib.contextmanager
def ready(contender: Contender) -> Iterator[None]:
    """Attached, and with compiled blocks or without, as the contender wants it."""
    stance: Any = "default" if contender.compiled else "force_eager"
    with torch.compiler.set_stance(stance), contender.attached():
        yield


def ratio(times: Mapping[str, Sequence[float]], name: str, base: str) -> Ratio:
    """A contender against another, by rounds: what slows a whole round falls out."""
    return _spread([a / b for a, b in zip(times[name], times[base], strict=True)])


def added_ratio(times: Mapping[str, Sequence[float]], name: str, other: str, base: str) -> Ratio:
    """What a contender adds to the base, over what another adds; medians of each first.

    Differences of single rounds are too small to be divided by one another.
    """
    rounds = len(times[base])
    halves = [times_of(times, part) for part in (range(0, rounds, 2), range(1, rounds, 2))]
    parts = [_added(half, name, base) / _added(half, other, base) for half in halves if half[base]]
    whole = _added(times, name, base) / _added(times, other, base)
    return Ratio(whole, min(whole, *parts), max(whole, *parts))


def times_of(times: Mapping[str, Sequence[float]], rounds: Sequence[int]) -> Times:
    """Some of the rounds."""
    return {name: [seconds[i] for i in rounds] for name, seconds in times.items()}


def _added(times: Mapping[str, Sequence[float]], name: str, base: str) -> float:
    return statistics.median(a - b for a, b in zip(times[name], times[base], strict=True))


def _spread(values: Sequence[float]) -> Ratio:
    if len(values) < 2:
        return Ratio(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Ratio(median, low, high)
