"""Davidson's fit against the pair that can be solved by hand, and against its own equations."""

from __future__ import annotations

import numpy as np
import pytest

from dynaip.evaluation.study.davidson import fit_davidson


def test_one_pair_reproduces_its_counts() -> None:
    # With one pair π1/π2 = wins/losses and ν = ties / sqrt(wins losses).
    wins = np.array([[[0.0, 30.0], [20.0, 0.0]]])
    ties = np.array([[[0.0, 10.0], [10.0, 0.0]]])
    fit = fit_davidson(wins, ties)
    assert fit.preferred(0, 1) == pytest.approx(0.6)
    assert fit.ties == pytest.approx(10 / np.sqrt(600))


def test_equal_methods_with_many_ties() -> None:
    """Their strengths are right from the start, and ν is not."""
    wins = np.array([[[0.0, 10.0], [10.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    ties = np.array([[[0.0, 20.0], [20.0, 0.0]]] * 2)
    fit = fit_davidson(wins, ties)
    assert fit.preferred(0, 1) == pytest.approx(0.5)
    assert fit.ties == pytest.approx([2, np.inf])


def test_several_methods_meet_the_likelihood_equations() -> None:
    rng = np.random.default_rng(0)
    wins = rng.integers(1, 20, (2, 4, 4)).astype(float) * (1 - np.eye(4))
    ties = rng.integers(0, 9, (2, 4, 4)).astype(float) * (1 - np.eye(4))
    ties += np.swapaxes(ties, 1, 2)
    strengths, nu = fit_davidson(wins, ties)
    for draw in range(2):
        pi = strengths[draw]
        mixed = nu[draw] * np.sqrt(np.outer(pi, pi))
        below = pi[:, None] + pi + mixed
        games = wins[draw] + wins[draw].T + ties[draw]
        # Expected points and expected ties are those that were seen.
        expected = (games * (pi[:, None] + mixed / 2) / below).sum(1)
        assert expected == pytest.approx((wins[draw] + ties[draw] / 2).sum(1), rel=1e-5)
        assert (games * mixed / below).sum() == pytest.approx(ties[draw].sum(), rel=1e-5)


def test_strengths_are_recovered() -> None:
    rng = np.random.default_rng(1)
    true, nu, count = np.array([1.0, 2.0, 0.5]), 0.4, 40_000
    wins, ties = np.zeros((2, 1, 3, 3))
    for i, j in ((0, 1), (0, 2)):
        shares = np.array([true[i], true[j], nu * np.sqrt(true[i] * true[j])])
        w, lost, t = rng.multinomial(count, shares / shares.sum())
        wins[0, i, j], wins[0, j, i], ties[0, i, j], ties[0, j, i] = w, lost, t, t
    fit = fit_davidson(wins, ties)
    assert fit.preferred(1, 0) == pytest.approx(2 / 3, abs=0.01)
    assert fit.preferred(1, 2) == pytest.approx(0.8, abs=0.01)
    assert fit.ties == pytest.approx(nu, abs=0.02)


def test_a_method_that_never_won_and_one_without_votes() -> None:
    wins = np.zeros((1, 3, 3))
    wins[0, 0, 1] = 5
    fit = fit_davidson(wins, np.zeros((1, 3, 3)))
    assert fit.preferred(1, 0) == pytest.approx(0, abs=1e-6)
    assert np.isnan(fit.preferred(2, 0)).all()
    assert fit.ties == 0
