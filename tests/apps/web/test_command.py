"""`dynaip web` as people start it: in a process of its own, ended by Ctrl-C."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import tiny


def test_it_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    tiny.pipeline().save_pretrained(tmp_path / "tiny")
    tiny.adapter().save_pretrained(tmp_path / "tiny" / "adapter")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["web", "--model", tmp_path / "tiny", "--port", port]
    command = [sys.executable, "-m", "dynaip", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        while True:
            assert process.poll() is None
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                    page, policy = answer.read(), answer.headers["content-security-policy"]
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        assert b"Dynamic Decoupling" in page
        assert "default-src 'none'" in policy
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert f"http://127.0.0.1:{port}" in said
    assert "Traceback" not in said


def test_a_model_without_an_adapter_is_said(cli: Any, tmp_path: Path) -> None:
    result = cli("web", "--model", tmp_path)
    assert (result.code, "There is no adapter" in result.err) == (2, True)
