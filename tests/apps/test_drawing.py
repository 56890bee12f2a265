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
