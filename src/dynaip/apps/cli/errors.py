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
MEMORY_FULL = "The memory is full; ask for less at once, such as a smaller picture."


def run(app: typer.Typer, arguments: Sequence[str]) -> NoReturn:
    """Runs `app`; an error that a person can mend becomes one sentence on stderr and exit code 2.

    Errors that are nobody's mistake but ours keep their traceback. `--debug`, given anywhere,
    keeps every traceback.
    """
    debug = "--debug" in arguments
    plain = [argument for argument in arguments if argument != "--debug"]
    try:
        code = app(plain, standalone_mode=False)
    except typer.TyperException as error:
        if usage := _usage(error):
            typer.echo(f"Error: {usage}", err=True)
        sys.exit(error.exit_code)
    except (ValueError, OSError, SafetensorError, RuntimeError, MemoryError) as error:
        if debug or (isinstance(error, RuntimeError) and not is_memory_full(error)):
            raise
        typer.echo(f"Error: {sentence(error)}", err=True)
        sys.exit(EXIT_CODE)
    if code == INTERRUPTED:
        typer.echo("Stopped; files that were finished stay as they are.", err=True)
        sys.exit(EXIT_CODE)
    sys.exit(code or 0)


def sentence(error: Exception) -> str:
    """What went wrong, in one line that a person can act on."""
    if is_memory_full(error):
        return MEMORY_FULL
    # safetensors tells a failed write in words only.
    told = f"(os error {errno.ENOSPC})" in str(error)
    if told or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
        return "The disk is full; make room and run the same command again."
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}."
    return " ".join(str(error).split()) or type(error).__name__


def is_memory_full(error: BaseException) -> bool:
    """Whether a device, or this computer, has no memory left; torch is not imported to tell."""
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return True
    # CPUs and Apple's devices tell it in words only.
    words = ("DefaultCPUAllocator", "out of memory")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def _usage(error: typer.TyperException) -> str:
    """What is wrong with a command, and where to look; nothing where its help was shown."""
    told = " ".join(error.format_message().split()).rstrip(".?")
    context = getattr(error, "ctx", None)
    where = "" if context is None else f"; see {context.command_path} --help"
    return told and f"{told}{where}."
