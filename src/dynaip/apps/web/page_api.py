"""What the page asks for: jobs and how far they are, pictures, masks, the router, toys."""

from __future__ import annotations

import asyncio
import base64
from io import BytesIO
from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from PIL import Image

from dynaip.apps.web import toys
from dynaip.apps.web.drawing import Made
from dynaip.apps.web.order import Limits, read_cast, read_order
from dynaip.apps.web.reading import read_json
from dynaip.apps.web.studio import Job, Studio
from dynaip.apps.web.takes import compare, repeat

router = APIRouter(prefix="/api")


@router.get("/start")
def start(request: Request) -> dict[str, Any]:
    """What the page needs to draw itself."""
    studio: Studio = request.app.state.studio
    limits: Limits = request.app.state.limits
    height, width = studio.pencil.size(None, None)
    return {
        "model": studio.pencil.origin.model,
        "height": height,
        "width": width,
        "side": limits.side,
        "token": studio.pencil.token,
        "guidance": studio.pencil.guidance,
        "subjects": limits.subjects,
        "pictures": limits.pictures,
        "upload": limits.upload,
        "toys": toys.FACTORS,
        "scenes": toys.SCENES,
        "examples": toys.examples(),
    }


@router.post("/jobs", status_code=202)
async def submit(request: Request) -> dict[str, Any]:
    """Queues pictures: what `read_order` takes, and `compare` for a comparison.

    Answers with the job, and how many tokens of the prompt count where not all do.
    """
    studio: Studio = request.app.state.studio
    values = await read_json(request)
    by = values.pop("compare", None)
    order = await run_in_threadpool(read_order, values, request.app.state.limits)
    takes = repeat(order) if by is None else compare(order, by)
    tokens = studio.pencil.counted_tokens(order.prompt)
    return {"job": studio.submit(takes).key, "tokens": tokens}


@router.get("/jobs/{key}")
def look(request: Request, key: str) -> dict[str, Any]:
    """How far a job is, and its pictures so far."""
    studio: Studio = request.app.state.studio
    job = _job(studio, key)
    preview = job.preview
    return {
        "state": job.state,
        "stopping": job.cancelled.is_set(),
        "ahead": studio.ahead(job),
        "step": job.steps,
        "steps": job.total,
        "error": job.error,
        "preview": None if preview is None else _data_url(preview),
        "pictures": [_describe(made) for made in job.made],
    }


@router.delete("/jobs/{key}", status_code=204)
def cancel(request: Request, key: str) -> None:
    """Stops a job: after the step at work, or at once where it waits."""
    studio: Studio = request.app.state.studio
    studio.cancel(_job(studio, key))


@router.get("/pictures/{key}.png")
def picture(request: Request, key: str) -> Response:
    """A finished picture's file."""
    headers = {"Cache-Control": "private, max-age=3600"}
    return Response(_made(request, key).png, media_type="image/png", headers=headers)


@router.get("/pictures/{key}/references")
def references(request: Request, key: str) -> dict[str, list[str]]:
    """The files of a picture's references, as they came."""
    cast = _made(request, key).take.order.cast
    return {"references": [_as_url(each.file) for each in cast]}


@router.get("/pictures/{key}/attention")
async def attention(request: Request, key: str) -> dict[str, Any]:
    """Where each subject was used, on the token grid, see `Pencil.attention`."""
    made = _made(request, key)
    if not made.take.order.cast:
        raise HTTPException(400, "This picture has no subject.")
    studio: Studio = request.app.state.studio
    maps = await asyncio.wrap_future(studio.borrow(lambda pencil: pencil.attention(made)))
    return {"maps": np.round(maps, 3).tolist()}


@router.post("/masks")
async def masks(request: Request) -> dict[str, Any]:
    """The masks that the blocks would use, on the token grid."""
    values = await read_json(request)
    order = await run_in_threadpool(read_order, {"prompt": "-", **values}, request.app.state.limits)
    if not order.cast:
        return {"masks": []}
    used = await run_in_threadpool(request.app.state.studio.pencil.masks, order)
    return {"masks": np.round(used, 3).tolist()}


@router.post("/router")
async def route(request: Request) -> dict[str, Any]:
    """What the router gives a reference's levels, and how the encoder sees the reference."""
    values, limits = await read_json(request), request.app.state.limits
    cast = await run_in_threadpool(read_cast, values, limits)
    studio: Studio = request.app.state.studio
    answer = studio.glance(lambda pencil: pencil.route(cast.subject))
    weights, seen = await asyncio.wrap_future(answer)
    return {"coefficients": [round(value, 4) for value in weights], "seen": _data_url(seen)}


@router.post("/toys")
async def toy(request: Request) -> dict[str, str]:
    """A reference out of Toyland, as a file."""
    drawn = await run_in_threadpool(toys.draw, await read_json(request))
    return {"picture": _data_url(drawn)}


def _describe(made: Made) -> dict[str, Any]:
    return {
        "key": made.key,
        "label": made.take.label,
        "seconds": round(made.seconds, 2),
        "settings": made.settings.to_dict(),
    }


def _job(studio: Studio, key: str) -> Job:
    job = studio.find(key)
    if job is None:
        raise HTTPException(404, "There is no such job; it may have been forgotten.")
    return job


def _made(request: Request, key: str) -> Made:
    made = request.app.state.studio.find_picture(key)
    if made is None:
        raise HTTPException(404, "There is no such picture; it may have been forgotten.")
    return made


def _data_url(picture: Image.Image) -> str:
    content = BytesIO()
    picture.save(content, "PNG")
    return _as_url(content.getvalue(), "image/png")


def _as_url(content: bytes, kind: str = "application/octet-stream") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
