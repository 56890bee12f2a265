"""The two draws that everything random is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def pick(rng: np.random.Generator, values: Sequence[T]) -> T:
    """One of the values, each as likely."""
    return values[int(rng.integers(len(values)))]


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number rounded to four places: short in JSON, and the same picture after it."""
    return round(float(rng.uniform(low, high)), 4)
