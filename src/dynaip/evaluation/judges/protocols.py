"""How a judge is asked: protocols as values."""

from __future__ import annotations

import base64
import dataclasses
from io import BytesIO
from typing import Literal

from PIL import Image

from dynaip.evaluation.judges.answers import Reading
from dynaip.pictures import on_white

Encoding = Literal["jpeg-512", "png-native"]
SQUEEZED = (512, 512)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """A way of judging.

    Attributes:
        name: In tables and files.
        judges: Models that it is made for; `--judge` says otherwise.
        official: Whether it is DreamBench++'s own, with its rubrics, and pictures in high detail.
        encoding: How pictures are sent. `"jpeg-512"` is DreamBench++'s: squeezed to 512 pixels
            square, JPEG of quality 75. `"png-native"` sends every pixel.
        temperature: Of the answers.
        repeats: How often everything is asked.
        reading: How lenient the answers are read.
        expected: Whether the score is the mean over the score token's probabilities.
        max_tokens: Longest answer.
    """

    name: str
    judges: tuple[str, ...]
    official: bool = False
    encoding: Encoding = "jpeg-512"
    temperature: float = 0.0
    repeats: int = 1
    reading: Reading = "tolerant"
    expected: bool = False
    max_tokens: int = 512


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        # The paper names the judges and DreamBench++'s rubrics, but neither temperature, size nor
        # repeats (Section 5.1): those are DreamBench++'s size, and greedy answers.
        Protocol(name="dynaip", judges=("OpenGVLab/InternVL3-78B", "Qwen/Qwen3-VL-32B-Instruct")),
        Protocol(
            name="dreambenchpp",
            judges=("gpt-4o-2024-05-13",),
            official=True,
            temperature=1.0,
            repeats=3,
            reading="faithful",
        ),
        Protocol(
            name="strict",
            judges=("OpenGVLab/InternVL3-78B", "Qwen/Qwen3-VL-32B-Instruct"),
            encoding="png-native",
            expected=True,
        ),
    )
}


def get_protocol(name: str) -> Protocol:
    """A protocol by its name.

    Raises:
        ValueError: There is none.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"The protocols are {', '.join(PROTOCOLS)}; got {name!r}.")
    return PROTOCOLS[name]


def encode_picture(picture: Image.Image, encoding: Encoding) -> str:
    """A picture as a data URL, exactly the bytes that the judge is sent."""
    picture = on_white(picture)
    content = BytesIO()
    if encoding == "jpeg-512":
        picture.resize(SQUEEZED, Image.Resampling.BICUBIC).save(content, "JPEG", quality=75)
        kind = "jpeg"
    else:
        picture.save(content, "PNG")
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
