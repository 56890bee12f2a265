"""What a client may ask for, checked before any work is done.

Pictures come as bytes inside the request. No path and no URL from a client is ever opened.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NoReturn

from dynaip.adapter.attention import OVERLAPS, Overlap
from dynaip.adapter.config import BRANCHES, Branches
from dynaip.pictures import decode_picture, square
from dynaip.pipeline.phrases import have_phrases
from dynaip.pipeline.placing import PLACES, write_box
from dynaip.pipeline.provenance import PAINTED
from dynaip.pipeline.subject import Subject

if TYPE_CHECKING:
    from PIL import Image

LARGEST_SEED = 2**32 - 1
UNNAMED = "reference.png"
LARGEST = 1e6  # of any number; leaves out infinities, too


class OrderError(ValueError):
    """A request asks for what cannot be made.

    Attributes:
        field: The request's field that is wrong, where it is one.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


@dataclasses.dataclass(frozen=True)
class Limits:
    """The most that one request may ask for.

    Attributes:
        body: Bytes of a request.
        upload: Bytes of one picture.
        upload_pixels: Pixels of one picture.
        mask: Bytes of a mask, which is kept in the settings of its pictures.
        mask_side: Pixels of a mask's longer side.
        reference: Pixels of the square that a reference is kept as, the image encoder's own.
        subjects: Of one picture.
        pictures: Of one request.
        steps: Denoising steps.
        prompt: Characters.
        side: Pixels of a made picture's longer side; the server's is twice the model's own.
    """

    body: int = 48 * 2**20
    upload: int = 10 * 2**20
    upload_pixels: int = 24_000_000
    mask: int = 2**18
    mask_side: int = 512
    reference: int = 1024
    subjects: int = 6
    pictures: int = 8
    steps: int = 100
    prompt: int = 2000
    side: int = 2048


@dataclasses.dataclass(frozen=True, eq=False)
class Cast:
    """One subject of an order.

    Attributes:
        name: Its file's name, without folders.
        file: Its file's bytes, as they came.
        subject: Its picture, strength, time and place.
        place: Where it is, as provenance records it; nothing for everywhere.
    """

    name: str
    file: bytes
    subject: Subject
    place: str | None

    @property
    def sha256(self) -> str:
        """Of its file."""
        return hashlib.sha256(self.file).hexdigest()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Order:
    """One or several pictures of one cast, from one prompt.

    Attributes:
        prompt, steps, guidance, image_guidance, branches, overlap: As `dynaip generate` has them.
        seed: Of the first picture; the others count up.
        n: How many pictures.
        width, height: In pixels; nothing is the model's own size.
        cast: The subjects.
    """

    prompt: str
    seed: int
    steps: int = 20
    guidance: float | None = None
    image_guidance: float = 1.0
    branches: Branches = "image"
    overlap: Overlap = "sum"
    n: int = 1
    width: int | None = None
    height: int | None = None
    cast: tuple[Cast, ...] = ()


def read_order(values: Mapping[str, Any], limits: Limits) -> Order:
    """An order out of a request's JSON.

    Args:
        values: `prompt`, and any of `seed`, `steps`, `guidance`, `image_guidance`, `branches`,
            `overlap`, `n`, `width`, `height` and `subjects`, a list of what `read_cast` takes.
        limits: The most it may ask for.

    Raises:
        OrderError: A field is unknown, missing, of the wrong kind, or over a limit.
    """
    known = {field.name for field in dataclasses.fields(Order)} - {"cast"} | {"subjects"}
    check_names(values, known)
    prompt = _text(values, "prompt").strip()
    if not prompt:
        raise OrderError("Say in `prompt` what the picture shows.", "prompt")
    if len(prompt) > limits.prompt:
        raise OrderError(f"A prompt has at most {limits.prompt} characters.", "prompt")
    subjects = values.get("subjects")
    subjects = [] if subjects is None else subjects
    if not isinstance(subjects, list):
        raise OrderError("`subjects` is a list, one entry for each subject.", "subjects")
    if len(subjects) > limits.subjects:
        raise OrderError(f"A picture has at most {limits.subjects} subjects.", "subjects")
    n = _whole(values, "n", 1, 1, limits.pictures)
    seed = _whole(values, "seed", None, 0, LARGEST_SEED - n)
    cast = tuple(read_cast(value, limits) for value in subjects)
    phrased = have_phrases([[each.subject for each in cast]])
    usual: Branches = "both" if phrased else "image"
    if phrased and values.get("branches") == "image":
        raise OrderError(
            "With `branches` image no word sees a reference; leave that or the phrases out.",
            "branches",
        )
    image_guidance = _number(values, "image_guidance", 1.0, 1, 100)
    if image_guidance != 1 and not cast:
        raise OrderError(
            "Image guidance is about references; add a subject, or set it to 1.", "image_guidance"
        )
    return Order(
        prompt=prompt,
        seed=secrets.randbelow(LARGEST_SEED - n) if seed is None else seed,
        n=n,
        steps=_whole(values, "steps", 20, 1, limits.steps),
        guidance=_number(values, "guidance", None, 0, 100),
        image_guidance=image_guidance,
        branches=usual if values.get("branches") is None else _choice(values, "branches", BRANCHES),
        overlap=_choice(values, "overlap", OVERLAPS),
        width=_whole(values, "width", None, 16, limits.side),
        height=_whole(values, "height", None, 16, limits.side),
        cast=cast,
    )


