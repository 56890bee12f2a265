"""`dynaip study`: make a blind page of pairs, serve it, count the votes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dynaip.apps.cli.tables import TableFormat, TableOut, print_tables

app = typer.Typer(no_args_is_help=True, help="Ask people: blind pairs of pictures, and votes.")


@app.command()
def make(
    folders: Annotated[
        list[Path], typer.Argument(help="Result folders; the first is compared with the others.")
    ],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("study.html"),
    items: Annotated[int, typer.Option(min=1, help="Pairs a voter sees of each method.")] = 30,
    pool: Annotated[
        int | None, typer.Option(min=1, help="Pairs to draw them from; else twice the items.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=0, help="Pairs that come twice.")] = 2,
    checks: Annotated[int, typer.Option(min=0, help="Pairs with a wrong picture.")] = 2,
    size: Annotated[int, typer.Option(min=64, help="Longest side of pictures, in pixels.")] = 768,
    title: Annotated[str, typer.Option(help="At the top of the page.")] = "Picture study",
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
) -> None:
    """Write one HTML file with everything inside, and the key that unblinds its votes."""
    from dynaip.evaluation.benchmarks.results import Results
    from dynaip.evaluation.study.design import StudySettings, design_study, write_key
    from dynaip.evaluation.study.page import study_page

    settings = StudySettings(
        pool=pool or 2 * items, items=items, repeats=repeats, checks=checks, size=size, seed=seed
    )
    ours, *competitors = (Results.open(folder) for folder in folders)
    study = design_study(ours, competitors, settings)
    out.parent.mkdir(parents=True, exist_ok=True)
    key = out.with_suffix(".key.json")
    # First: where it is refused, the page of the other study stays, too.
    write_key(study, key)
    with Console().status("Putting the pictures into the page"):
        out.write_text(study_page(study, title))
    Console().print(
        f"The page is {out} ({out.stat().st_size / 1e6:.1f} MB), its key {key}. Keep the key to "
        "yourself until all votes are in.",
        soft_wrap=True,
    )


@app.command()
def serve(
    page: Annotated[Path, typer.Argument(help="The page that `make` wrote.")],
    votes: Annotated[
        Path | None, typer.Option(help="File that votes are appended to; else beside the page.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this computer's is your choice.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
) -> None:
    """Serve the page until Ctrl-C, and append the votes that it posts to a file."""
    from dynaip.evaluation.study.server import StudyServer

    console = Console()
    votes = votes or page.with_suffix(".votes.jsonl")
    with StudyServer(page, votes, (host, port)) as server:
        console.print(f"{page} is at {server.url}; votes go to {votes}. Ctrl-C stops.")
        server.serve_forever()


@app.command()
def score(
    votes: Annotated[list[Path], typer.Argument(help="Files of votes, posted or downloaded.")],
    key: Annotated[Path, typer.Option(help="The key that `make` wrote.")],
    least_checks: Annotated[
        float, typer.Option(min=0, max=1, help="Share of checks a voter must have right.")
    ] = 0.0,
    form: TableFormat = "markdown",
    out: TableOut = None,
) -> None:
    """Advantage ratios with intervals, counts, Davidson's model, agreement, and the voters."""
    from dynaip.evaluation.study.report import study_tables
    from dynaip.evaluation.study.votes import read_key, read_votes, unblind

    found = read_votes(votes)
    for path in found.torn:
        typer.echo(f"The last line of {path} was cut short and is left out.", err=True)
    ballots = unblind(found.votes, read_key(key))
    print_tables(study_tables(ballots, least_checks=least_checks), form, out)
