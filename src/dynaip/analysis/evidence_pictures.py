"""Figures of the evidence with pictures in them: samples, attention maps, what the router gives."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dynaip.analysis.report_figures import COLOURS, blank_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]


def draw_samples(rows: Sequence[Row]) -> Figure | None:
    """The first trials: prompt, reference, and what each way makes of them."""
    found = next((row["shown"] for row in rows if row["name"] == "samples"), None)
    if found is None:
        return None
    prompts = found["prompt"]
    columns = [name for name in found if name != "prompt"]
    figure = blank_figure(1.15 * len(columns) + 2.6, 1.15 * len(prompts) + 0.3)
    axes = figure.subplots(len(prompts), len(columns), squeeze=False)
    for line, (row, prompt) in enumerate(zip(axes, prompts, strict=True)):
        for ax, name in zip(row, columns, strict=True):
            ax.imshow(_picture(found[name][line]))
            ax.set_xticks([])
            ax.set_yticks([])
            if line == 0:
                ax.set_title(name, fontsize=7)
        words = "\n".join(textwrap.wrap(prompt, 34))
        row[0].set_ylabel(words, fontsize=6, rotation=0, ha="right", va="center")
    return figure


def draw_attention(rows: Sequence[Row]) -> Figure | None:
    """What each branch's rows look at, and where image rows hear it (Figure 15)."""
    shown = {row["name"]: row["shown"] for row in rows if "shown" in row}
    if not shown:
        return None
    trials = list(zip(shown["text"], shown["image"], strict=True))
    figure = blank_figure(9.6, 2.1 * len(trials))
    parts = figure.subfigures(len(trials), 1, squeeze=False)[:, 0]
    for part, (text, image) in zip(parts, trials, strict=True):
        part.suptitle(image["prompt"], fontsize=8)
        reference = _picture(image["reference"])
        most = np.max([text["over_reference"], image["over_reference"]])
        panels = (
            ("reference", reference, None, None),
            ("text rows look at", reference, text["over_reference"], most),
            ("made with text rows", _picture(text["picture"]), None, None),
            ("image rows look at", reference, image["over_reference"], most),
            ("made with image rows", _picture(image["picture"]), None, None),
            ("where image rows hear it", _picture(image["picture"]), image["over_picture"], None),
        )
        for ax, panel in zip(part.subplots(1, len(panels)), panels, strict=True):
            _overlay(ax, *panel)
    return figure


def draw_coefficients(rows: Sequence[Row]) -> Figure | None:
    """The router's coefficients for the first references (Figure 16)."""
    shown = next((row["shown"] for row in rows if "shown" in row), None)
    if shown is None:
        return None
    figure = blank_figure(1.15 * len(shown) + 0.5, 2.6)
    axes = figure.subplots(2, len(shown), squeeze=False, sharey="row")
    for (above, below), one in zip(axes.T, shown, strict=True):
        above.imshow(_picture(one["reference"]))
        above.axis("off")
        bars = below.bar(("low", "mid", "high"), one["coefficients"], color=COLOURS[:3])
        below.bar_label(bars, fmt="%.2f", fontsize=6)
        below.set_ylim(0, 1.1)
        below.tick_params(labelsize=7)
        below.spines[["top", "right"]].set_visible(False)
    axes[1, 0].set_ylabel("coefficient", fontsize=8)
    return figure


def _overlay(
    ax: Axes,
    title: str,
    picture: UInt8[np.ndarray, "y x 3"],
    heat: Sequence[Sequence[float]] | None,
    most: float | None,
) -> None:
    """A picture; under a map, whose colours go from dark at 0 to bright at `most`, a grey one."""
    ax.set_title(title, fontsize=7)
    ax.axis("off")
    if heat is None:
        ax.imshow(picture)
        return
    ax.imshow(picture.mean(2), extent=(0, 1, 0, 1), cmap="gray", vmin=0, vmax=400)
    ax.imshow(heat, extent=(0, 1, 0, 1), cmap="magma", alpha=0.7, vmin=0, vmax=most)


def _picture(png: str) -> UInt8[np.ndarray, "y x 3"]:
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        return np.asarray(picture.convert("RGB"))
