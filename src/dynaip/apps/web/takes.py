"""The pictures of a job: repeats with other seeds, and comparisons that change one thing."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from dynaip.apps.web.order import Order, OrderError
from dynaip.pipeline.phrases import have_phrases

THIRD = 1 / 3
OWN_WORDS = "own words (image rows and phrases)"
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
        by: "branches": no reference, Dynamic Decoupling on, and off, and where there are phrases
            these. "granularity": the router's choice, each level alone, and mixtures.

    Raises:
        OrderError: There is no such comparison, or no subject to compare.
    """
    if by not in COMPARISONS:
        raise OrderError(f"`compare` is one of {', '.join(COMPARISONS)}.", "compare")
    if not order.cast:
        raise OrderError("A comparison needs a subject; add one.", "subjects")
    order = dataclasses.replace(order, n=1)
    if by == "branches":
        return _by_branches(order)
    return tuple(
        Take(_with_subjects(order, granularity=value), label) for label, value in GRANULARITIES
    )


def _by_branches(order: Order) -> tuple[Take, ...]:
    plain = _with_subjects(order, phrase=None)
    takes = (
        Take(
            dataclasses.replace(order, branches="image", image_guidance=1.0, cast=()),
            "no reference",
        ),
        Take(dataclasses.replace(plain, branches="image"), "DDS on (image rows)"),
        Take(dataclasses.replace(plain, branches="both"), "DDS off (both)"),
    )
    if not have_phrases([[each.subject for each in order.cast]]):
        return takes
    return (*takes, Take(dataclasses.replace(order, branches="both"), OWN_WORDS))


def _with_subjects(order: Order, **changes: Any) -> Order:
    """An order whose subjects are all changed alike."""
    cast = tuple(
        dataclasses.replace(each, subject=dataclasses.replace(each.subject, **changes))
        for each in order.cast
    )
    return dataclasses.replace(order, cast=cast)
