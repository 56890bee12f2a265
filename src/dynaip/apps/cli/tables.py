"""How verbs that end in tables write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from dynaip.evaluation.tables import Table

TableFormat = Annotated[
    Literal["markdown", "csv", "latex", "json"],
    typer.Option("--format", help="How to write the tables; json is a line for each."),
]
TableOut = Annotated[Path | None, typer.Option("--out", help="File to write, not the terminal.")]


def print_tables(
    tables: Sequence[Table], form: Literal["markdown", "csv", "latex", "json"], out: Path | None
) -> None:
    """Writes tables to a file, or prints them as they would stand there."""
    from dynaip.evaluation.tables import write_tables

    text = write_tables(tables, form)
    if out is None:
        typer.echo(text, nl=False)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    typer.echo(f"The tables are in {out}.")
