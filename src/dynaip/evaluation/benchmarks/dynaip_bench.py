"""DynaIP-Bench (Section 5.1, B.1, Table 3): several subjects, 14 types of combination.

The authors published the templates and the totals, 642 samples of two subjects and 246 of three,
but neither the subjects nor the draw. So there is no *the* DynaIP-Bench: a manifest is drawn from
pools that the user names, and every choice that the paper leaves open is a field of its settings.
642 = 6 x 107 and 246 = 6 x 41: tuples of subjects, each under all six prompts of its type.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dynaip.evaluation.benchmarks.manifest import Box, Case, CaseSubject, Manifest
from dynaip.pictures import ENDINGS

REVISION = 1
KINDS = (
    "living", "object", "human", "character",
    "upwearing", "midwearing", "wholewearing", "downwearing",
)  # fmt: skip

SCENES = (
    "in a room", "in the snow", "in the jungle",
    "on the beach", "on the grass", "on a cobblestone street",
)  # fmt: skip
TWO_ACT = (
    "embracing", "are sitting on the sofa", "are eating noodles",
    "are shaking hands", "are fighting", "are walking on the street",
)  # fmt: skip
THREE_ACT = (
    "are sitting on the sofa", "are eating noodles", "are fighting",
    "are walking on the street", "are taking a photo together", "are playing football",
)  # fmt: skip

Mode = Literal["verbatim", "grammatical"]


class Combination(NamedTuple):
    """A row of Table 3.

    Attributes:
        kinds: Data types of the subjects, in the order of the template.
        variations: What stands for [P].
    """

    kinds: tuple[str, ...]
    variations: tuple[str, ...]

    @property
    def name(self) -> str:
        """As the table writes it."""
        return "+".join(self.kinds)

    @property
    def wears(self) -> bool:
        """Whether clothes are worn rather than stood beside."""
        return self.kinds[-1].endswith("wearing")


COMBINATIONS: tuple[Combination, ...] = (
    *(
        Combination(kinds, SCENES)
        for kinds in (("living", "living"), ("living", "object"), ("object", "object"))
    ),
    *(
        Combination(kinds, TWO_ACT)
        for kinds in (("human", "human"), ("human", "character"), ("character", "character"))
    ),
    Combination(("living", "upwearing"), SCENES),
    Combination(("living", "midwearing"), SCENES),
    Combination(("living", "wholewearing"), SCENES),
    Combination(("midwearing", "downwearing"), SCENES),
    Combination(("living", "living", "living"), SCENES),
    Combination(("object", "object", "object"), SCENES),
    Combination(("human", "human", "character"), THREE_ACT),
    Combination(("upwearing", "midwearing", "downwearing"), SCENES),
)

# Where subjects side by side go, and where clothes go on somebody in the middle. Those of two are
# published (MS-Bench); the others are ours.
SIDE_BY_SIDE: dict[int, tuple[Box, ...]] = {
    2: ((0.0, 0.25, 0.5, 0.75), (0.5, 0.25, 1.0, 0.75)),
    3: ((0.0, 0.25, 1 / 3, 0.75), (1 / 3, 0.25, 2 / 3, 0.75), (2 / 3, 0.25, 1.0, 0.75)),
}
WORN: dict[str, Box] = {
    "living": (0.2, 0.1, 0.8, 0.95),
    "upwearing": (0.3, 0.05, 0.7, 0.3),
    "midwearing": (0.25, 0.35, 0.75, 0.65),
    "wholewearing": (0.25, 0.35, 0.75, 0.95),
    "downwearing": (0.25, 0.65, 0.75, 0.95),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoolSubject:
    """A subject that may be drawn.

    Attributes:
        name: What a prompt calls it, a noun.
        references: Its pictures.
        truth: For rendered worlds, what is known of it.
    """

    name: str
    references: tuple[Path, ...]
    truth: Mapping[str, Any] | None = None


Pools = Mapping[str, Sequence[PoolSubject]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """What the paper leaves open.

    Attributes:
        seed: Of the draw of subjects, and the first of the pictures' seeds.
        pairs, triples: Tuples of two and of three subjects in all, spread evenly over their types;
            where they do not divide, the first types of Table 3 have one more.
        prompts: How many of a type's six prompts each tuple is shown under.
        pictures: Pictures per prompt.
        mode: `"verbatim"` keeps Table 3's wording, "on the middle" and all; `"grammatical"` mends
            articles, plurals and verbs.
        equal_nouns: Whether two subjects of a tuple may share their noun. "A dog and a dog, dog on
            the left" says nothing.
        boxes: Whether subjects are given preset boxes.
        overlap: What a method should do where boxes meet, as clothes meet who wears them;
            Equation 9 sums.
    """

    seed: int = 0
    pairs: int = 107
    triples: int = 41
    prompts: int = 6
    pictures: int = 1
    mode: Mode = "verbatim"
    equal_nouns: bool = False
    boxes: bool = True
    overlap: str = "sum"

    def __post_init__(self) -> None:
        if min(self.pairs, self.triples) < 0 or self.pairs + self.triples < 1:
            raise ValueError("A benchmark needs at least one tuple of two or three subjects.")
        if not 1 <= self.prompts <= 6 or self.pictures < 1:
            raise ValueError("prompts is 1 to 6 and pictures is at least 1.")
        if self.mode not in ("verbatim", "grammatical"):
            raise ValueError(f"mode is verbatim or grammatical, got {self.mode!r}.")
        if self.overlap not in ("sum", "normalise", "priority"):
            raise ValueError(f"overlap is sum, normalise or priority, got {self.overlap!r}.")


def build_manifest(pools: Pools, settings: BenchSettings, name: str = "dynaip-bench") -> Manifest:
    """Draws a manifest: the same pools and settings give the same one.

    Raises:
        ValueError: A pool is missing or too small for its share of tuples; the sentence says which.
    """
    rng = np.random.default_rng(settings.seed)
    cases: list[Case] = []
    allocation = allocate(settings)
    for combination in COMBINATIONS:
        tuples = _draw(rng, pools, combination, allocation[combination.name], settings)
        for number, subjects in enumerate(tuples):
            for prompt in range(settings.prompts):
                first = settings.seed + len(cases) * settings.pictures
                seeds = tuple(range(first, first + settings.pictures))
                cases.append(_case(combination, number, prompt, subjects, seeds, settings))
    values = {
        **dataclasses.asdict(settings),
        "revision": REVISION,
        "allocation": allocation,
        "pools": {kind: len(pools.get(kind, ())) for kind in KINDS},
    }
    return Manifest(name=name, settings=values, cases=tuple(cases))


def allocate(settings: BenchSettings) -> dict[str, int]:
    """Tuples for each type of combination, in Table 3's order."""
    shares: dict[str, int] = {}
    for size, total in ((2, settings.pairs), (3, settings.triples)):
        names = [c.name for c in COMBINATIONS if len(c.kinds) == size]
        each, rest = divmod(total, len(names))
        shares |= {name: each + (index < rest) for index, name in enumerate(names)}
    return shares


