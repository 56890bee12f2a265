"""A tiny model with an adapter on disk, and the command line run as people run it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny

from dynaip.apps.cli import app
from dynaip.apps.cli.errors import run


@dataclasses.dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    # What is printed must not depend on the terminal that the tests run in.
    monkeypatch.setenv("COLUMNS", "160")

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as finished:
            run(app, [str(argument) for argument in arguments])
        captured = capfd.readouterr()
        assert isinstance(finished.value.code, int)
        return Result(finished.value.code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny.pipeline().save_pretrained(folder)
    tiny.adapter().save_pretrained(folder / "adapter")
    return folder


@pytest.fixture
def remarks(tmp_path: Path) -> Callable[..., str]:
    """What a command says on stderr in a process of its own, where no library is loaded yet."""

    def call(*arguments: object) -> str:
        command = [sys.executable, "-m", "dynaip", *(str(argument) for argument in arguments)]
        environment = {k: v for k, v in os.environ.items() if k != "TRANSFORMERS_VERBOSITY"}
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
        )
        return done.stderr

    return call
