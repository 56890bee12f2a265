"""What a request must be before anything reads it: small enough, and from a page of ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class BodyLimit:
    """Refuses bodies of more than `limit` bytes, whether or not they say their length."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, counting what is read of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.limit:
            await _answer(send, 413, f"A request has at most {self.limit >> 20} MiB.")
            return
        seen, answered = 0, False

        async def count() -> Message:
            nonlocal seen, answered
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                answered = True
                await _answer(send, 413, f"A request has at most {self.limit >> 20} MiB.")
                return {"type": "http.disconnect"}
            return message

        async def reply(message: Message) -> None:
            if not answered:
                await send(message)

        try:
            await self.app(scope, count, reply)
        except ClientDisconnect:
            if not answered:
                raise


class OwnPagesOnly:
    """Keeps other web pages in the same browser from using the server behind a person's back.

    A name that somebody else points at this computer is refused, and so is a request that a page
    of another origin sends.
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...] = ()) -> None:
        self.app, self.hosts = app, (*LOOPBACK, *hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or refuses it."""
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            host = headers.get(b"host", b"").decode("latin-1")
            origin = headers.get(b"origin", b"").decode("latin-1")
            if "*" not in self.hosts and urlsplit(f"//{host}").hostname not in self.hosts:
                await _answer(send, 403, f"This server does not answer to the name {host}.")
                return
            if origin and urlsplit(origin).netloc != host:
                await _answer(send, 403, "This server takes no requests from other pages.")
                return
        await self.app(scope, receive, send)


async def _answer(send: Send, status: int, message: str) -> None:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
