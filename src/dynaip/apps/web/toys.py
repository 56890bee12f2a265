"""The toy maker: a reference drawn to order out of Toyland, for who has no picture at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image

from dynaip.apps.web.order import OrderError, check_names
from dynaip.miniature import toyland
from dynaip.miniature.toyland.spec import KIND_OF, LETTERS, PICTURE_SCENES, SPECIFIC

PIXELS = 160
FACTORS = {
    name: list(SPECIFIC[name])
    for name in ("category", "main_colour", "second_colour", "pattern", "mark")
}
SCENES = list(PICTURE_SCENES)
LONGEST_GLYPH = 2


def draw(values: Mapping[str, Any]) -> Image.Image:
    """A toy on white, seen from the front.

    Args:
        values: A value for each of `FACTORS`, and `glyph`, at most two capitals.

    Raises:
        OrderError: A value is not among those that the factor has.
    """
    check_names(values, {*FACTORS, "glyph"})
    chosen: dict[str, Any] = {}
    for name, choices in FACTORS.items():
        chosen[name] = values.get(name) or choices[0]
        if chosen[name] not in choices:
            raise OrderError(f"`{name}` is one of {', '.join(choices)}.", name)
    glyph = str(values.get("glyph") or "").upper()
    if len(glyph) > LONGEST_GLYPH or not set(glyph) <= set(LETTERS):
        raise OrderError("`glyph` is at most two letters from A to Z, without Q.", "glyph")
    concept = toyland.Concept(kind=KIND_OF[chosen["category"]], glyph=glyph, **chosen)
    spec = toyland.Spec(actors=(toyland.Actor(concept=concept),))
    return Image.fromarray(toyland.segment(spec, 0, PIXELS))


def examples() -> list[dict[str, Any]]:
    """Orders that the page offers, each a click away from a picture."""
    dog = _toy("dog", "red", "white", "stripes", "A")
    mug = _toy("mug", "blue", "yellow", "dots")
    robot = _toy("robot", "green", "orange", "checks", "R")
    return [
        {
            "title": "Two subjects, each in its half",
            "prompt": "a dog next to a mug on the beach",
            "seed": 7,
            "subjects": [{**dog, "box": [0, 0, 0.5, 1]}, {**mug, "box": [0.5, 0, 1, 1]}],
        },
        {
            "title": "DDS on, off, and own words",
            "prompt": "a toy jumps in the snow",
            "seed": 3,
            "subjects": [{**robot, "phrase": "toy"}],
            "compare": "branches",
        },
        {
            "title": "From colours to kind: granularity",
            "prompt": "a dog stands in the jungle",
            "seed": 5,
            "subjects": [dog],
            "compare": "granularity",
        },
    ]


def _toy(category: str, main: str, second: str, pattern: str, glyph: str = "") -> dict[str, Any]:
    toy = {"category": category, "main_colour": main, "second_colour": second}
    return {"name": f"{category}.png", "toy": {**toy, "pattern": pattern, "glyph": glyph}}
