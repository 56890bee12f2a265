"""Figures: what is drawn where, and nothing where there is nothing to draw."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from PIL import Image

from dynaip.analysis.report_figures import Point, draw_trade_off, marked, reach, trade_off_figure

OURS = Point("ours", (0.696, 0.68, 0.71), (0.934, 0.92, 0.95))
OTHER = Point("other", (0.785, 0.77, 0.8), (0.799, 0.78, 0.82))


def drawn(ax: Axes) -> list[ErrorbarContainer]:
    return [each for each in ax.containers if isinstance(each, ErrorbarContainer)]


def test_each_method_stands_at_its_cp_and_pf_with_both_intervals() -> None:
    (ax,) = trade_off_figure({"one subject": [OURS, OTHER], "several subjects": []}).axes
    assert ax.get_title() == "One subject"
    assert ax.get_xlabel() == "concept preservation (CP)"
    assert ax.get_ylabel() == "prompt following (PF)"
    for point, (marker, _, bars) in zip((OURS, OTHER), drawn(ax), strict=True):
        assert marker is not None
        assert [*marker.get_xdata(), *marker.get_ydata()] == [point.cp[0], point.pf[0]]
        across, upright = (bar.get_segments()[0] for bar in bars)
        assert across[:, 0].tolist() == pytest.approx(point.cp[1:])
        assert upright[:, 1].tolist() == pytest.approx(point.pf[1:])


def test_curves_are_of_equal_products() -> None:
    (ax,) = trade_off_figure({"one subject": [OURS, OTHER]}).axes
    curves = [line for line in ax.lines if len(line.get_xdata()) > 1]
    labels = [text.get_text() for text in ax.texts]
    assert labels
    for curve, label in zip(curves, labels, strict=True):
        products = curve.get_xdata() * curve.get_ydata()  # pyright: ignore[reportOperatorIssue]
        assert products == pytest.approx(float(label))


def test_one_panel_for_each_setting_and_one_legend_for_all(tmp_path: Path) -> None:
    panels = {"one subject": [OURS], "several subjects": [OTHER, OURS]}
    figure = trade_off_figure(panels)
    assert [ax.get_title() for ax in figure.axes] == ["One subject", "Several subjects"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["ours", "other"]
    (first,), (_, second) = map(drawn, figure.axes)
    assert first[0] is not None
    assert second[0] is not None
    assert first[0].get_color() == second[0].get_color()
    draw_trade_off(panels, tmp_path / "new" / "two.png")
    assert Image.open(tmp_path / "new" / "two.png").width == round(160 * figure.get_figwidth())


def test_twenty_methods_are_told_apart() -> None:
    points = [Point(f"method {n}", (n / 20,) * 3, (n / 20,) * 3) for n in range(20)]
    (ax,) = trade_off_figure({"one subject": points}).axes
    looks = {(m.get_marker(), m.get_color()) for m, *_ in drawn(ax) if m is not None}
    assert len(looks) == 20
    assert len({tuple(marked(index).values()) for index in range(64)}) == 64


def test_intervals_beside_their_estimate_are_cut_at_it() -> None:
    assert reach((0.5, 0.25, 0.625)) == [[0.25], [0.125]]
    assert reach((0.5, 0.625, 0.75)) == [[0.0], [0.25]]
    assert reach((0.5, None, None)) is None
    assert reach((0.5, math.nan, math.nan)) == [[0.0], [0.0]]


def test_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing is drawn"):
        draw_trade_off({"one subject": []}, tmp_path / "none.png")
