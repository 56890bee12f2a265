"""The server of `dynaip web` as it runs, for tests."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from PIL import Image

from dynaip.apps.web import server as web
from dynaip.apps.web.order import Limits
from dynaip.apps.web.studio import Studio

LIMITS = Limits(body=2**20, upload=300_000, upload_pixels=1_000_000, subjects=3, pictures=4)
WAITING = 5
KEPT = 16


@dataclasses.dataclass(frozen=True)
class Server:
    url: str
    studio: Studio

    def call(
        self, method: str, path: str, values: Any = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON (or bytes) and headers of one request."""
        body = None if values is None else json.dumps(values).encode()
        sent = {"Content-Type": "application/json", **headers}
        request = urllib.request.Request(self.url + path, body, sent, method=method)
        try:
            answer = urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            content = answer.read()
            is_json = "json" in (answer.headers["content-type"] or "")
            got = json.loads(content) if is_json and content else content
            return answer.status, got, dict(answer.headers)

    def finish(self, values: dict[str, Any]) -> dict[str, Any]:
        """Submits a job of the page and waits for its end."""
        status, got, _ = self.call("POST", "/api/jobs", values)
        assert status == 202, got
        return self.wait(got["job"])

    def wait(self, key: str) -> dict[str, Any]:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            state = self.call("GET", f"/api/jobs/{key}")[1]
            if state["state"] not in ("waiting", "drawing"):
                return state
            time.sleep(0.05)
        raise AssertionError("The job did not end.")


@contextlib.contextmanager
def serving(studio: Studio) -> Iterator[Server]:
    server = web.Server(web.make_app(studio, LIMITS), studio, port=0, log_level="error")
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Server(f"http://127.0.0.1:{port}", studio)
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


def png(size: tuple[int, int] = (20, 16), colour: str = "red", mode: str = "RGB") -> bytes:
    content = BytesIO()
    Image.new(mode, size, colour).save(content, "PNG")
    return content.getvalue()
