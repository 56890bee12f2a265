"""`dynaip web`: the page and the HTTP API, on this computer."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynaip.adapter.choices import LEVELS
from dynaip.apps.cli.errors import EXIT_CODE
from dynaip.apps.cli.loading import (
    Adapter,
    Model,
    Offload,
    adapter_location,
    load_adapter,
    load_model,
    miniature_folder,
)

if TYPE_CHECKING:
    from dynaip.apps.web.server import Server

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def web(
    model: Model = None,
    adapter: Adapter = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this computer's are open to all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port.")] = 7860,
    waiting: Annotated[int, typer.Option(min=1, help="Jobs that may wait.")] = 16,
    offload: Offload = False,
) -> None:
    """Open the page: subjects, layout, comparisons; and an API like OpenAI's for images."""
    if not all(map(importlib.util.find_spec, ("fastapi", "uvicorn", "python_multipart"))):
        raise ValueError("The page needs the extra web: install dynaip[web].")
    location = adapter_location(adapter, model)
    with _listen(host, port) as listener:
        server = _load(model, location, waiting, host, offload)
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"Open http://{shown}:{port} (Ctrl-C ends it).", err=True)
        if host not in LOOPBACK:
            typer.echo(
                "Everybody who reaches this address can use it; there is no login.", err=True
            )
        with contextlib.suppress(KeyboardInterrupt):
            server.handle_exit = _end_in_two(server.handle_exit)
            server.run([listener])


def _load(model: str | None, adapter: str, waiting: int, host: str, offload: bool) -> Server:
    weights = load_adapter(adapter)
    if weights.levels != len(LEVELS):
        raise ValueError(
            f"The page is about {', '.join(LEVELS)}, the levels of a reference, and the adapter "
            f"{adapter} has no such three; use `dynaip generate`."
        )
    pipe = load_model(model, offload)
    from dynaip.apps.web.drawing import Pencil
    from dynaip.apps.web.server import Server, make_app
    from dynaip.apps.web.studio import Studio
    from dynaip.pipeline.provenance import Origin

    personal = weights.to(pipe.device, pipe.dtype).attach(pipe, offload=offload)
    origin = Origin.read(model or miniature_folder(), adapter)
    studio = Studio(Pencil(personal, origin, previews=not offload), waiting)
    names = () if host in LOOPBACK else (host, socket.gethostname())
    return Server(make_app(studio, hosts=names), studio, log_level="warning")


def _end_in_two(end: Callable[..., None]) -> Callable[..., None]:
    """Ends well at the first Ctrl-C; a step at work cannot be interrupted but from outside."""
    asked = False

    def handle(*signal: Any) -> None:
        nonlocal asked
        if asked:
            os._exit(EXIT_CODE)
        asked = True
        typer.echo("Ending after the step at work; Ctrl-C again ends at once.", err=True)
        end(*signal)

    return handle


def _listen(host: str, port: int) -> socket.socket:
    """Takes the port before a model is loaded, which may take minutes."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ValueError(
            f"Nothing can listen at {host}, port {port} ({error.strerror}); give another --port "
            "or --host."
        ) from error
