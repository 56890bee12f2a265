"""Reading pictures of several subjects: found by a detector, told apart by their places alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from dynaip.evaluation.crops import Box, box_of, crop
from dynaip.evaluation.factors import CONCEPT_FACTORS, labels
from dynaip.evaluation.probe import Probe
from dynaip.evaluation.truth.confusion import LIGHT_ANGLES, Cast
from dynaip.miniature.toyland import Spec, render

# An instance further from a slot than this share of the picture is not in it.
REACH = 0.25


@runtime_checkable
class InstanceFinder(Protocol):
    """Finds subjects, whoever they are."""

    def find(self, pictures: UInt8[np.ndarray, "b y x 3"]) -> list[list[Box]]:
        """The boxes of each picture's instances."""
        ...


class Placement(NamedTuple):
    """Boxes matched to slots: `None` where nobody is, and how many fit no slot."""

    boxes: tuple[Box | None, ...]
    extra: int


def place(found: Sequence[Box], slots: Sequence[Box], size: int) -> Placement:
    """Matches instances to slots: as many as can be, then as near as can be.

    Args:
        found: Boxes of instances.
        slots: Boxes of where subjects should be.
        size: Side of the picture in pixels.
    """
    nobody: list[Box | None] = [None] * len(slots)

    def cost(order: Sequence[Box | None]) -> tuple[int, float]:
        far = [_distance(box, slot) for box, slot in zip(order, slots, strict=True)]
        reached = [d for d in far if d <= REACH * size]
        return -len(reached), sum(reached)

    orders = itertools.permutations([*found, *nobody], len(slots))
    best = min(orders, key=cost)
    boxes = tuple(
        box if _distance(box, slot) <= REACH * size else None
        for box, slot in zip(best, slots, strict=True)
    )
    return Placement(boxes, len(found) - sum(box is not None for box in boxes))


def _distance(box: Box | None, slot: Box) -> float:
    if box is None:
        return np.inf
    return float(np.hypot(*np.subtract(box.centre, slot.centre)))


def slots_of(target: Spec, size: int) -> list[Box]:
    """Where the subjects of a picture are to be seen.

    Raises:
        ValueError: One is hidden entirely.
    """
    boxes = [box_of(mask) for mask in render(target, size).masks]
    if any(box is None for box in boxes):
        raise ValueError("A subject is hidden behind another; choose another picture.")
    return [box for box in boxes if box is not None]


def read_cast(
    probe: Probe,
    finder: InstanceFinder,
    targets: Sequence[Spec],
    pictures: UInt8[np.ndarray, "b y x 3"],
) -> Cast:
    """Finds, cuts out and reads every subject of pictures of N subjects each.

    Args:
        probe: Reads one subject at a time.
        finder: Finds them.
        targets: What the pictures should show; all of equally many subjects.
        pictures: The pictures.
    """
    size = probe.config.size
    values = {name: probe.config.values[name] for name in CONCEPT_FACTORS}
    count = len(targets[0].actors)
    places = [
        place(found, slots_of(target, size), size)
        for found, target in zip(finder.find(pictures), targets, strict=True)
    ]
    whole = Box(0, 0, size, size)
    wanted, read = [], []
    for slot in range(count):
        wanted.append(labels(targets, values, slot))
        cuts = [
            crop(picture, where.boxes[slot] or whole, size)
            for picture, where in zip(pictures, places, strict=True)
        ]
        read.append(probe.read(np.stack(cuts)))
    present = np.array([[box is not None for box in where.boxes] for where in places])
    angles = np.radians([LIGHT_ANGLES[name] for name in probe.config.values["light"]])
    return Cast(
        options={name: len(options) for name, options in values.items()},
        wanted={name: np.stack([slot[name] for slot in wanted], 1) for name in values},
        read={name: np.stack([slot[name] for slot in read], 1) for name in values},
        present=present,
        light=np.where(present, angles[np.stack([slot["light"] for slot in read], 1)], np.nan),
        extra=np.array([where.extra for where in places]),
        clusters=np.array([repr([actor.concept for actor in t.actors]) for t in targets]),
    )
