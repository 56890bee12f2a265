"""`/v1/images/generations` and `/v1/images/edits` in the shape of OpenAI's images API.

Our own fields come beside theirs: `seed`, `steps`, `guidance`, `image_guidance`, `branches`,
`overlap`, `subjects`.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image
from starlette.datastructures import FormData, UploadFile

from dynaip.apps.web.order import Limits, Order, OrderError, read_order, read_upload
from dynaip.apps.web.reading import parse, read_json
from dynaip.apps.web.studio import Job, Studio
from dynaip.apps.web.takes import repeat

router = APIRouter(prefix="/v1")
# Their fields that have no meaning here, and that clients send all the same.
IGNORED = frozenset(
    {"model", "user", "quality", "style", "background", "moderation", "input_fidelity"}
)
# diffusers' names for ours.
OURS = {
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "image_guidance_scale": "image_guidance",
}
WHOLE = ("n", "seed", "steps", "num_inference_steps", "width", "height")
NUMBERS = ("guidance", "guidance_scale", "image_guidance", "image_guidance_scale")
LOOK_EVERY = 0.1  # seconds


@router.get("/models")
async def models(request: Request) -> dict[str, Any]:
    """The one model that is loaded."""
    name = request.app.state.studio.pencil.origin.model
    entry = {"id": name, "object": "model", "created": 0, "owned_by": "dynaip"}
    return {"object": "list", "data": [entry]}


@router.post("/images/generations")
async def generations(request: Request) -> dict[str, Any]:
    """Pictures from a prompt, and from `subjects` where there are any."""
    values = await read_json(request)
    order = await run_in_threadpool(_read, values, request.app.state.limits)
    return await _make(request, order)


@router.post("/images/edits")
async def edits(request: Request) -> dict[str, Any]:
    """Pictures of the references in `image`, one subject each, in their order.

    `mask` is theirs: where it is transparent, the first reference goes. `subjects` is JSON, a list
    of settings for each reference.
    """
    limits: Limits = request.app.state.limits
    async with request.form(
        max_files=2 * limits.subjects, max_fields=64, max_part_size=limits.upload
    ) as form:
        values = await _read_form(form, limits)
    order = await run_in_threadpool(_read, values, limits)
    return await _make(request, order)


def _read(values: Mapping[str, Any], limits: Limits) -> Order:
    """An order out of OpenAI's fields and ours."""
    values = {name: value for name, value in values.items() if value is not None}
    if values.pop("response_format", "b64_json") != "b64_json":
        raise OrderError(
            "Pictures are returned in the answer; set response_format to b64_json.",
            "response_format",
        )
    if values.pop("output_format", "png") != "png":
        raise OrderError("Pictures are PNG files; set output_format to png.", "output_format")
    if values.pop("stream", False):
        raise OrderError("Answers are not streamed; leave `stream` out.", "stream")
    size = values.pop("size", "auto")
    if size != "auto":
        values |= _read_size(size)
    for theirs, ours in OURS.items():
        if theirs in values and ours in values:
            raise OrderError(f"Give one of `{ours}` and `{theirs}`.", theirs)
    named = {OURS.get(name, name): value for name, value in values.items() if name not in IGNORED}
    return read_order(named, limits)


def _read_size(size: Any) -> dict[str, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(size))
    if match is None:
        raise OrderError('`size` is "auto" or like "1024x1024".', "size")
    return {"width": int(match[1]), "height": int(match[2])}


async def _read_form(form: FormData, limits: Limits) -> dict[str, Any]:
    """The fields of a form, as the JSON request would have them."""
    files = [*form.getlist("image"), *form.getlist("image[]")]
    if not files:
        raise OrderError("Send at least one reference as `image`.", "image")
    pictures = [await _read_part(file, "image", limits) for file in files]
    masks = [await _read_part(file, "mask", limits) for file in form.getlist("mask")]
    if len(masks) > 1:
        raise OrderError("There is one `mask`; say the others' in `subjects`.", "mask")
    values = {
        name: _read_field(name, value)
        for name, value in form.multi_items()
        if name not in ("image", "image[]", "mask")
    }
    entries = _read_entries(values.pop("subjects", "[]"), len(pictures))
    for entry, picture, file in zip(entries, pictures, files, strict=True):
        entry |= {"picture": picture, "name": entry.get("name", getattr(file, "filename", None))}
    for mask in masks:
        if "mask" in entries[0]:
            raise OrderError("The first subject has a mask of its own; leave one out.", "mask")
        entries[0]["mask"] = await run_in_threadpool(_invert_mask, mask, limits)
    return {**values, "subjects": entries}


def _read_entries(text: str, count: int) -> list[dict[str, Any]]:
    """What is said of each `image` beside it."""
    entries = parse(text, "`subjects`") or [{} for _ in range(count)]
    is_list = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
    if not is_list or len(entries) != count:
        raise OrderError("`subjects` is a JSON list of objects, one for each `image`.", "subjects")
    if any("picture" in entry for entry in entries):
        raise OrderError("Here the references are the files in `image`.", "picture")
    return entries


def _read_field(name: str, value: Any) -> Any:
    """Forms hold text only; numbers and the one boolean are told by their names."""
    if not isinstance(value, str):
        raise OrderError(f"`{name}` is no file.", name)
    if name == "stream":
        return value.lower() != "false"
    try:
        if name in WHOLE:
            return int(value)
        return float(value) if name in NUMBERS else value
    except ValueError as error:
        raise OrderError(f"`{name}` is a number.", name) from error


async def _read_part(part: UploadFile | str, field: str, limits: Limits) -> bytes:
    if isinstance(part, str):
        raise OrderError(f"`{field}` is a file; paths and URLs are not opened.", field)
    # One byte more than allowed is enough for `read_upload` to refuse it.
    return await part.read(limits.upload + 1)


def _invert_mask(content: bytes, limits: Limits) -> bytes:
    """OpenAI's masks are transparent where something may change, ours white where it goes."""
    picture = read_upload(content, "mask", limits)
    if not picture.has_transparency_data:
        raise OrderError("`mask` is transparent where the first reference goes.", "mask")
    alpha = picture.convert("RGBA").getchannel("A")
    alpha.thumbnail((limits.mask_side, limits.mask_side), Image.Resampling.BOX)
    encoded = BytesIO()
    Image.eval(alpha, lambda value: 255 - value).save(encoded, "PNG")
    return encoded.getvalue()


async def _make(request: Request, order: Order) -> dict[str, Any]:
    """Waits for the pictures as long as the client does."""
    studio: Studio = request.app.state.studio
    job = studio.submit(repeat(order))
    try:
        while not job.finished.is_set():
            studio.find(job.key)
            if await request.is_disconnected():
                raise HTTPException(499, "The client went away.")
            await asyncio.sleep(LOOK_EVERY)
    finally:
        studio.drop(job)
    if job.state == "refused":
        raise OrderError(job.error or "")
    if job.state == "failed":
        raise HTTPException(500, job.error)
    if job.state != "done":
        raise HTTPException(503, "The server is closing; try again later.")
    return _answer(job)


def _answer(job: Job) -> dict[str, Any]:
    data = [
        {
            "b64_json": base64.b64encode(made.png).decode("ascii"),
            "revised_prompt": None,
            "settings": made.settings.to_dict(),
        }
        for made in job.made
    ]
    return {"created": int(time.time()), "data": data}
