"""A figure: one measured number with its yardstick, its interval and the target it is held to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped

from dynaip.evaluation.factors import asked, blind_guess
from dynaip.evaluation.statistics import cluster_bootstrap_ratio
from dynaip.evaluation.tables import jsonable

# A factor that the probe itself reads less reliably than this cannot be measured with it.
MEASURABLE = 0.9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """One row of the report.

    Attributes:
        group: What was measured: the system and its task.
        name: Of the factor or quantity.
        value: The figure. For factors it is accuracy over yardstick.
        low, high: Ends of the 95 % interval of `value`; `None` where there is none.
        unit: Of `value`; empty for ratios.
        count: Pictures that it rests on.
        accuracy: Share of pictures in which the probe reads the wanted value.
        yardstick: The accuracy that `accuracy` is measured by.
        chance: Accuracy of a blind guess.
        target: What the figure should reach, or stay below where `at_most`.
        at_most: Whether small is good.
        measurable: Whether the probe reads real renders well enough to measure this with it.
    """

    group: str
    name: str
    value: float
    count: int
    low: float | None = None
    high: float | None = None
    unit: str = ""
    accuracy: float | None = None
    yardstick: float | None = None
    chance: float | None = None
    target: float | None = None
    at_most: bool = False
    measurable: bool = True

    @property
    def above_chance(self) -> float | None:
        """CP_k: accuracy in units of the yardstick, both counted from chance; not clipped."""
        if self.accuracy is None or self.yardstick is None or self.chance is None:
            return None
        room = self.yardstick - self.chance
        return (self.accuracy - self.chance) / room if room > 0 else None

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; `None` without one, or where nothing could be measured."""
        if self.target is None or math.isnan(self.value) or not self.measurable:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target

    def to_row(self) -> dict[str, Any]:
        """As JSON values, with what follows from them."""
        follows = {"above_chance": self.above_chance, "reached": self.reached}
        return jsonable(dataclasses.asdict(self) | follows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """What a probe read off a set of pictures, beside the truth, and whose subjects they are.

    Attributes:
        values: The possible answers of each factor.
        truths: Index of the true value of each factor.
        answers: Index of the value read, `-1` never.
        clusters: Name of each picture's subject.
        told: Factors that prompts tell of some pictures, and of which; those do not count.
    """

    values: Mapping[str, tuple[str, ...]]
    truths: Mapping[str, Int[np.ndarray, " b"]]
    answers: Mapping[str, Int[np.ndarray, " b"]]
    clusters: Shaped[np.ndarray, " b"]
    told: Mapping[str, Bool[np.ndarray, " b"]] = dataclasses.field(default_factory=dict)

    def right(self, factor: str) -> Bool[np.ndarray, " b"]:
        """Where the true value was read."""
        return self.answers[factor] == self.truths[factor]

    def counted(self, factor: str) -> Bool[np.ndarray, " b"]:
        """Where the question makes sense: the value can be named, the detail is there, not told."""
        makes_sense = asked(factor, self.truths[factor], self.values[factor])
        return makes_sense & ~self.told[factor] if factor in self.told else makes_sense


def factor_figure(
    group: str,
    factor: str,
    reading: Reading,
    yardstick: Reading,
    *,
    ceiling: Reading | None = None,
    among: Bool[np.ndarray, " b"] | None = None,
    name: str | None = None,
    target: float | None = None,
) -> Figure:
    """Accuracy on one factor over another system's accuracy on the same specs.

    Args:
        group: What was measured.
        factor: Which factor.
        reading: Of the pictures that are judged.
        yardstick: Of real renders of the same specs, or of the base's pictures.
        ceiling: Of real renders, where the yardstick is another.
        among: Only these pictures.
        name: Of the figure, if not the factor's.
        target: What the ratio should reach.
    """
    rows = reading.counted(factor)
    if among is not None:
        rows &= among
    right = reading.right(factor)[rows].astype(np.float64)
    standard = yardstick.right(factor)[rows].astype(np.float64)
    interval = cluster_bootstrap_ratio(right, standard, reading.clusters[rows])
    best = (ceiling or yardstick).right(factor)[rows]
    return Figure(
        group=group,
        name=name or factor,
        **interval._asdict(),
        count=int(rows.sum()),
        accuracy=float(right.mean()) if len(right) else None,
        yardstick=float(standard.mean()) if len(standard) else None,
        chance=blind_guess(factor, reading.values[factor]),
        target=target,
        measurable=bool(len(best) and best.mean() >= MEASURABLE),
    )
