"""The `dynaip` command: a file per verb, one place that turns errors into a sentence.

A verb's file holds a function (or a `typer.Typer` for a group), imports what is heavy inside that
function, and is added in one line below.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import dynaip
from dynaip.apps.cli import (
    bench,
    convert,
    demo,
    encode,
    evaluate,
    generate,
    inspect,
    judge,
    miniature,
    report,
    study,
    train,
    verify,
    web,
)
from dynaip.apps.cli import (
    run as rerun,
)
from dynaip.apps.cli.errors import run

app = typer.Typer(
    name="dynaip",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(dynaip.__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Put reference subjects into the pictures of FLUX, or of the miniature.

    Every verb takes --debug, which shows the traceback of an error.
    """
    # Transformers makes remarks while it is imported, which verbs do when they are about to work.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


app.command()(generate.generate)
app.command()(encode.encode)
app.command()(demo.demo)
app.command()(inspect.inspect)
app.command()(convert.convert)
app.command()(train.train)
app.add_typer(miniature.app, name="miniature")
app.add_typer(evaluate.app, name="evaluate")
app.command()(judge.judge)
app.add_typer(bench.app, name="bench")
app.command()(web.web)
app.command()(rerun.run)
app.command()(verify.verify)
app.command()(report.report)
app.add_typer(study.app, name="study")


def main() -> None:
    """Runs the command line; the entry point of the `dynaip` script."""
    run(app, sys.argv[1:])
