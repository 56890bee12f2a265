"""Which pairs a study shows, and the key that says afterwards which picture was whose.

The paper's study (Section B.5) compares one method with each of its competitors: pictures of the
same case side by side, sides at random, three questions. The page must not give the methods away,
so it sees random tokens only; the key stays with whoever runs the study.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynaip.adapter import storage
from dynaip.evaluation.benchmarks.manifest import Case
from dynaip.evaluation.benchmarks.results import Results

FORMAT, VERSION = "dynaip-study-key", 1
# Table 4's columns: concept preservation, prompt following, overall satisfaction.
QUESTIONS = ("cp", "pf", "os")
TIE = "tie"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudySettings:
    """How much is asked of whom.

    Attributes:
        pool: Pairs of each competitor that the page holds.
        items: Pairs of each competitor that one voter sees, drawn from the pool; 30 in the paper.
        repeats: Pairs that come again at the end, with their sides changed.
        checks: Pairs in which one picture is of another case altogether.
        size: Longest side of the pictures in pixels; larger ones are made smaller.
        seed: Of all that is drawn.
    """

    pool: int = 60
    items: int = 30
    repeats: int = 2
    checks: int = 2
    size: int = 768
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what no page can hold.

        Raises:
            ValueError: A voter would see more pairs than there are.
        """
        if not 0 < self.items <= self.pool:
            raise ValueError(
                f"A voter cannot see {self.items} pairs of a pool of {self.pool}; give a pool at "
                "least as large as the items."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """Two pictures of one case, by token; neither order nor tokens say whose they are.

    Attributes:
        id: Random.
        competitor: Name of the method beside ours; for a check, ours.
        case: What both pictures were asked to show.
        number: Of the picture among the case's.
        pictures: Path of each token, in random order.
        methods: Name of each token's method.
        expected: The token of the right picture, if this pair is a check.
    """

    id: str
    competitor: str
    case: Case
    number: int
    pictures: dict[str, Path]
    methods: dict[str, str]
    expected: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """The pairs of every competitor, and the checks.

    Attributes:
        id: Random; votes carry it.
        ours: Name of the method that all others are compared with.
        groups: Pairs of each competitor.
        checks: Pairs whose answer is known.
        settings: What the study was drawn with.
    """

    id: str
    ours: str
    groups: dict[str, list[Pair]]
    checks: list[Pair]
    settings: StudySettings

    def key(self) -> dict[str, Any]:
        """What unblinds the votes, as JSON values."""
        pairs = [pair for group in (*self.groups.values(), self.checks) for pair in group]
        return {
            "format": FORMAT,
            "version": VERSION,
            "study": self.id,
            "ours": self.ours,
            "competitors": list(self.groups),
            "settings": dataclasses.asdict(self.settings),
            "pairs": {
                pair.id: {
                    "competitor": pair.competitor,
                    "case": pair.case.id,
                    "picture": pair.number,
                    "methods": pair.methods,
                    "expected": pair.expected,
                }
                for pair in pairs
            },
        }


def design_study(
    ours: Results, competitors: Sequence[Results], settings: StudySettings | None = None
) -> Study:
    """Draws the pairs of a study.

    Args:
        ours: Pictures of the method that the others are compared with.
        competitors: Pictures of the others, made for the same cases.
        settings: How much is asked of whom.

    Raises:
        ValueError: Two methods have one name, or too few pictures in common, or their cases differ,
            or are too much alike for the checks.
    """
    settings = settings or StudySettings()
    names = [results.method.name for results in (ours, *competitors)]
    if len(set(names)) < len(names):
        raise ValueError(
            f"Two of the folders hold results of one method ({', '.join(names)}); give each a name "
            "of its own in its method.json."
        )
    if not competitors:
        raise ValueError(
            "Give at least two folders: the first is compared with each of the others."
        )
    draw = _Draw(settings.seed, [ours, *competitors])
    groups = {}
    for name, results in zip(names[1:], competitors, strict=True):
        shared = _shared(ours, results)
        if len(shared) < settings.items:
            raise ValueError(
                f"{names[0]} and {name} have {len(shared)} pictures in common, and a voter should "
                f"see {settings.items}; make more pictures, or ask for fewer with --items."
            )
        chosen = draw.some(shared, settings.pool)
        groups[name] = [
            draw.pair(case, number, {names[0]: mine, name: theirs}, name)
            for case, number, mine, theirs in chosen
        ]
    checks = _checks(ours, settings.checks, draw)
    return Study(id=draw.token(), ours=names[0], groups=groups, checks=checks, settings=settings)


def write_key(study: Study, path: Path) -> None:
    """Writes the key, whole or not at all, readable by its owner only.

    Raises:
        ValueError: Something else is there, such as the key of another study.
    """
    content = json.dumps(study.key(), indent=1).encode() + b"\n"
    if path.exists() and path.read_bytes() != content:
        raise ValueError(
            f"{path} is there already, and not this study's key; without their key votes cannot be "
            "counted, so give another --out, or move it away."
        )
    storage.replace(path, lambda partial: partial.write_bytes(content), mode=0o600)


class _Draw:
    """Everything random of one study, from its seed, its methods and what they were asked.

    Of the seed alone, two studies would share their tokens, and the votes of one would count under
    the key of the other.
    """

    def __init__(self, seed: int, methods: Sequence[Results]) -> None:
        known = [
            (
                dataclasses.asdict(results.method),
                [(case.id, *case.asked) for case in results.manifest.cases],
            )
            for results in methods
        ]
        digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).digest()
        self._rng = np.random.default_rng([0x5D1, seed, int.from_bytes(digest)])

    def token(self) -> str:
        return self._rng.bytes(6).hex()

    def some(self, rows: Sequence[Any], count: int) -> list[Any]:
        order = self._rng.permutation(len(rows))[:count]
        return [rows[index] for index in order]

    def pair(self, case: Case, number: int, paths: dict[str, Path], competitor: str) -> Pair:
        """A pair of the pictures by name of their method, in random order."""
        names = self.some(list(paths), len(paths))
        tokens = [self.token() for _ in names]
        return Pair(
            id=self.token(),
            competitor=competitor,
            case=case,
            number=number,
            pictures={token: paths[name] for token, name in zip(tokens, names, strict=True)},
            methods=dict(zip(tokens, names, strict=True)),
        )


