"""Tables of results, and how they are written: Markdown, CSV, LaTeX, JSON.

Cells keep their numbers until they are written, so that a page shows three digits with an interval,
and a file for further work all of them, each in its own column.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from dynaip.evaluation.statistics import Interval

Format = Literal["markdown", "csv", "latex", "json"]


class Bounds(NamedTuple):
    """What an estimate lies between, whatever the missing scores would have been."""

    low: float
    high: float


Cell = str | int | float | Interval | Bounds | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under named columns, and what a reader must know of them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


def write_tables(tables: Sequence[Table], form: Format) -> str:
    """All tables, one after the other."""
    return "\n".join(_FORMATS[form](table) for table in tables)


def markdown(table: Table) -> str:
    """A heading, a table, and the notes as a list."""
    lines = [f"## {table.title}", ""]
    lines += markdown_table(table.columns, [[show(cell) for cell in row] for row in table.rows])
    if table.notes:
        lines += ["", *(f"- {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [_markdown_row(row) for row in (columns, ["---"] * len(columns), *rows)]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def show(cell: Cell) -> str:
    """A cell as people read it."""
    match cell:
        case None:
            return "–"
        case Interval(value, low, high):
            if math.isnan(low):
                return _number(value)
            return f"{_number(value)} ({_number(low)} to {_number(high)})"
        case Bounds(low, high):
            return f"between {_number(low)} and {_number(high)}"
        case float():
            return "<0.001" if 0 < cell < 0.0005 else _number(cell)
    return str(cell)


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "∞" if value == math.inf else f"{value:.3f}"


def comma_separated(table: Table) -> str:
    """Title and notes as comments, then the table.

    The ends of intervals are columns of their own; with an empty value they are bounds.
    """
    spread = [
        any(isinstance(row[index], (Interval, Bounds)) for row in table.rows)
        for index in range(len(table.columns))
    ]
    page = io.StringIO()
    page.writelines(f"# {line}\n" for line in (table.title, *table.notes))
    writer = csv.writer(page, lineterminator="\n")
    header = []
    for name, wide in zip(table.columns, spread, strict=True):
        header += [name, f"{name} low", f"{name} high"] if wide else [name]
    writer.writerow(header)
    for row in table.rows:
        fields = []
        for cell, wide in zip(row, spread, strict=True):
            fields += _fields(cell) if wide else _fields(cell)[:1]
        writer.writerow(fields)
    return page.getvalue()


def _fields(cell: Cell) -> list[str]:
    """A value and its two ends, with all digits; empty where there is none."""
    match cell:
        case Interval():
            return ["" if math.isnan(part) else repr(float(part)) for part in cell]
        case Bounds(low, high):
            return ["", repr(float(low)), repr(float(high))]
        case None:
            return ["", "", ""]
    return ["" if cell != cell else str(cell), "", ""]


def json_line(table: Table) -> str:
    """One line with all digits; an interval and bounds are objects, what was not measured null."""
    rows = [
        {name: _plain(cell) for name, cell in zip(table.columns, row, strict=True)}
        for row in table.rows
    ]
    return json.dumps({"title": table.title, "rows": rows, "notes": table.notes})


def _plain(cell: Cell) -> Any:
    return jsonable(cell._asdict() if isinstance(cell, (Interval, Bounds)) else cell)


def jsonable(value: Any) -> Any:
    """The same in lists, dictionaries and numbers; what is not a number becomes null."""
    if isinstance(value, Mapping):
        return {name: jsonable(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def latex(table: Table) -> str:
    """A `tabular` with the rules of booktabs; the notes are comments."""
    rows = [" & ".join(_latex_cell(cell) for cell in row) + r" \\" for row in table.rows]
    lines = [
        f"% {table.title}",
        *(f"% {note}" for note in table.notes),
        rf"\begin{{tabular}}{{l{'c' * (len(table.columns) - 1)}}}",
        r"\toprule",
        " & ".join(_escaped(name) for name in table.columns) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _latex_cell(cell: Cell) -> str:
    if isinstance(cell, Interval) and not math.isnan(cell.low):
        ends = f"[{_number(cell.low)}, {_number(cell.high)}]"
        return rf"{_escaped(_number(cell.value))} {{\scriptsize {_escaped(ends)}}}"
    return _escaped(show(cell))


def _escaped(text: str) -> str:
    return text.translate(_LATEX)


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "·": r"$\cdot$",
        "∞": r"$\infty$",
        "≤": r"$\le$",
        "<": r"$<$",
        "×": r"$\times$",
        "−": r"$-$",
        "α": r"$\alpha$",
        "ν": r"$\nu$",
        "–": "--",
    }
)
_FORMATS: dict[Format, Callable[[Table], str]] = {
    "markdown": markdown,
    "csv": comma_separated,
    "latex": latex,
    "json": json_line,
}
