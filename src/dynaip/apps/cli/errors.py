"""The one error boundary of the command line."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer
from safetensors import SafetensorError

EXIT_CODE = 2
INTERRUPTED = 130  # what Typer makes of Ctrl-C


def run(app: typer.Typer, arguments: Sequence[str]) -> NoReturn:
    """Runs `app`; an error that a person can mend becomes one sentence on stderr and exit code 2.

    Errors that are nobody's mistake but ours keep their traceback. `--debug`, given anywhere,
    keeps every traceback.
    """
    debug = "--debug" in arguments
    try:
        app([argument for argument in arguments if argument != "--debug"])
    except SystemExit as finished:
        if finished.code == INTERRUPTED:
            typer.echo("Stopped; files that were finished stay as they are.", err=True)
            sys.exit(EXIT_CODE)
        raise
    except (ValueError, OSError, SafetensorError) as error:
        if debug:
            raise
        typer.echo(f"Error: {sentence(error)}", err=True)
        sys.exit(EXIT_CODE)
    sys.exit(0)


def sentence(error: Exception) -> str:
    """What went wrong, in one line that a person can act on."""
    # safetensors tells a failed write in words only.
    told = f"(os error {errno.ENOSPC})" in str(error)
    if told or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
        return "The disk is full; make room and run the same command again."
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}."
    return " ".join(str(error).split()) or type(error).__name__
