"""The application: the page, what the page asks for, and the images API, in one FastAPI."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from dynaip.apps.web import images_api, page_api
from dynaip.apps.web.guards import BodyLimit, OwnPagesOnly
from dynaip.apps.web.order import Limits, OrderError
from dynaip.apps.web.studio import QueueFullError, Studio

STATIC = Path(__file__).parent / "static"
# In sides of the model's own pictures. A step cannot be interrupted, and with the side grows by
# its fourth power.
LARGEST_SIDE = 2
RETRY_AFTER = "5"  # seconds
# Scripts, styles, letters and connections come from this server or not at all.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Server(uvicorn.Server):
    """Serves the application; at its end it stops the jobs before it waits for who asked for them.

    Args:
        app: The application.
        studio: Its studio.
        **options: See `uvicorn.Config`.
    """

    def __init__(self, app: FastAPI, studio: Studio, **options: Any) -> None:
        super().__init__(uvicorn.Config(app, **options))
        self._studio = studio

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`, which would let a request wait for its last picture."""
        self._studio.stop()
        await super().shutdown(sockets)


def make_app(studio: Studio, limits: Limits | None = None, hosts: tuple[str, ...] = ()) -> FastAPI:
    """The application over a studio, which it closes when it ends.

    Args:
        studio: What makes the pictures.
        limits: The most that one request may ask for.
        hosts: Names that the server answers to, besides `localhost` and every address.
    """

    @contextlib.asynccontextmanager
    async def live(_: FastAPI) -> AsyncIterator[None]:
        yield
        studio.close()

    pencil = studio.pencil
    limits = dataclasses.replace(
        limits or Limits(),
        reference=pencil.reference_size,
        side=LARGEST_SIDE * max(pencil.size(None, None)),
    )
    app = FastAPI(title="dynaip", lifespan=live, docs_url=None, redoc_url=None)
    app.state.studio, app.state.limits = studio, limits
    app.include_router(images_api.router)
    app.include_router(page_api.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(BodyLimit, limit=limits.body)
    app.add_middleware(OwnPagesOnly, hosts=hosts)
    app.add_exception_handler(OrderError, _refuse)
    app.add_exception_handler(QueueFullError, _full)
    app.add_exception_handler(HTTPException, _say)
    app.add_exception_handler(Exception, _break)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
        return FileResponse(STATIC / "index.html", headers=headers)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def problem(status: int, message: str, field: str | None = None, **headers: str) -> JSONResponse:
    """An error in the shape of OpenAI's API."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    kind = "rate_limit_error" if status == 429 else kind
    body: dict[str, Any] = {"message": message, "type": kind, "param": field, "code": None}
    return JSONResponse({"error": body}, status, headers=headers)


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    return problem(400, str(error), getattr(error, "field", None))


async def _full(_: Request, error: Exception) -> JSONResponse:
    return problem(429, str(error), **{"Retry-After": RETRY_AFTER})


async def _say(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, f"{error.detail.rstrip('.')}.")


async def _break(_: Request, error: Exception) -> JSONResponse:
    """What is nobody's mistake but ours; it goes on to the log."""
    return problem(500, "The server failed; its log says why.")