def read_cast(values: Any, limits: Limits) -> Cast:
    """A subject out of a request's JSON.

    Args:
        values: `picture` (a file, see `read_file`), and any of `name`, `scale`, `start`, `end`,
            `phrase`, `granularity` (three numbers), and one of `box` (four fractions), `place`
            (`left`, `middle`, `right`) and `mask` (a picture, as `picture`).
        limits: The most it may ask for.

    Raises:
        OrderError: A field is unknown, missing, of the wrong kind, or over a limit.
    """
    if not isinstance(values, Mapping):
        raise OrderError("Each of `subjects` is an object with a `picture`.", "subjects")
    places = {"box", "place", "mask"}
    told = {"picture", "name", "scale", "start", "end", "granularity", "phrase"}
    check_names(values, told | places)
    content = read_file(values.get("picture"), "picture", limits)
    mask, place = _read_place(values, limits)
    picture = square(read_upload(content, "picture", limits), limits.reference)
    weights = values.get("granularity")
    options = {
        "mask": mask,
        "scale": _number(values, "scale", 1.0, 0, 10),
        "granularity": None if weights is None else _numbers(weights, 3, "granularity"),
        "start": _number(values, "start", 0.0, 0, 1),
        "end": _number(values, "end", 1.0, 0, 1),
        "phrase": _read_phrase(values, limits),
    }
    try:
        subject = Subject(picture, **options)
    except ValueError as error:
        raise OrderError(str(error), "subjects") from error
    name = PurePath(_text(values, "name").replace("\\", "/")).name[:100]
    return Cast(name or UNNAMED, content, subject, place)


def _read_phrase(values: Mapping[str, Any], limits: Limits) -> str | None:
    phrase = _text(values, "phrase").strip()
    if len(phrase) > limits.prompt:
        raise OrderError(f"A phrase has at most {limits.prompt} characters.", "phrase")
    return phrase or None


def read_file(value: Any, field: str, limits: Limits) -> bytes:
    """A file's bytes: as they are, out of a form, or out of base64 or a base64 data URL.

    Raises:
        OrderError: It is none of these, or over the limit.
    """
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str) or not value:
        raise OrderError(f"`{field}` is a picture file's bytes in base64.", field)
    if value.startswith("data:"):
        value = value.partition(",")[2]
    if len(value) > limits.upload * 4 // 3 + 4:
        _too_large(field, limits)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise OrderError(
            f"`{field}` is not base64; send the file's bytes, paths and URLs are not opened.", field
        ) from error


def read_upload(content: bytes, field: str, limits: Limits) -> Image.Image:
    """The picture in a file that a client sent.

    Raises:
        OrderError: It is no picture, broken, or over a limit.
    """
    if len(content) > limits.upload:
        _too_large(field, limits)
    try:
        picture = decode_picture(content, f"`{field}`", limits.upload_pixels)
    except ValueError as error:
        raise OrderError(str(error), field) from error
    return picture


def _too_large(field: str, limits: Limits) -> NoReturn:
    raise OrderError(f"`{field}` has more than {limits.upload >> 20} MiB; make it smaller.", field)


def _read_place(values: Mapping[str, Any], limits: Limits) -> tuple[Any, str | None]:
    given = [name for name in ("box", "place", "mask") if values.get(name) is not None]
    if not given:
        return None, None
    if len(given) > 1:
        raise OrderError("Give one of `box`, `place` and `mask` for a subject.", given[1])
    value = values[given[0]]
    if given == ["place"]:
        if value not in PLACES:
            raise OrderError(f"`place` is one of {', '.join(PLACES)}.", "place")
        return value, value
    if given == ["box"]:
        box = _numbers(value, 4, "box")
        return box, write_box(box)
    content = read_file(value, "mask", limits)
    too_large = OrderError(
        f"A mask has at most {limits.mask_side} pixels a side and {limits.mask >> 10} KiB.", "mask"
    )
    if len(content) > limits.mask:
        raise too_large
    mask = read_upload(content, "mask", limits)
    if max(mask.size) > limits.mask_side:
        raise too_large
    return mask, PAINTED + base64.b64encode(content).decode("ascii")


def _numbers(value: Any, count: int, field: str) -> tuple[float, ...]:
    if (
        not isinstance(value, list)
        or len(value) != count
        or not all(isinstance(v, int | float) and abs(v) < LARGEST for v in value)
    ):
        raise OrderError(f"`{field}` is a list of {count} numbers.", field)
    return tuple(float(number) for number in value)


def _number(
    values: Mapping[str, Any], field: str, default: float | None, low: float, high: float
) -> Any:
    value = values.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise OrderError(f"`{field}` is a number from {low:g} to {high:g}.", field)
    return float(value)


def _whole(values: Mapping[str, Any], field: str, default: int | None, low: int, high: int) -> Any:
    value = values.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise OrderError(f"`{field}` is a whole number from {low} to {high}.", field)
    return value


def _choice(values: Mapping[str, Any], field: str, names: Sequence[str]) -> Any:
    value = values.get(field)
    if value is None:
        return names[0]
    if value not in names:
        raise OrderError(f"`{field}` is one of {', '.join(names)}.", field)
    return value


def _text(values: Mapping[str, Any], field: str) -> str:
    value = values.get(field)
    if value is None:
        return ""
    # JSON can hold halves of characters, which neither a tokenizer nor a file takes.
    if not isinstance(value, str) or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise OrderError(f"`{field}` is text.", field)
    return value


def check_names(values: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuses what is not among the known fields.

    Raises:
        OrderError: Such a field is there.
    """
    for name in values:
        if name not in known:
            shown = name[:64].encode(errors="replace").decode()
            raise OrderError(f"There is no field `{shown}`.", shown)
