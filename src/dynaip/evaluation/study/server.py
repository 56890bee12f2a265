"""Serves one study page and appends the votes that it posts to a file."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from dynaip.evaluation.journal import append_lines
from dynaip.evaluation.study.votes import Vote, study_of_page

BODY_LIMIT = 256 * 1024
ROW_LIMIT = 200
READ_TIMEOUT = 30.0  # seconds


class StudyServer(ThreadingHTTPServer):
    """A page at `/`, votes at `/votes`.

    Attributes:
        page: The HTML file's bytes.
        study: The page's study; votes of another are refused.
        votes: JSONL file that votes are appended to.
        on_votes: Called with the number of rows after each append.
    """

    daemon_threads = True

    def __init__(
        self,
        page: Path,
        votes: Path,
        address: tuple[str, int] = ("127.0.0.1", 8000),
        on_votes: Callable[[int], Any] = lambda count: None,
    ) -> None:
        """Binds the address; `serve_forever` starts.

        Raises:
            ValueError: `page` is no study page.
        """
        self.page = page.read_bytes()
        self.study = study_of_page(page)
        self.votes = votes
        self.on_votes = on_votes
        self._append = threading.Lock()
        super().__init__(address, _Request)

    @property
    def url(self) -> str:
        """Where a browser on this computer finds the page."""
        host = "127.0.0.1" if self.server_address[0] == "0.0.0.0" else self.server_address[0]
        return f"http://{host}:{self.server_address[1]}/"

    def keep(self, votes: list[Vote]) -> None:
        """Appends votes; they are on the disk when this returns."""
        with self._append:
            append_lines(self.votes, [json.dumps(vote.to_row()) for vote in votes])
        self.on_votes(len(votes))


class _Request(BaseHTTPRequestHandler):
    server: StudyServer  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = READ_TIMEOUT
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/":
            self._answer(HTTPStatus.NOT_FOUND)
            return
        self._answer(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        status, message = self._receive()
        # The rest of a body that was not read must not be taken for the next request.
        self.close_connection = status != HTTPStatus.NO_CONTENT
        self._answer(status, message.encode())

    def _receive(self) -> tuple[HTTPStatus, str]:
        if self.path != "/votes":
            return HTTPStatus.NOT_FOUND, "Votes go to /votes."
        # With this type a page of another origin would have to ask first, and gets no answer.
        if self.headers.get_content_type() != "application/json":
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send application/json."
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            return HTTPStatus.LENGTH_REQUIRED, "Send a Content-Length."
        if int(length) > BODY_LIMIT:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"At most {BODY_LIMIT} bytes at once."
        try:
            votes = self._votes(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            return HTTPStatus.BAD_REQUEST, str(error)
        self.server.keep(votes)
        return HTTPStatus.NO_CONTENT, ""

    def _votes(self, body: bytes) -> list[Vote]:
        rows = json.loads(body)
        if not isinstance(rows, list) or len(rows) > ROW_LIMIT:
            raise ValueError(f"Send a list of at most {ROW_LIMIT} votes.")
        votes = [Vote.from_row(row) for row in rows]
        if any(vote.study != self.server.study for vote in votes):
            raise ValueError("A vote is of another study; reload the page.")
        return votes

    def _answer(self, status: HTTPStatus, body: bytes = b"", kind: str = "text/plain") -> None:
        self.send_response(status)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD" and status != HTTPStatus.NO_CONTENT:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: addresses of voters are nobody's business."""
