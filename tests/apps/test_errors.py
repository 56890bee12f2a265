"""The one place where errors become a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import NoReturn

import pytest
import typer
from safetensors import SafetensorError

from dynaip.apps.cli.errors import run, sentence


def app_that(error: BaseException) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> NoReturn:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("bad\n  thing"), "Error: bad thing\n"),
        (OSError(28, "No space left on device"), "Error: The disk is full"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "Error: The disk is"),
        (SafetensorError("Error while serializing"), "Error: Error while serializing"),
        (PermissionError(13, "Permission denied", "a.png"), "Error: Permission denied: a.png."),
        (KeyboardInterrupt(), "Stopped; files that were finished stay as they are.\n"),
    ],
)
def test_an_error_is_one_sentence_and_code_2(
    error: BaseException, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as finished:
        run(app_that(error), [])
    assert finished.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.strip().startswith(words.strip())
    assert captured.err.strip().count("\n") == 0
    assert captured.out == ""


def test_debug_keeps_the_traceback() -> None:
    with pytest.raises(ValueError, match="bad"):
        run(app_that(ValueError("bad")), ["--debug"])


def test_our_own_mistakes_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(app_that(ZeroDivisionError()), [])


def test_an_unknown_option_is_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as finished:
        run(app_that(ValueError()), ["--nonsense"])
    assert finished.value.code == 2
    assert "--nonsense" in capsys.readouterr().err


def test_an_error_without_words_says_its_name() -> None:
    assert sentence(ValueError()) == "ValueError"


def test_the_installed_command_answers() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "dynaip", "inspect", "nowhere"], capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "Error: There is nothing at nowhere; check the path.\n"


def test_ctrl_c_in_a_real_process_is_one_sentence() -> None:
    code = """
import time, typer
from dynaip.apps.cli.errors import run
app = typer.Typer(pretty_exceptions_enable=False)
@app.command()
def wait():
    print("ready", flush=True)
    time.sleep(60)
run(app, [])
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 2
    assert err == "Stopped; files that were finished stay as they are.\n"
