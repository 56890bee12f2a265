"""The miniature's figures as files: a line of JSON each, and a page of Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from dynaip.evaluation.figures import Figure
from dynaip.evaluation.tables import markdown_table, show
from dynaip.pipeline.provenance import write_whole

COLUMNS = ("figure", "value", "95 %", "target", "", "accuracy", "yardstick", "chance", "pictures")
# The same in a terminal of 80 characters.
SHORT_COLUMNS = ("figure", "value", "95 %", "target", "", "acc.", "yard.", "chance", "n")
NOT_MEASURABLE = "probe < 0.9"


def cells(figure: Figure) -> tuple[str, ...]:
    """One row of the table, in the order of `COLUMNS`."""
    target = "low" if figure.at_most else ""
    if figure.target is not None:
        sign = "≤" if figure.at_most else "≥"
        target = f"{sign} {figure.target:g} {figure.unit}".strip()
    low, high, interval = figure.low, figure.high, ""
    if low is not None and high is not None and not math.isnan(low):
        interval = f"{_number(low)}–{_number(high)}"
    return (
        figure.name.replace("_", " "),
        f"{_number(figure.value)} {figure.unit}".strip(),
        interval,
        target,
        _verdict(figure),
        _number(figure.accuracy),
        _number(figure.yardstick),
        _number(figure.chance),
        str(figure.count) if figure.count else "",
    )


def markdown(figures: Sequence[Figure], provenance: Mapping[str, Any]) -> str:
    """A table for each group, and what made the pictures."""
    lines = ["# Figures of the miniature", ""]
    for group, members in groupby(figures, key=lambda figure: figure.group):
        lines += [f"## {group}", ""]
        lines += markdown_table(COLUMNS, [cells(figure) for figure in members])
        lines.append("")
    lines += ["## What was measured", ""]
    lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in provenance.items()]
    return "\n".join(lines) + "\n"


def write_report(
    figures: Sequence[Figure],
    provenance: Mapping[str, Any],
    uses: Mapping[str, Mapping[str, Any]],
    folder: Path,
) -> None:
    """Writes `figures.jsonl`, each row with its provenance, and `figures.md`.

    Args:
        figures: In the order of the page.
        provenance: Of all of them.
        uses: Of a group's alone: how the adapter was used.
        folder: Where they go.
    """
    rows = [
        json.dumps({**figure.to_row(), **provenance, **uses.get(figure.group, {})})
        for figure in figures
    ]
    write_whole(folder / "figures.jsonl", ("\n".join(rows) + "\n").encode())
    write_whole(folder / "figures.md", markdown(figures, provenance).encode())


def _verdict(figure: Figure) -> str:
    if not figure.measurable:
        return NOT_MEASURABLE
    return {True: "reached", False: "missed", None: ""}[figure.reached]


def _number(value: float | None) -> str:
    """Empty where there is none to have, a dash where it could not be measured."""
    if value is None:
        return ""
    if math.isnan(value):
        return show(None)
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
