"""JSON bodies, read by hand so that errors are ours and numbers are finite."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request

from dynaip.apps.web.order import OrderError


async def read_json(request: Request) -> dict[str, Any]:
    """The object in a request's body.

    Raises:
        OrderError: The body says that it is something else, or is not one JSON object.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        raise OrderError("Send the request as application/json.")
    return parse_object(await request.body())


def parse_object(text: bytes | str) -> dict[str, Any]:
    """One JSON object.

    Raises:
        OrderError: It is not one.
    """
    try:
        values = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise OrderError("The body is not JSON.") from error
    if not isinstance(values, dict):
        raise OrderError("The body is one JSON object.")
    return values


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
