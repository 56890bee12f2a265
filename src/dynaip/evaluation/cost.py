"""What a picture costs: seconds and memory, of a call and of a whole command."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dynaip.evaluation.figures import Figure

LOADED_SECONDS, SHELL_SECONDS, PEAK_GIGABYTES = 2.0, 12.0, 2.0

# A process inherits its parent's peak until it starts another program, and keeps that number:
# a command is therefore measured as the child of a process that is itself small.
MEASURE = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
peak *= 1 if sys.platform == "darwin" else 1024
print(json.dumps([done.returncode, seconds, peak, done.stderr[-2000:]]))
"""


class CommandCost(NamedTuple):
    """What a command took.

    Attributes:
        seconds: From its start to its end.
        peak_bytes: Largest resident memory.
    """

    seconds: float
    peak_bytes: int


def measure_command(command: Sequence[str]) -> CommandCost:
    """Runs a command to its end.

    Raises:
        ValueError: It failed; the sentence holds what it wrote to stderr.
    """
    answer = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], stdout=subprocess.PIPE, text=True, check=True
    )
    code, seconds, peak, complaint = json.loads(answer.stdout)
    if code:
        raise ValueError(f"The command to be measured failed ({code}): {complaint.strip()}")
    return CommandCost(seconds, peak)


def median_seconds(call: Callable[[], Any], repeats: int = 3) -> float:
    """Median duration of a call, after one that does not count."""
    call()
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)


def cost_figures(call: Callable[[], Any], command: Sequence[str]) -> list[Figure]:
    """What one picture costs, once loaded and from the shell.

    Args:
        call: Makes one picture with everything loaded.
        command: Makes one picture from nothing.
    """
    loaded = median_seconds(call)
    shell = measure_command(command)
    measured = (
        ("a picture, loaded", loaded, "s", LOADED_SECONDS),
        ("a picture, from shell", shell.seconds, "s", SHELL_SECONDS),
        ("memory, from shell", shell.peak_bytes / 1e9, "GB", PEAK_GIGABYTES),
    )
    return [
        Figure(
            group="cost", name=name, value=value, unit=unit, count=1, target=target, at_most=True
        )
        for name, value, unit, target in measured
    ]
