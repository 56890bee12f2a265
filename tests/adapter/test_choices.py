"""Granularity and time: what may be chosen."""

import pytest

from dynaip.adapter.choices import check_granularity, check_window


def test_rounded_weights_are_made_whole():
    assert sum(check_granularity([0.333, 0.333, 0.333])) == pytest.approx(1, abs=1e-12)
    assert check_granularity([0.25] * 4, levels=4) == (0.25,) * 4


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.5, 0.5, 0.003], [-1, 1, 1], [float("nan")] * 3])
def test_what_is_no_mixture_is_refused(weights):
    with pytest.raises(ValueError, match=r"3 numbers \(low, mid, high\), none negative"):
        check_granularity(weights)


@pytest.mark.parametrize("window", [(0.5, 0.5), (-0.1, 1), (0, 1.1), (float("nan"), 1)])
def test_what_is_no_share_of_the_steps_is_refused(window):
    check_window(0, 1)
    with pytest.raises(ValueError, match="0 <= start < end <= 1"):
        check_window(*window)
