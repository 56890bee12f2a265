"""What a request must be before anything reads it: small enough, and from a page of ours."""

from __future__ import annotations

import contextlib
import ipaddress
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


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

        # Who went away while sending, or was sent away, waits for no answer.
        with contextlib.suppress(ClientDisconnect):
            await self.app(scope, count, reply)


class OwnPagesOnly:
    """Keeps other web pages in the same browser from using the server behind a person's back.

    A name that somebody else points at this computer is refused, and so is a request that a page
    of another origin sends. Addresses in numbers are nobody's to point.
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...] = ()) -> None:
        self.app, self.hosts = app, ("localhost", *map(str.lower, hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or refuses it."""
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            host = headers.get(b"host", b"").decode("latin-1")
            origin = headers.get(b"origin", b"").decode("latin-1")
            if not self._is_own(host):
                said = "This server does not answer to that name; open it by its address."
                await _answer(send, 403, said)
                return
            if origin and origin not in (f"http://{host}", f"https://{host}"):
                await _answer(send, 403, "This server takes no requests from other pages.")
                return
        await self.app(scope, receive, send)

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self.hosts or bool(ipaddress.ip_address(name))
        except ValueError:
            return False


async def _answer(send: Send, status: int, message: str) -> None:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
