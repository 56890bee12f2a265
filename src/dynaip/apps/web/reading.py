"""JSON bodies, read by hand so that errors are ours."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from dynaip.apps.web.order import OrderError


async def read_json(request: Request) -> dict[str, Any]:
    """The object in a request's body.

    Raises:
        OrderError: The body says that it is something else, or is not one JSON object.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        raise OrderError("Send the request as application/json.")
    values = await run_in_threadpool(parse, await request.body(), "The body")
    if not isinstance(values, dict):
        raise OrderError("The body is one JSON object.")
    return values


def parse(text: bytes | str, name: str) -> Any:
    """The value of a JSON text.

    Args:
        text: The text.
        name: What errors call it.

    Raises:
        OrderError: It is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OrderError(f"{name} is not JSON.") from error
