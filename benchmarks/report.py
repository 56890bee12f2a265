"""From times to a table, with what was aimed at on a GPU beside it."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.contenders import BASE, COMPILED, name_subjects
from benchmarks.timing import Ratio, Times, added_ratio, ratio

# Target and stretch, for the full size on a GPU.
TARGETS = {
    name_subjects(1, 1.0): (1.04, 1.025),
    name_subjects(3, 0.5): (1.03, 1.02),
    name_subjects(8, 1.0): (1.06, 1.04),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """One run.

    Attributes:
        machine: What it ran on, in words.
        base: The base, in words.
        clock: What the times are of.
        kernels: Attention kernels that ran, by contender.
        times: Seconds by contender and round.
        setup: Seconds to read one reference, by part.
        memory: Bytes, by part.
    """

    machine: str
    base: str
    clock: str
    kernels: Mapping[str, Sequence[str]]
    times: Times
    setup: Mapping[str, float]
    memory: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return dataclasses.asdict(self)


def markdown(result: Result) -> str:
    """The tables."""
    rounds = len(next(iter(result.times.values())))
    lines = [
        f"Machine: {result.machine}",
        f"Base: {result.base}",
        f"Rounds: {rounds}, all contenders in each, in changing order; {result.clock}",
        *(f"Attention of {name}: {', '.join(k)}" for name, k in result.kernels.items()),
        "",
        "| one step | median ms | over its base (quartiles) | target / stretch on a GPU |",
        "|---|--:|--:|--:|",
        *(_step_row(name, result.times) for name in result.times),
        "",
        "| comparison | ratio (spread) | target / stretch on a GPU |",
        "|---|--:|--:|",
        *(f"| {name} | {_shown(value)} | {aim} |" for name, value, aim in comparisons(result)),
        "",
        "| one reference | ms |",
        "|---|--:|",
        *(f"| {name} | {seconds * 1e3:.1f} |" for name, seconds in result.setup.items()),
        "",
        "| memory | MB |",
        "|---|--:|",
        *(f"| {name} | {count / 1e6:.1f} |" for name, count in result.memory.items()),
    ]
    return "\n".join(lines) + "\n"


def comparisons(result: Result) -> list[tuple[str, Ratio, str]]:
    """What is compared with something else than the base: name, ratio, aim."""
    times, found = result.times, []
    one = name_subjects(1, 1.0)
    numbers = [n for n in (2, 3, 8) if name_subjects(n, 1.0) in times]
    for n in numbers:
        aim = "1.02" if n == 8 else ""
        found.append((f"N={n} over N=1, full cover", ratio(times, name_subjects(n, 1.0), one), aim))
    for n, aim in ((1, "0.55 / 0.45"), (2, ""), (3, ""), (8, "0.10 / 0.07")):
        other = f"diffusers' processor, equal work, N={n}"
        if other in times:
            added = added_ratio(times, name_subjects(n, 1.0), other, BASE)
            found.append((f"added time, ours over diffusers' at equal work, N={n}", added, aim))
    picture = ratio(times, one, "diffusers' IP-Adapter")
    found.append(("N=1 over diffusers' IP-Adapter, a step", picture, "1.03"))
    return found


def _step_row(name: str, times: Times) -> str:
    plain = name.removeprefix(COMPILED)
    base = COMPILED + BASE if name != plain else BASE
    median = statistics.median(times[name]) * 1e3
    target = " / ".join(f"{aim:g}" for aim in TARGETS.get(plain, ()))
    return f"| {name} | {median:.1f} | {_shown(ratio(times, name, base))} | {target} |"


def _shown(value: Ratio) -> str:
    return f"{value.median:.3f} ({value.low:.3f} to {value.high:.3f})"
