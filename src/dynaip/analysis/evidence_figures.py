"""Figures of the evidence, from rows of experiments; matplotlib comes with the extra `figures`."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dynaip.analysis.evidence_pictures import (
    Row,
    draw_attention,
    draw_coefficients,
    draw_samples,
)
from dynaip.analysis.report_figures import COLOURS, MARKERS, blank_figure, marked, reach

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Where CP cannot be measured, what it would rest on first.
STAND_INS = ("cp", "cp_coarse")
# The ways that are swept, what a legend calls them, and what is swept.
SWEPT = {
    "image": ("image rows (DDS)", "scale"),
    "both": ("both branches", "scale"),
    "own words": ("image rows and own words", "scale"),
    "guided": ("image rows, image guidance", "image_guidance"),
    "both guided": ("both branches, image guidance", "image_guidance"),
}


def draw_evidence(rows: Mapping[str, Sequence[Row]], folder: Path) -> dict[str, list[Path]]:
    """Draws what can be drawn of each experiment.

    Args:
        rows: By experiment, as `dynaip evaluate experiment` writes them.
        folder: Where the PNG files go.

    Returns:
        The files by experiment; where rows hold nothing to draw there are none.

    Raises:
        ValueError: matplotlib is not installed.
    """
    drawn: dict[str, list[Path]] = {}
    for experiment, members in rows.items():
        for name, draw in FIGURES.get(experiment, {}).items():
            figure = draw(members)
            if figure is not None:
                folder.mkdir(parents=True, exist_ok=True)
                drawn.setdefault(experiment, []).append(folder / f"{name}.png")
                _save(figure, folder / f"{name}.png")
    return drawn


def _save(figure: Figure, path: Path) -> None:
    """Writes a PNG of 256 colours, which is small: the repository keeps every version of it.

    The colours are fitted to the figure's, or a subject's would not be told from another's.
    """
    whole, dpi = io.BytesIO(), 150
    figure.savefig(whole, dpi=dpi)
    with Image.open(whole) as picture:
        picture.convert("RGB").quantize(256, kmeans=3).save(path, optimize=True, dpi=(dpi, dpi))


def _preserved(rows: Sequence[Row]) -> str | None:
    """The measure of concept preservation that all rows have."""
    for name in STAND_INS:
        if all(row[name][0] is not None for row in rows):
            return name
    return None


def _trade_off(rows: Sequence[Row]) -> Figure | None:
    """Concept preservation against prompt following, a marker for each way."""
    points = [row for row in rows if "cp" in row and row["retention"][0] is not None]
    measure = _preserved(points)
    if not points or measure is None:
        return None
    figure = blank_figure(6.4, 5.0)
    ax = figure.subplots()
    for index, row in enumerate(points):
        x, y = row[measure], row["retention"]
        ax.errorbar(
            x[0],
            y[0],
            xerr=reach(x),
            yerr=reach(y),
            **marked(index),
            linestyle="none",
            label=_way_name(row),
            elinewidth=1,
        )
    _name_axes(ax, measure)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _frontier(rows: Sequence[Row]) -> Figure | None:
    """CP and PF along lambda or image guidance: one line for each way, from the base on."""
    measured = [row for row in rows if "cp" in row and row["retention"][0] is not None]
    measure = _preserved(measured)
    if not measured or measure is None:
        return None
    base = [row for row in measured if "variant" not in row]
    figure = blank_figure(6.0, 4.6)
    ax = figure.subplots()
    for index, (way, (label, number)) in enumerate(SWEPT.items()):
        swept = [row for row in measured if row["name"].startswith(f"{way}, ")]
        if not swept:
            continue
        line = [*base, *swept]
        x, y = [row[measure][0] for row in line], [row["retention"][0] for row in line]
        ax.plot(x, y, marker=MARKERS[index], color=COLOURS[index], label=label)
        for row, left, up in zip(line, x, y, strict=True):
            ax.errorbar(
                left,
                up,
                xerr=reach(row[measure]),
                yerr=reach(row["retention"]),
                color=COLOURS[index],
                elinewidth=0.6,
                alpha=0.4,
            )
        for at in sorted({0, min(1, len(line) - 1), len(line) - 1}):
            row, left, up = line[at], x[at], y[at]
            text = f"{row[number]:g}" if number in row else "0"
            ax.annotate(text, (left, up), textcoords="offset points", xytext=(4, 4), fontsize=7)
    _name_axes(ax, measure)
    ax.legend(
        frameon=False,
        title="the numbers are lambda or image guidance",
        fontsize=8,
        title_fontsize=8,
    )
    return figure


def _matrices(rows: Sequence[Row]) -> Figure | None:
    """The transfer matrix of each branch, side by side."""
    matrices = [row for row in rows if "matrix" in row]
    if not matrices:
        return None
    figure = blank_figure(4.2 * len(matrices) + 0.8, 5.0)
    axes = figure.subplots(1, len(matrices), squeeze=False, sharey=True)[0]
    for ax, row in zip(axes, matrices, strict=True):
        values = np.array(row["matrix"], dtype=float)
        ax.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
        inputs, outputs = (
            [f"{_in_words(name)}{'' if name in row['readable'] else ' *'}" for name in names]
            for names in (row["inputs"], row["outputs"])
        )
        ax.set_xticks(range(len(inputs)), inputs, rotation=60, ha="right", fontsize=8)
        ax.set_yticks(range(len(outputs)), outputs, fontsize=8)
        where = "text and image" if row["name"] == "both" else row["name"]
        score = row["dts"][0]
        dts = "–" if score is None else f"{score:.2f}"
        ax.set_title(f"{where} rows, DTS {dts}", fontsize=10)
        for (y, x), value in np.ndenumerate(values):
            if abs(value) >= 0.1:
                ax.text(x, y, f"{value:.1f}", ha="center", va="center", fontsize=7)
    axes[0].set_ylabel("read in the picture")
    figure.supxlabel("changed in the reference (*: not read well enough to count)", fontsize=9)
    figure.colorbar(axes[0].images[0], ax=list(axes), shrink=0.7)
    return figure


def _simplex(rows: Sequence[Row]) -> Figure | None:
    """What each mixture of levels keeps, as a triangle for each tier."""
    manual = [row for row in rows if row.get("granularity")]
    tiers = [
        t for t in ("coarse", "mid", "fine") if all(r[f"cp_{t}"][0] is not None for r in manual)
    ]
    if not manual or not tiers:
        return None
    weights = np.array([row["granularity"] for row in manual])
    # Low at the left corner, mid at the right one, high at the top.
    x, y = weights[:, 1] + weights[:, 2] / 2, weights[:, 2] * np.sqrt(3) / 2
    figure = blank_figure(3.6 * len(tiers) + 0.6, 3.6)
    for ax, tier in zip(figure.subplots(1, len(tiers), squeeze=False)[0], tiers, strict=True):
        values = [row[f"cp_{tier}"][0] for row in manual]
        dots = ax.scatter(x, y, c=values, s=420, cmap="viridis")
        middle = (min(values) + max(values)) / 2
        for left, up, value in zip(x, y, values, strict=True):
            ink = "black" if value > middle else "white"  # the map goes from dark to bright
            ax.text(left, up, f"{value:.2f}", ha="center", va="center", fontsize=7, color=ink)
        for corner, text in (((0, -0.1), "low"), ((1, -0.1), "mid"), ((0.5, 0.97), "high")):
            ax.text(*corner, text, ha="center", va="center", fontsize=9)
        ax.set(title=f"{tier} tier", xlim=(-0.15, 1.15), ylim=(-0.18, 1.05), aspect="equal")
        ax.axis("off")
        figure.colorbar(dots, ax=ax, shrink=0.6)
    return figure


def _responses(rows: Sequence[Row]) -> Figure | None:
    """How each coefficient answers an added detail, beside the shuffled control."""
    changes = [row for row in rows if "response" in row]
    if not changes:
        return None
    figure = blank_figure(3.4 * len(changes) + 0.4, 3.4)
    axes = figure.subplots(1, len(changes), squeeze=False, sharey=True)[0]
    for ax, row in zip(axes, changes, strict=True):
        for offset, (kind, colour) in enumerate((("response", 0), ("shuffled", 7))):
            for level, interval in enumerate(row[kind]):
                ax.errorbar(
                    level + 0.2 * offset,
                    interval[0],
                    yerr=reach(interval),
                    fmt=MARKERS[offset],
                    color=COLOURS[colour],
                    label=kind if level == 0 else None,
                )
        ax.axhline(0, color="#d5d0c4", linewidth=0.9, zorder=0)
        ax.set_xticks(range(3), ["low", "mid", "high"])
        ax.set_title(_way_name(row), fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("change of the coefficient")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def _knowledge(rows: Sequence[Row]) -> Figure | None:
    """How well each factor can be read off each layer, from 0 at chance to 1."""
    figure = blank_figure(6.4, 4.0)
    ax = figure.subplots()
    for index, factor in enumerate(rows[0]["accuracy"]):
        chance = rows[0]["chance"][factor]
        heights = [(row["accuracy"][factor] - chance) / (1 - chance) for row in rows]
        ax.plot(
            range(len(rows)),
            heights,
            label=_in_words(factor),
            **marked(index),
            linestyle="-" if index < len(COLOURS) else "--",
        )
    for row in rows:
        if row["tapped"]:
            ax.axvline(row["layer"], color="#d5d0c4", linewidth=6, zorder=0)
    ax.set(xlabel="layer (shaded: tapped)", ylabel="accuracy, 0 at chance")
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _outcomes(rows: Sequence[Row]) -> Figure | None:
    """What became of the pictures of several subjects, as stacked bars."""
    rows = [row for row in rows if "outcomes" in row]
    if not rows:
        return None
    kinds = list(rows[0]["outcomes"])
    figure = blank_figure(7.6, 0.42 * len(rows) + 1.2)
    ax = figure.subplots()
    left = np.zeros(len(rows))
    for index, kind in enumerate(reversed(kinds)):
        shares = np.array([row["outcomes"][kind] for row in rows])
        ax.barh(range(len(rows)), shares, left=left, color=COLOURS[index], label=kind)
        left += shares
    ax.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=8)
    ax.invert_yaxis()
    ax.set(xlim=(0, 1), xlabel="share of the pictures")
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _loss(rows: Sequence[Row]) -> Figure | None:
    """What references that differ in one thing make of the loss: a panel for each thing."""
    rows = [row for row in rows if "sigmas" in row]
    if not rows:
        return None
    adapters = list(dict.fromkeys(row["variant"] for row in rows))
    branches = list(dict.fromkeys(row["name"] for row in rows))
    panels = {
        "help": "the reference itself",
        "category": "what it is",
        "look": "how it looks",
        "view": "its pose and light",
    }
    figure = blank_figure(10.4, 0.34 * len(adapters) + 1.5)
    axes = figure.subplots(1, len(panels), sharey=True)
    for ax, (measure, title) in zip(axes, panels.items(), strict=True):
        for index, name in enumerate(branches):
            members = [row for row in rows if row["name"] == name]
            shift = 0.2 * (index - (len(branches) - 1) / 2)
            middles = [row[measure][0] for row in members]
            reaches = [ends for row in members if (ends := reach(row[measure])) is not None]
            ax.errorbar(
                middles,
                [adapters.index(row["variant"]) + shift for row in members],
                xerr=np.concatenate(reaches, axis=1) if len(reaches) == len(members) else None,
                fmt=MARKERS[index],
                markersize=4,
                color=COLOURS[index],
                label=f"on {name} rows" if name != "both" else "on both",
                elinewidth=1,
            )
        ax.axvline(0, color="0.7", linewidth=0.6, zorder=0)
        ax.set_title(title, fontsize=9)
        ax.set_xlabel("taken off the loss, over the base's", fontsize=7)
        ax.tick_params(axis="x", labelsize=7)
        ax.locator_params(axis="x", nbins=4)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(adapters)), adapters, fontsize=8)
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _name_axes(ax: Axes, measure: str) -> None:
    names = {"cp": "concept preservation (CP)", "cp_coarse": "CP, coarse tier"}
    ax.set(xlabel=names[measure], ylabel="prompt following, over the base's own")
    ax.spines[["top", "right"]].set_visible(False)


# Names as the tables have them; this room and `dynaip.evaluation` do not import each other.
def _way_name(row: Row) -> str:
    return f"{row['variant']}: {row['name']}" if "variant" in row else str(row["name"])


def _in_words(factor: str) -> str:
    return "letter" if factor == "glyph" else factor.replace("_", " ")


# By experiment, and then by the name of their files.
FIGURES: dict[str, dict[str, Callable[[Sequence[Row]], Figure | None]]] = {
    "table": {"table": _trade_off, "samples": draw_samples},
    "ablation": {"ablation": _trade_off, "ablation-loss": _loss, "ablation-samples": draw_samples},
    "methods": {"methods": _trade_off},
    "branches": {"branches": _matrices, "attention": draw_attention},
    "denoising": {"denoising": _loss},
    "intra": {"intra": _matrices, "intra-loss": _loss},
    "strength": {"strength": _frontier},
    "granularity": {"granularity": _simplex},
    "router": {"coefficients": draw_coefficients, "router": _responses},
    "layers": {"layers": _knowledge},
    "several": {"several": _outcomes, "several-samples": draw_samples},
}
