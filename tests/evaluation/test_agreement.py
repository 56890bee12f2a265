"""Krippendorff's alpha on his own example, and at its ends."""

from __future__ import annotations

import numpy as np
import pytest

from dynaip.evaluation.agreement import Scale, krippendorff_alpha

# Four observers, twelve units, with gaps: the worked example of Krippendorff (2011), section C.
OBSERVERS = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""


@pytest.mark.parametrize(
    ("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_the_textbook(scale: Scale, alpha: float) -> None:
    rows = [line.split() for line in OBSERVERS.split("\n") if line]
    ratings = [(u, float(v)) for row in rows for u, v in enumerate(row) if v != "."]
    units, values = map(np.array, zip(*ratings, strict=True))
    assert krippendorff_alpha(values, units, scale) == pytest.approx(alpha, abs=5e-4)


def test_agreement_is_one_and_noise_is_near_zero() -> None:
    units = np.repeat(np.arange(300), 3)
    rng = np.random.default_rng(0)
    assert krippendorff_alpha(units % 3 + 0.0, units, "nominal") == 1
    noise = rng.integers(0, 3, 900).astype(float)
    assert krippendorff_alpha(noise, units, "ordinal") == pytest.approx(0, abs=0.08)


@pytest.mark.parametrize(
    ("values", "units"), [([1.0, 2.0], [0, 1]), ([1.0, 1.0], [0, 0]), ([], [])]
)
def test_nothing_to_compare_is_not_a_number(values: list[float], units: list[int]) -> None:
    assert np.isnan(krippendorff_alpha(np.array(values), np.array(units), "nominal"))
