"""What a picture of Toyland is: frozen values that say everything about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

KINDS: dict[str, tuple[str, ...]] = {
    "living": ("dog", "cat", "duck"),
    "object": ("mug", "teapot", "armchair"),
    "human": ("woman", "man", "child"),
    "character": ("robot", "monster", "wizard"),
    "upwearing": ("cap", "helmet", "hat"),
    "midwearing": ("shirt", "jacket", "hoodie"),
    "wholewearing": ("dress", "overalls", "coat"),
    "downwearing": ("trousers", "skirt", "boots"),
}
"""The paper's eight kinds of subject (Table 3), three categories each."""

KIND_OF: dict[str, str] = {
    category: kind for kind, categories in KINDS.items() for category in categories
}
CATEGORIES = tuple(KIND_OF)
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
LETTERS = "ABCDEFGHIJKLMNOPRSTUVWXYZ"
PICTURE_SCENES = ("room", "snow", "jungle", "beach", "grass", "street")
REFERENCE_SCENE = "white"
ACTIONS = ("next to", "in front of", "on top of", "wearing")

SPECIFIC: dict[str, tuple[str, ...]] = {
    "category": CATEGORIES,
    "main_colour": COLOURS,
    "second_colour": (*COLOURS, "white", "black"),
    "pattern": ("plain", "stripes", "dots", "checks", "zigzag", "patches"),
    "pattern_scale": ("fine", "coarse"),
    "glyph": ("", *LETTERS),
    "mark": ("none", "star", "heart", "cross", "ring"),
}
"""Concept-specific factors: what makes this dog *this* dog."""

AGNOSTIC: dict[str, tuple[str, ...]] = {
    "facing": ("left", "front", "right"),
    "posture": ("standing", "lying", "jumping"),
    "position": ("left", "middle", "right"),
    "scene": PICTURE_SCENES,
    "light": ("left", "right", "above", "below"),
    "light_colour": ("white", "warm", "cool", "pink"),
    "style": ("book", "ink", "pastel", "cutout"),
}
"""Concept-agnostic factors: what a reference picture must not pass on."""

FACTORS: dict[str, tuple[str, ...]] = {**SPECIFIC, **AGNOSTIC}

ABSENT = {"glyph": "", "mark": "none"}
"""Values that say a detail is not there: no caption names them."""


@dataclass(frozen=True, kw_only=True)
class Concept:
    """One subject's identity: everything a personalised picture has to keep.

    `proportions` are body width, head or top size, and limb or handle length, each in [0, 1];
    `pattern_direction` is in degrees; `shade` moves the two colours within their names, each
    number in [-1, 1]; `glyph` is empty or a string of capitals out of `LETTERS`.
    """

    kind: str
    category: str
    main_colour: str
    second_colour: str
    pattern: str = "plain"
    pattern_scale: str = "coarse"
    pattern_direction: float = 0.0
    proportions: tuple[float, float, float] = (0.5, 0.5, 0.5)
    glyph: str = ""
    mark: str = "none"
    shade: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class View:
    """How a subject is seen: `size` in picture heights, `x` and `y` its centre in [0, 1].

    The centre and the size are those of the square box in which the upright subject is drawn;
    `tilt` is in degrees, clockwise.
    """

    facing: str = "front"
    posture: str = "standing"
    tilt: float = 0.0
    size: float = 0.6
    x: float = 0.5
    y: float = 0.55
    position: str = "middle"


@dataclass(frozen=True, kw_only=True)
class Light:
    """Where the light comes from and what colour it has."""

    direction: str = "above"
    colour: str = "white"


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A concept in a view."""

    concept: Concept
    view: View = field(default_factory=View)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A whole picture: one to three actors in a scene; later actors are drawn over earlier ones.

    `action` is None for one actor, otherwise one of `ACTIONS`. Under "wearing" the first actor
    wears the others.
    """

    actors: tuple[Actor, ...]
    scene: str = REFERENCE_SCENE
    scene_seed: int = 0
    light: Light = field(default_factory=Light)
    style: str = "book"
    action: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Spec:
        """The spec that `to_dict` wrote, also after a trip through JSON."""
        actors = tuple(
            Actor(
                concept=Concept(
                    **{
                        **actor["concept"],
                        "proportions": tuple(actor["concept"]["proportions"]),
                        "shade": tuple(actor["concept"]["shade"]),
                    }
                ),
                view=View(**actor["view"]),
            )
            for actor in values["actors"]
        )
        return cls(**{**values, "actors": actors, "light": Light(**values["light"])})


def factor_values(spec: Spec, subject: int = 0) -> dict[str, str]:
    """The value of every factor of one subject and its picture."""
    actor = spec.actors[subject]
    return {
        **{name: getattr(actor.concept, name) for name in SPECIFIC},
        **{name: getattr(actor.view, name) for name in ("facing", "posture", "position")},
        "scene": spec.scene,
        "light": spec.light.direction,
        "light_colour": spec.light.colour,
        "style": spec.style,
    }
