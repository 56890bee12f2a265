"""`/v1/images/generations` and `/v1/images/edits` in the shape of OpenAI's images API.

Our own fields come beside theirs: `seed`, `steps`, `guidance`, `branches`, `overlap`, `subjects`.
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
from dynaip.apps.web.reading import parse_object, read_json
from dynaip.apps.web.studio import Job, Studio
from dynaip.apps.web.takes import repeat

router = APIRouter(prefix="/v1")
# Their fields that have no meaning here, and that clients send all the same.
IGNORED = frozenset(
    {"model", "user", "quality", "style", "background", "moderation", "input_fidelity"}
)
OURS = {"num_inference_steps": "steps", "guidance_scale": "guidance", "n": "number"}
WHOLE = ("n", "seed", "steps", "num_inference_steps")
NUMBERS = ("guidance", "guidance_scale")
LOOK_EVERY = 0.1  # seconds


@router.get("/models")
async def models(request: Request) -> dict[str, Any]:
    """The one model that is loaded."""
    name = request.app.state.studio.pencil.model.name
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
    named = {OURS.get(name, name): value for name, value in values.items() if name not in IGNORED}
    return read_order(named, limits)


def _read_size(size: Any) -> dict[str, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(size))
    if match is None:
        raise OrderError('`size` is "auto" or like "1024x1024".', "size")
    return {"width": int(match[1]), "height": int(match[2])}


async def _read_form(form: FormData, limits: Limits) -> dict[str, Any]:
    """The fields of a form, as the JSON request would have them."""
    values: dict[str, Any] = {}
    files: list[UploadFile] = []
    for name, value in form.multi_items():
        if name in ("image", "image[]"):
            if isinstance(value, str):
                raise OrderError("`image` is a file; paths and URLs are not opened.", "image")
            files.append(value)
        elif name != "mask":
            values[name] = _read_field(name, value)
    if not files:
        raise OrderError("Send at least one reference as `image`.", "image")
    if len(files) > limits.subjects:
        raise OrderError(f"A picture has at most {limits.subjects} subjects.", "image")
    subjects = parse_object(f'{{"subjects": {values.pop("subjects", "[]")}}}')["subjects"]
    if not isinstance(subjects, list) or len(subjects) not in (0, len(files)):
        raise OrderError("`subjects` is a JSON list, one entry for each `image`.", "subjects")
    entries = [dict(entry) if isinstance(entry, dict) else {} for entry in subjects]
    entries = entries or [{} for _ in files]
    for entry, file in zip(entries, files, strict=True):
        entry["picture"] = await _base64_of(file, "image", limits)
        entry.setdefault("name", file.filename or "reference.png")
    mask = form.get("mask")
    if mask is not None:
        if isinstance(mask, str):
            raise OrderError("`mask` is a file; paths and URLs are not opened.", "mask")
        content = base64.b64decode(await _base64_of(mask, "mask", limits))
        entries[0]["mask"] = await run_in_threadpool(_invert_mask, content, limits)
    return {**values, "subjects": entries}


def _read_field(name: str, value: Any) -> Any:
    """Forms hold text only; numbers are told by their names."""
    if not isinstance(value, str):
        raise OrderError(f"`{name}` is no file.", name)
    try:
        if name in WHOLE:
            return int(value)
        return float(value) if name in NUMBERS else value
    except ValueError as error:
        raise OrderError(f"`{name}` is a number.", name) from error


async def _base64_of(file: UploadFile, field: str, limits: Limits) -> str:
    content = await file.read(limits.upload + 1)
    if len(content) > limits.upload:
        raise OrderError(f"`{field}` has more than {limits.upload >> 20} MiB.", field)
    return base64.b64encode(content).decode("ascii")


def _invert_mask(content: bytes, limits: Limits) -> str:
    """OpenAI's masks are transparent where something may change, ours white where it goes."""
    picture = read_upload(content, "mask", limits)
    if not picture.has_transparency_data:
        raise OrderError("`mask` is transparent where the first reference goes.", "mask")
    alpha = picture.convert("RGBA").getchannel("A")
    alpha.thumbnail((limits.mask_side, limits.mask_side), Image.Resampling.BOX)
    encoded = BytesIO()
    Image.eval(alpha, lambda value: 255 - value).save(encoded, "PNG")
    return base64.b64encode(encoded.getvalue()).decode("ascii")


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
        job.cancelled.set()
    if job.error is not None:
        raise OrderError(job.error)
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
