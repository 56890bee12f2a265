"""The pictures of a job: repeats with other seeds, and comparisons that change one thing."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from dynaip.apps.web.order import Order, OrderError

THIRD = 1 / 3
BRANCH_TAKES = (
    ("no reference", {"cast": ()}),
    ("DDS on (image rows)", {"branches": "image"}),
    ("DDS off (both)", {"branches": "both"}),
)
GRANULARITIES = (
    ("router", None),
    ("low", (1.0, 0.0, 0.0)),
    ("mid", (0.0, 1.0, 0.0)),
    ("high", (0.0, 0.0, 1.0)),
    ("low + mid", (0.5, 0.5, 0.0)),
    ("mid + high", (0.0, 0.5, 0.5)),
    ("all alike", (THIRD, THIRD, THIRD)),
)
COMPARISONS = ("branches", "granularity")


class Take(NamedTuple):
    """One picture of a job.

    Attributes:
        order: What it shows; its seed is this picture's own.
        label: What tells it from the others; empty where only the seed does.
    """

    order: Order
    label: str = ""


def repeat(order: Order) -> tuple[Take, ...]:
    """As many pictures as were asked for, their seeds counting up."""
    return tuple(
        Take(dataclasses.replace(order, seed=order.seed + index, n=1)) for index in range(order.n)
    )


def compare(order: Order, by: str) -> tuple[Take, ...]:
    """One seed, and one thing changed from picture to picture.

    Args:
        order: What they share.
        by: "branches": no reference, Dynamic Decoupling on, and off. "granularity": the router's
            choice, each level alone, and mixtures.

    Raises:
        OrderError: There is no such comparison, or no subject to compare.
    """
    if by not in COMPARISONS:
        raise OrderError(f"`compare` is one of {', '.join(COMPARISONS)}.", "compare")
    if not order.cast:
        raise OrderError("A comparison needs a subject; add one.", "subjects")
    order = dataclasses.replace(order, n=1)
    if by == "branches":
        return tuple(
            Take(dataclasses.replace(order, **changes), label) for label, changes in BRANCH_TAKES
        )
    return tuple(Take(_with_granularity(order, value), label) for label, value in GRANULARITIES)


def _with_granularity(order: Order, granularity: tuple[float, ...] | None) -> Order:
    cast = tuple(
        dataclasses.replace(
            each, subject=dataclasses.replace(each.subject, granularity=granularity)
        )
        for each in order.cast
    )
    return dataclasses.replace(order, cast=cast)
