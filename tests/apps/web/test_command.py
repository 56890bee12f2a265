"""`dynaip web` as people start it, and ended by Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def own_loop() -> Iterator[None]:
    """Playwright, where it runs, leaves its event loop marked as running in this thread."""
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    yield
    asyncio._set_running_loop(loop)


def visit_and_interrupt(port: int, seen: list[Any]) -> None:
    """Opens the page as soon as it is there, then sends this process what Ctrl-C does."""
    end = time.monotonic() + 60
    while time.monotonic() < end and not seen:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
                seen += [answer.read(), answer.headers["content-security-policy"]]
        except urllib.error.URLError:
            time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("own_loop")
def test_it_serves_until_it_is_interrupted(model: Path, port: int, cli: Any) -> None:
    seen: list[Any] = []
    visitor = threading.Thread(target=visit_and_interrupt, args=(port, seen))
    visitor.start()
    result = cli("web", "--model", model, "--port", port)
    visitor.join()
    page, policy = seen
    assert b"Dynamic Decoupling" in page
    assert "default-src 'none'" in policy
    opened, ended = result.err.splitlines()
    assert (result.code, opened) == (0, f"Open http://127.0.0.1:{port} (Ctrl-C ends it).")
    assert "Ctrl-C again ends at once" in ended


def test_what_cannot_be_served_is_said(model: Path, port: int, cli: Any, tmp_path: Path) -> None:
    result = cli("web", "--model", tmp_path, "--port", port)
    assert (result.code, "There is no adapter" in result.err) == (2, True)
    with socket.create_server(("127.0.0.1", port)):
        result = cli("web", "--model", model, "--port", port)
    assert (result.code, "give another --port" in result.err) == (2, True)
    result = cli("web", "--model", model, "--host", "no.such.name.invalid", "--port", port)
    assert (result.code, "Nothing can listen at no.such.name" in result.err) == (2, True)
