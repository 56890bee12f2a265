"""The one place where errors become a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Annotated, NoReturn

import pytest
import torch
import typer
from safetensors import SafetensorError

from dynaip.apps.cli import app as dynaip_app
from dynaip.apps.cli.errors import MEMORY_FULL, run, sentence


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
        (MemoryError(), f"Error: {MEMORY_FULL}"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), f"Error: {MEMORY_FULL}"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried to"), f"Error: {MEMORY_FULL}"),
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


def test_memory_that_the_cpu_has_not_is_told() -> None:
    with pytest.raises(RuntimeError) as full:
        torch.empty(10**15)
    assert sentence(full.value) == MEMORY_FULL


@pytest.mark.parametrize("error", [ZeroDivisionError(), RuntimeError("shapes differ")])
def test_our_own_mistakes_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        run(app_that(error), [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense"], "No such option: --nonsense"),
        ([], "Missing option '--prompt'"),
        (["--prompt", "a", "--steps", "none"], "Invalid value for '--steps': "),
        (["--prompt"], "Option '--prompt' requires an argument"),
    ],
)
def test_a_slip_in_the_command_is_one_sentence_and_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()

    @app.command()
    def draw(prompt: Annotated[str, typer.Option()], steps: int = 1) -> None: ...

    with pytest.raises(SystemExit) as finished:
        run(app, arguments)
    out, err = capsys.readouterr()
    assert (finished.value.code, out) == (2, "")
    assert err.startswith(f"Error: {words}")
    assert err.endswith(".\n")
    assert err.count("\n") == 1


def test_help_and_a_verb_s_own_code_stay(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in (([], 2), (["--help"], 0), (["bench"], 2)):
        with pytest.raises(SystemExit) as finished:
            run(dynaip_app, arguments)
        out, err = capsys.readouterr()
        assert (finished.value.code, "Usage" in out, err) == (code, True, "")
    with pytest.raises(SystemExit) as finished:
        run(app_that(typer.Exit(1)), [])
    assert (finished.value.code, *capsys.readouterr()) == (1, "", "")


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
