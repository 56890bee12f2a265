"""Costs of commands: their own, not this process's."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from dynaip.evaluation.cost import cost_figures, measure_command, median_seconds

MEGABYTE = 2**20


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_peak_memory_is_the_commands_own() -> None:
    here = np.ones(80 * MEGABYTE)  # 640 MB in this process
    small = measure_command(python("pass")).peak_bytes
    large = measure_command(python("x = b'1' * (200 * 2 ** 20)")).peak_bytes
    assert here.nbytes > 4 * small
    assert 190 * MEGABYTE < large - small < 260 * MEGABYTE


def test_seconds_are_wall_clock() -> None:
    assert 0.3 < measure_command(python("import time; time.sleep(0.3)")).seconds < 3


def test_a_failing_command_says_why() -> None:
    with pytest.raises(ValueError, match="no such reference"):
        measure_command(python("import sys; sys.exit('no such reference')"))


def test_the_first_call_does_not_count() -> None:
    calls = []
    median_seconds(lambda: calls.append(1), repeats=3)
    assert len(calls) == 4


def test_cost_figures_are_held_to_their_ceilings() -> None:
    figures = cost_figures(lambda: None, python("pass"))
    assert [figure.unit for figure in figures] == ["s", "s", "GB"]
    assert all(figure.reached for figure in figures)