def read_pools(folder: Path) -> dict[str, list[PoolSubject]]:
    """Reads the user's subjects: a folder for each data type, in it a picture or folder for each.

    A subject is called what its file or folder is called, without a number at the end, `_` and `-`
    as spaces: `living/corgi_2.png` is "corgi". A `names.json` beside them, `{"corgi_2": "dog"}`,
    says otherwise.

    Raises:
        ValueError: There is no such folder, no data type in it, or a `names.json` is broken or
            names what is not there.
    """
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}; check the path.")
    pools = {kind: _read_pool(folder / kind) for kind in KINDS if (folder / kind).is_dir()}
    if not pools:
        raise ValueError(f"{folder} has no folder of a data type; make {', '.join(KINDS)} in it.")
    return pools


def _read_pool(folder: Path) -> list[PoolSubject]:
    names: dict[str, str] = {}
    if (path := folder / "names.json").is_file():
        try:
            names = {str(k): str(v) for k, v in json.loads(path.read_text()).items()}
        except (ValueError, AttributeError) as error:
            raise ValueError(f'{path} is not a JSON object such as {{"rex": "dog"}}.') from error
    subjects, stems = [], set()
    for entry in sorted(folder.iterdir()):
        files = sorted(entry.iterdir()) if entry.is_dir() else [entry]
        pictures = tuple(file for file in files if file.suffix.lower() in ENDINGS)
        if pictures:
            stem = entry.name if entry.is_dir() else entry.stem
            stems.add(stem)
            noun = re.sub(r"[_\W\d]+$", "", stem).replace("_", " ").replace("-", " ")
            subjects.append(PoolSubject(name=names.get(stem, noun or stem), references=pictures))
    if unknown := sorted(names.keys() - stems):
        raise ValueError(
            f"{path} names {', '.join(unknown)}, which {folder} does not have; mend or remove it."
        )
    return subjects


