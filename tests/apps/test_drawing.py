"""How far the work is, where there is no terminal to draw a bar on."""

from __future__ import annotations

import pytest

from dynaip.apps.cli import drawing


def test_a_log_is_told_now_and_then(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(shown: bool) -> str:
        with drawing.progress_bar(shown) as progress:
            task = progress.add_task("Drawing", total=3)
            progress.advance(task, 2)
        return capfd.readouterr().err

    assert said(True) == ""
    monkeypatch.setattr(drawing, "SECONDS_A_LINE", 0.0)
    assert said(True) == "Drawing: 2 of 3\n"
    assert said(False) == ""


def test_so_is_work_that_says_how_far_it_is_and_how_well(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "SECONDS_A_LINE", 0.0)
    with drawing.progress_bar() as progress:
        task = progress.add_task("training", total=3)
        progress.update(task, completed=2, description="training, loss 0.250")
    assert capfd.readouterr().err == "training, loss 0.250: 2 of 3\n"
