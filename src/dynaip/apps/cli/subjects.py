"""What the command line says about references: files, places, strengths, times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynaip.adapter.choices import check_granularity, check_phrase, check_window
from dynaip.pipeline.strength import check_scale

if TYPE_CHECKING:
    from dynaip.pipeline.subject import Subject

CARD = ".safetensors"


def read_subjects(
    references: Sequence[Path],
    scales: Sequence[float],
    granularities: Sequence[str],
    masks: Sequence[str] = (),
    starts: Sequence[float] = (),
    ends: Sequence[float] = (),
    phrases: Sequence[str] = (),
) -> list[Subject]:
    """One subject per reference, all of them checked and decoded before a model is loaded.

    Raises:
        ValueError: A picture cannot be used, or the options do not fit the references.
    """
    if not references:
        return []
    from dynaip.pictures import open_picture

    count = len(references)
    weights = [parse_granularity(g) for g in _for_each("--granularity", granularities, count, None)]
    scales = _for_each("--scale", scales, count, 1.0)
    starts = _for_each("--start", starts, count, 0.0)
    ends = _for_each("--end", ends, count, 1.0)
    if len(phrases) not in (0, count):
        raise ValueError(
            f"--phrase was given {len(phrases)} time(s) for {count} reference(s); give it once for "
            'each, in their order, "" for one that the prompt does not name.'
        )
    named = [phrase or None for phrase in phrases or [None] * count]
    # Subjects check this, too, but it takes seconds to make one: most slips are told at once.
    for scale in scales:
        check_scale(scale)
    for window in zip(starts, ends, strict=True):
        check_window(*window)
    for phrase in named:
        check_phrase(phrase)
    pictures = [None if path.suffix == CARD else open_picture(path) for path in references]
    options = zip(
        references,
        pictures,
        scales,
        weights,
        _read_masks(masks, count),
        starts,
        ends,
        named,
        strict=True,
    )
    from dynaip.adapter.card import SubjectCard
    from dynaip.pipeline.subject import Subject

    return [
        Subject(
            SubjectCard.load(path) if picture is None else picture,
            mask=mask,
            scale=scale,
            granularity=granularity,
            start=start,
            end=end,
            phrase=phrase,
        )
        for path, picture, scale, granularity, mask, start, end, phrase in options
    ]


def split_subjects(texts: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Files and places of `file@place`; a place is empty where none was said.

    A file whose own name has the sign is found by being there.
    """
    parts = [_split(text) for text in texts]
    return [file for file, _ in parts], [place for _, place in parts]


def _split(text: str) -> tuple[Path, str]:
    file, sign, place = text.rpartition("@")
    if not sign or Path(text).is_file():
        return Path(text), ""
    return Path(file), place


def _read_masks(masks: Sequence[str], count: int) -> Sequence[Any]:
    """One mask for each reference, or a layout for all of them."""
    from dynaip.pipeline.placing import LAYOUTS, name_places

    if len(masks) == 1 and masks[0] in LAYOUTS:
        return name_places(masks[0], count)
    if len(masks) not in (0, count):
        raise ValueError(
            f"--mask was given {len(masks)} times for {count} reference(s); give one for each, or "
            f"{' or '.join(LAYOUTS)} once."
        )
    return [_read_mask(mask) for mask in masks] or [None] * count


def _read_mask(text: str) -> Any:
    """A place's name, a box or a picture; nothing for everywhere."""
    from dynaip.pictures import open_picture
    from dynaip.pipeline.placing import PLACES

    if text in ("", *PLACES):
        return text or None
    if box := _parse_box(text):
        return box
    if not Path(text).is_file():
        raise ValueError(
            f"A subject's place is {', '.join(PLACES)}, a box left,top,right,bottom in fractions, "
            f"or a picture; {text!r} is none of them, and no picture file."
        )
    return open_picture(text)


def _parse_box(text: str) -> tuple[float, ...] | None:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        return None


def _for_each(option: str, values: Sequence[Any], count: int, default: Any) -> Sequence[Any]:
    if len(values) not in (0, 1, count):
        raise ValueError(
            f"{option} was given {len(values)} times for {count} reference(s); give it once for "
            "all of them, or once for each."
        )
    return values if len(values) == count else [*values, default][:1] * count


def parse_granularity(text: str | None) -> list[float] | None:
    """Three numbers with commas; nothing leaves them to the router.

    Raises:
        ValueError: They are no numbers, or not such weights.
    """
    if text is None:
        return None
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(
            f"--granularity is three numbers with commas, such as 0.2,0.3,0.5; got {text!r}."
        ) from error
    check_granularity(weights)
    return weights