def _draw(
    rng: np.random.Generator,
    pools: Pools,
    combination: Combination,
    count: int,
    settings: BenchSettings,
) -> list[tuple[PoolSubject, ...]]:
    """Different tuples of a type; who is named first is chance where the kinds are the same."""
    if not count:
        return []
    candidates = [
        subjects
        for subjects in _tuples(pools, combination.kinds)
        if settings.equal_nouns or len({s.name for s in subjects}) == len(subjects)
    ]
    if len(candidates) < count:
        raise ValueError(
            f"{count} tuples of {combination.name} are wanted, and the pools give "
            f"{len(candidates)}; put more subjects with different nouns into the folders "
            f"{', '.join(sorted(set(combination.kinds)))}, or ask for fewer tuples."
        )
    chosen = rng.choice(len(candidates), size=count, replace=False)
    return [_shuffled(rng, combination.kinds, candidates[index]) for index in chosen]


def _tuples(pools: Pools, kinds: Sequence[str]) -> list[tuple[PoolSubject, ...]]:
    """Every choice of subjects of these kinds, without regard to order among equal kinds."""
    groups = [(kind, len(list(members))) for kind, members in itertools.groupby(kinds)]
    choices = [itertools.combinations(pools.get(kind, ()), count) for kind, count in groups]
    return [tuple(itertools.chain(*parts)) for parts in itertools.product(*choices)]


def _shuffled(
    rng: np.random.Generator, kinds: Sequence[str], subjects: Sequence[PoolSubject]
) -> tuple[PoolSubject, ...]:
    order = sorted(range(len(kinds)), key=lambda index: (kinds.index(kinds[index]), rng.random()))
    return tuple(subjects[index] for index in order)


def _case(
    combination: Combination,
    number: int,
    prompt: int,
    subjects: Sequence[PoolSubject],
    seeds: tuple[int, ...],
    settings: BenchSettings,
) -> Case:
    variation = combination.variations[prompt]
    boxes = _boxes(combination) if settings.boxes else (None,) * len(subjects)
    known = [subject.truth for subject in subjects if subject.truth is not None]
    return Case(
        id=f"{combination.name.replace('+', '-')}-{number:02d}-{prompt}",
        prompt=write_prompt(combination, [s.name for s in subjects], variation, settings.mode),
        prompt_kind="scene" if variation in SCENES else "interaction",
        seeds=seeds,
        combination=combination.name,
        subjects=tuple(
            CaseSubject(
                name=subject.name,
                category=subject.name,
                kind=kind,
                references=subject.references,
                box=box,
            )
            for subject, kind, box in zip(subjects, combination.kinds, boxes, strict=True)
        ),
        truth={"variation": variation, "subjects": known} if len(known) == len(subjects) else None,
    )


def _boxes(combination: Combination) -> tuple[Box, ...]:
    if combination.wears:
        return tuple(WORN[kind] for kind in combination.kinds)
    return SIDE_BY_SIDE[len(combination.kinds)]


def write_prompt(
    combination: Combination, nouns: Sequence[str], variation: str, mode: Mode = "verbatim"
) -> str:
    """Table 3's template with its nouns and [P] filled in."""
    if mode == "grammatical":
        return _grammatical(combination, nouns, variation)
    first, *others = nouns
    if not combination.wears:
        places = ("on the left", "on the middle", "on the right")
        if len(nouns) == 2:
            return (
                f"a {first} and a {others[0]} {variation}, {first} on the left, "
                f"and {others[0]} on the right"
            )
        listed = [f"{noun} {place}" for noun, place in zip(nouns, places, strict=True)]
        return (
            f"a {first}, a {others[0]}, and a {others[1]} {variation}, {listed[0]}, {listed[1]}, "
            f"and {listed[2]}"
        )
    if combination.kinds[0] == "living":
        return f"a {first} wearing a {others[0]} {variation}"
    if len(nouns) == 2:
        return f"a woman wearing a {first} and {others[0]} {variation}"
    return f"a woman wearing a {first}, a {others[0]}, and a {others[1]} {variation}"


def _grammatical(combination: Combination, nouns: Sequence[str], variation: str) -> str:
    articled = [_with_article(noun) for noun in nouns]
    if combination.wears:
        somebody, worn = ("a woman", articled)
        if combination.kinds[0] == "living":
            somebody, *worn = articled
        return f"{somebody} wearing {_listed(worn)} {variation}"
    places = {2: ("left", "right"), 3: ("left", "middle", "right")}[len(nouns)]
    placed = [
        f"the {noun} {'in' if place == 'middle' else 'on'} the {place}"
        for noun, place in zip(nouns, places, strict=True)
    ]
    variation = variation if variation in SCENES else f"are {variation.removeprefix('are ')}"
    return f"{_listed(articled)} {variation}, {_listed(placed)}"


def _with_article(noun: str) -> str:
    if noun.endswith("s") and not noun.endswith("ss"):  # trousers, boots; but a dress
        return noun
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def _listed(phrases: Sequence[str]) -> str:
    *most, last = phrases
    if not most:
        return last
    return f"{', '.join(most)}{',' if len(most) > 1 else ''} and {last}"
