"""`dynaip report`: methods side by side, with intervals, tests, and the paper's own rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from dynaip.apps.cli.tables import TableFormat, TableOut, print_tables

if TYPE_CHECKING:
    from dynaip.evaluation.comparison.sources import Source


def report(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Result folders, one a method.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Method to test the others against; else the first.")
    ] = None,
    paper: Annotated[bool, typer.Option(help="Add the paper's own rows.")] = False,
    form: TableFormat = "markdown",
    out: TableOut = None,
    figure: Annotated[
        Path | None, typer.Option(help="PNG of CP against PF to draw; needs the extra figures.")
    ] = None,
) -> None:
    """Write Table 1's rows of judged folders, with intervals, coverage and paired tests."""
    from dynaip.evaluation.comparison.published import published_tables
    from dynaip.evaluation.comparison.report import report_tables
    from dynaip.evaluation.comparison.sources import open_source

    if not folders and not paper:
        raise ValueError("Give result folders to compare, or --paper for the paper's own rows.")
    if not folders and (against is not None or figure is not None):
        raise ValueError("--against and --figure are about result folders; give some.")
    with Console(stderr=True).status("Comparing methods"):
        sources = [open_source(folder) for folder in folders or []]
        tables = report_tables(sources, against) if sources else []
    tables += published_tables() if paper else []
    print_tables(tables, form, out)
    if figure is not None:
        _draw(sources, figure)


def _draw(sources: list[Source], path: Path) -> None:
    """CP against PF of the methods that have both, one subject and several apart."""
    from dynaip.analysis.report_figures import Point, draw_trade_off
    from dynaip.evaluation.comparison.report import trade_offs

    panels = trade_offs(sources)
    draw_trade_off({title: [Point(*each) for each in panels[title]] for title in panels}, path)
    typer.echo(f"The figure is in {path}.")
