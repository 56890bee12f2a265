"""Figures for reports; matplotlib comes with the extra `figures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure

# Told apart with the common colour deficiencies, and by their shapes.
COLOURS = ("#1b5e58", "#c65d21", "#5b4b9a", "#a02c5a", "#6b7a1f", "#2f6fb0", "#7a5230", "#444444")
MARKERS = "osD^vPX*"
LEVELS = tuple(np.arange(0.1, 1.0, 0.1))


class Point(NamedTuple):
    """A method's estimate with the ends of its interval, on both axes."""

    name: str
    cp: tuple[float, float, float]
    pf: tuple[float, float, float]


def draw_trade_off(panels: Mapping[str, Sequence[Point]], path: Path) -> None:
    """Writes `trade_off_figure` as a PNG.

    Raises:
        ValueError: matplotlib is not installed, or there is nothing to draw.
    """
    figure = trade_off_figure(panels)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)


def trade_off_figure(panels: Mapping[str, Sequence[Point]]) -> Figure:
    """CP against PF, with curves of equal CP·PF: the balance that the paper is after.

    Args:
        panels: Points by the panel's title.

    Raises:
        ValueError: matplotlib is not installed, or there is nothing to draw.
    """
    panels = {title: points for title, points in panels.items() if points}
    if not panels:
        raise ValueError("No method has both CP and PF with enough coverage, so nothing is drawn.")
    figure = blank_figure(4.6 * len(panels) + 0.4, 5.2)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    names = list(dict.fromkeys(point.name for points in panels.values() for point in points))
    legend = {}
    for ax, (title, points) in zip(axes, panels.items(), strict=True):
        _frame(ax, title, points)
        _draw_products(ax)
        for point in points:
            legend[point.name] = _draw_point(ax, point, names.index(point.name))
    figure.legend(
        [legend[name] for name in names], names, loc="outside lower center", ncols=4, frameon=False
    )
    return figure


def blank_figure(width: float, height: float) -> Figure:
    """A figure of its own, not pyplot's: no state is left behind, and no display is needed.

    Args:
        width: In inches.
        height: In inches.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError("Figures need matplotlib: pip install 'dynaip[figures]'.") from error
    return Figure(figsize=(width, height), layout="constrained")


def _draw_products(ax: Axes) -> None:
    """Curves of equal CP·PF, each with its number."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    cp = np.linspace(max(left, 0.01), right, 200)
    for level in LEVELS:
        pf = level / cp
        inside = (pf >= bottom) & (pf <= top)
        if not inside.any():
            continue
        ax.plot(cp[inside], pf[inside], color="#d5d0c4", linewidth=0.9, zorder=0)
        # A little before the end, on the curve.
        at = len(cp[inside]) * 9 // 10
        ax.text(
            cp[inside][at],
            pf[inside][at],
            f"{level:.1f}",
            ha="center",
            va="center",
            fontsize=7,
            color="#8a867c",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            zorder=0.5,
        )


def _draw_point(ax: Axes, point: Point, index: int) -> ErrorbarContainer:
    return ax.errorbar(
        point.cp[0],
        point.pf[0],
        xerr=reach(point.cp),
        yerr=reach(point.pf),
        **marked(index),
        linestyle="none",
        markersize=6,
        elinewidth=1.3,
    )


def marked(index: int) -> dict[str, Any]:
    """Marker and colour of its own; when all colours have been, they come with other markers."""
    marker = (index + index // len(COLOURS)) % len(MARKERS)
    return {"marker": MARKERS[marker], "color": COLOURS[index % len(COLOURS)]}


def reach(interval: Sequence[float | None]) -> list[list[float]] | None:
    """How far an estimate's interval goes down and up from it; nothing where it has none."""
    value, low, high = interval
    if value is None or low is None or high is None:
        return None
    # Of few pictures, the middle of the draws may lie beside the estimate.
    return [[max(0.0, value - low)], [max(0.0, high - value)]]


def _frame(ax: Axes, title: str, points: Sequence[Point]) -> None:
    """Room around the points, within what scores can be."""
    for axis, values in (("x", [p.cp for p in points]), ("y", [p.pf for p in points])):
        low, high = np.nanmin(values), np.nanmax(values)
        margin = max(0.05, 0.2 * (high - low))
        ax.set(**{f"{axis}lim": (max(0.0, low - margin), min(1.02, high + margin))})
    ax.set_title(f"{title[:1].upper()}{title[1:]}", fontsize=11)
    ax.set_xlabel("concept preservation (CP)")
    ax.set_ylabel("prompt following (PF)")
    ax.spines[["top", "right"]].set_visible(False)
