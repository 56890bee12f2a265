"""`dynaip web`: the page and the HTTP API, on this computer."""

from __future__ import annotations

import importlib.util
from typing import Annotated

import typer

from dynaip.apps.cli.loading import adapter_location, load_adapter, load_model, miniature_folder

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def web(
    model: Annotated[
        str | None, typer.Option(help="A pipeline's folder or hub id; else the miniature.")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(help="An adapter's folder or hub id; else the model's own.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this computer's are open to all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port.")] = 7860,
    waiting: Annotated[int, typer.Option(min=1, help="Jobs that may wait.")] = 16,
) -> None:
    """Open the page: subjects, layout, comparisons; and an API like OpenAI's for images."""
    if not all(map(importlib.util.find_spec, ("fastapi", "uvicorn", "python_multipart"))):
        raise ValueError("The page needs the extra web: install dynaip[web].")
    location = adapter_location(adapter, model)
    weights = load_adapter(location)
    pipe = load_model(model)
    import uvicorn

    from dynaip.adapter.storage import WEIGHTS, locate
    from dynaip.apps.web.drawing import Model, Pencil
    from dynaip.apps.web.server import make_app
    from dynaip.apps.web.studio import Studio
    from dynaip.pipeline.provenance import file_sha256, public_name

    named = Model(
        public_name(model or miniature_folder()),
        public_name(location),
        file_sha256(locate(location) / WEIGHTS),
    )
    personal = weights.to(pipe.device, pipe.dtype).attach(pipe)
    studio = Studio(Pencil(personal, named), waiting)
    app = make_app(studio, hosts=() if host in LOOPBACK else ("*",))
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"Open http://{shown}:{port} (Ctrl-C ends it).", err=True)
    if host not in LOOPBACK:
        typer.echo("Everybody who reaches this address can use it; there is no login.", err=True)
    uvicorn.run(app, host=host, port=port, log_level="warning")
