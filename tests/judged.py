"""A small benchmark with answers, and a server that misbehaves as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynaip.evaluation.benchmarks.manifest import Case, CaseSubject, Manifest
from dynaip.evaluation.benchmarks.results import Method, Results


def picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Three cases, of one and of two subjects and of a style; each with two pictures."""
    for seed, name in enumerate("abcd"):
        picture(seed).save(tmp_path / f"{name}.png")

    def subject(name: str, noun: str, kind: str = "object", left: float | None = None) -> Any:
        box = None if left is None else (left, 0.0, left + 0.5, 1.0)
        path = tmp_path / f"{name}.png"
        return CaseSubject(name=noun, category=noun, kind=kind, references=(path,), box=box)

    cases = (
        Case(id="one", prompt="a mug", seeds=(1, 2), subjects=(subject("a", "mug"),)),
        Case(
            id="two",
            prompt="a dog and a cat",
            seeds=(3, 4),
            subjects=(subject("b", "dog", left=0.0), subject("c", "cat", left=0.5)),
        ),
        Case(id="ink", prompt="a boat", seeds=(5, 6), subjects=(subject("d", "ink", "style"),)),
    )
    manifest = Manifest(name="small", settings={}, cases=cases)
    made = Results.create(tmp_path / "out", manifest, Method(name="ours"))
    for number, wanted in enumerate(made.missing()):
        wanted.path.parent.mkdir(parents=True, exist_ok=True)
        picture(10 + number).save(wanted.path)
    return made


class FaultyServer:
    """An OpenAI-compatible server on loopback whose answers are written by the test.

    Attributes:
        url: Its address with `/v1`.
        script: Called with the number of the request and its body; gives `(status, headers, body)`
            or None to cut the connection.
        requests, headers: Of the requests, in the order of their coming.
    """

    def __init__(self) -> None:
        self.script: Callable[[int, dict[str, Any]], Any] = lambda number, body: say("Score: 3")
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with owner._lock:
                    owner.headers.append({k.lower(): v for k, v in self.headers.items()})
                    owner.requests.append(body)
                    number = len(owner.requests) - 1
                answer = owner.script(number, body)
                if answer is None:
                    self.connection.close()
                    return
                status, headers, content = answer
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def say(text: str, finish: str = "stop", **message: Any) -> tuple[int, dict[str, str], bytes]:
    """A whole, well-formed answer."""
    choice = {
        "index": 0,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": text, **message},
    }
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
    return 200, {}, json.dumps({**body, "choices": [choice], "usage": usage}).encode()


def slow(seconds: float, answer: Any) -> Any:
    time.sleep(seconds)
    return answer


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    made = FaultyServer()
    yield made
    made.close()
