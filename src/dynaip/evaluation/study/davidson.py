"""Davidson's model of paired comparisons with ties: Bradley and Terry's, and a share for ties.

A picture of method i is preferred to one of j with probability π_i / D, and neither is with
ν √(π_i π_j) / D, where D = π_i + π_j + ν √(π_i π_j) (Davidson 1970). With one pair of methods the
fit says no more than the counts do; with several it puts them all on one scale.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# A method that was never preferred has strength zero; this keeps the arithmetic finite.
SMALLEST = 1e-9
ROUNDS = 5000
TOLERANCE = 1e-9


class Davidson(NamedTuple):
    """A fit for each data set of a batch.

    Attributes:
        strengths: π of each method, about 1 in the mean; not-a-number without votes.
        ties: ν; 0 where nobody saw no difference, infinite where everybody did.
    """

    strengths: Float[np.ndarray, "draws methods"]
    ties: Float[np.ndarray, " draws"]

    def preferred(self, method: int, other: int) -> Float[np.ndarray, " draws"]:
        """Probability that `method` is preferred to `other` where one of them is."""
        pair = self.strengths[:, method], self.strengths[:, other]
        return pair[0] / (pair[0] + pair[1])


def fit_davidson(
    wins: Float[np.ndarray, "draws methods methods"],
    ties: Float[np.ndarray, "draws methods methods"],
) -> Davidson:
    """The most likely strengths, by minorise-maximise steps, which never make the fit worse.

    Args:
        wins: How often the method of the row was preferred to that of the column.
        ties: How often neither was; symmetric.
    """
    games = wins + np.swapaxes(wins, 1, 2) + ties
    merit = (wins + ties / 2).sum(axis=2)
    tied = ties.sum(axis=(1, 2))
    decided = wins.sum(axis=(1, 2)) > 0
    strengths, nu = np.ones(merit.shape), np.ones(len(merit))
    for _ in range(ROUNDS):
        before = strengths, nu
        root = np.sqrt(strengths)
        share = games / _denominator(strengths, nu)
        # By the inequality of the means, √(π_i π_j) is at most linear in each of the two.
        pull = share * (1 + nu[:, None, None] / 2 * root[:, None, :] / root[:, :, None])
        strengths = merit / np.maximum(pull.sum(axis=2), SMALLEST)
        strengths = np.maximum(strengths / strengths.mean(axis=1, keepdims=True), SMALLEST)
        root = np.sqrt(strengths)
        mixed = root[:, :, None] * root[:, None, :]
        expected = (games * mixed / _denominator(strengths, nu)).sum(axis=(1, 2))
        nu = tied / np.maximum(expected, SMALLEST)
        moved = np.abs(strengths - before[0]).max(axis=1) + np.abs(nu - before[1])
        # Where all votes are ties, ν grows without end.
        if moved[decided].max(initial=0) < TOLERANCE:
            break
    nu = np.where(decided | (tied == 0), nu, np.inf)
    return Davidson(np.where(games.sum(axis=2) > 0, strengths, np.nan), nu)


def _denominator(
    strengths: Float[np.ndarray, "draws methods"], nu: Float[np.ndarray, " draws"]
) -> Float[np.ndarray, "draws methods methods"]:
    each, other = strengths[:, :, None], strengths[:, None, :]
    return each + other + nu[:, None, None] * np.sqrt(each * other)
