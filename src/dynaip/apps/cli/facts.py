"""How verbs print facts: a row for each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

Facts = dict[str, Any]
WIDE = 200  # columns


def print_facts(facts: Facts) -> None:
    """Prints JSON values by their names; nothing is cut short."""
    # A file or a pipe has no width; hashes stay in one piece there.
    console = Console() if sys.stdout.isatty() else Console(width=WIDE)
    console.print(_rows(facts))


def _rows(facts: Facts) -> Table:
    """A row for each fact, tables within it where they nest."""
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, _shown(name, value))
    return table


def _shown(name: str, value: Any) -> RenderableType:
    """What is in memory in gigabytes, several of a kind one below the other."""
    if isinstance(value, dict):
        modes = value and all(isinstance(row, dict) for row in value.values())
        if name == "memory":
            return _memory_by_mode(value) if modes else _rows(_map(value, _gigabytes))
        return _rows(value)
    if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        return Group(*(_rows(row) for row in value))
    if isinstance(value, list | tuple):
        return Text(", ".join(map(str, value)))
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return Text(str(value))


def _memory_by_mode(modes: dict[str, Facts]) -> Table:
    columns = next(iter(modes.values()))
    table = Table("", *columns, box=None, pad_edge=False)
    for precision, row in modes.items():
        table.add_row(precision, *_map(row, _gigabytes).values())
    return table


def _map(row: Facts, change: Callable[[Any], str]) -> Facts:
    return {name: change(value) for name, value in row.items()}


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