def _shared(ours: Results, theirs: Results) -> list[tuple[Case, int, Path, Path]]:
    """Pictures that both have, in the order of the manifest."""
    others = {(case.id, number): (case, path) for case, number, path in theirs.pictures()}
    shared = []
    for case, number, path in ours.pictures():
        if (case.id, number) not in others:
            continue
        other, other_path = others[case.id, number]
        if case.asked != other.asked:
            raise ValueError(
                f"Case {case.id} asks {ours.method.name} and {theirs.method.name} for "
                "different things; compare pictures of one manifest."
            )
        shared.append((case, number, path, other_path))
    return shared


def _checks(ours: Results, count: int, draw: _Draw) -> list[Pair]:
    """Our picture of a case beside our picture of a case with other words and other subjects."""
    pictures = list(ours.pictures())
    checks: list[Pair] = []
    for case, number, path in draw.some(pictures, len(pictures)):
        strangers = [
            other_path
            for other, _, other_path in pictures
            if other.prompt != case.prompt
            and not {s.references for s in other.subjects} & {s.references for s in case.subjects}
        ]
        if len(checks) == count:
            break
        if not strangers:
            continue
        (wrong,) = draw.some(strangers, 1)
        pair = draw.pair(case, number, {"right": path, "wrong": wrong}, ours.method.name)
        expected = next(token for token, name in pair.methods.items() if name == "right")
        checks.append(dataclasses.replace(pair, expected=expected))
    if len(checks) < count:
        raise ValueError(
            f"Only {len(checks)} of {count} checks can be made: each shows a picture of a case "
            "with other words and other subjects; make more of these, or ask for fewer with "
            "--checks."
        )
    return checks
