"""Several subjects: whose looks end up on whom (Section 4.3), by branches and by overlap rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from dynaip.adapter.attention import OVERLAPS
from dynaip.evaluation.ablation import ratio_differences
from dynaip.evaluation.crops import Box
from dynaip.evaluation.experiments.laboratory import Laboratory, Put, Row, as_text
from dynaip.evaluation.figures import MEASURABLE
from dynaip.evaluation.generation import GUIDED, OWN_WORDS, Generator, Request, Use
from dynaip.evaluation.miniature import decoded
from dynaip.evaluation.statistics import NOT_MEASURED, Columns, mean_columns
from dynaip.evaluation.truth.casting import InstanceFinder, read_cast, slots_of
from dynaip.evaluation.truth.confusion import (
    LIGHT_ANGLES,
    OUTCOMES,
    Cast,
    Thresholds,
    calibrate,
    composition_gap,
    harmony_by_chance,
    identity_shares,
    light_harmony,
    outcomes,
)
from dynaip.miniature.toyland import Spec, caption, render, sample_spec, segment

STREAM = 11
COUNTS = (2, 3)
SHOWN = 8
NAMED = ("category", "position", "scene")
# A subject's place is the box of its mask and so much around it, as a share of the picture.
ROOM = 0.04
USES: Mapping[str, Use] = {
    **{f"image, {overlap}": Use(overlap=overlap) for overlap in OVERLAPS},
    "both, sum": Use(branches="both"),
    "own words, sum": OWN_WORDS,
    "guided, sum": GUIDED,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """A picture of one or several subjects that is asked for.

    Attributes:
        target: What it should show; nobody is hidden, nobody wears anybody.
        sources: The picture that each subject's reference is cut from.
        prompt: Names the categories, where everybody stands, and the scene.
        seed: Of the noise.
    """

    target: Spec
    sources: tuple[Spec, ...]
    prompt: str
    seed: int

    @classmethod
    def draw(cls, seed: int, index: int, count: int) -> Group:
        """Held-out subjects, side by side. No string of two letters: probes read single ones."""
        rng = np.random.default_rng([STREAM, seed, count, index])
        while True:
            target = sample_spec(rng, subjects=count, split="test", action="next to")
            if all(len(actor.concept.glyph) < 2 for actor in target.actors):
                break
        sources = tuple(sample_spec(rng, concepts=[actor.concept]) for actor in target.actors)
        prompt = caption(target, rng, name=NAMED)
        return cls(target=target, sources=sources, prompt=prompt, seed=int(rng.integers(2**31)))

    def alone(self, index: int) -> Group:
        """One of them in the same place and the same scene, without the others."""
        target = dataclasses.replace(self.target, actors=(self.target.actors[index],), action=None)
        rng = np.random.default_rng([self.seed, index])
        return Group(
            target=target,
            sources=(self.sources[index],),
            prompt=caption(target, rng, name=NAMED),
            seed=self.seed,
        )

    def request(self, reference_size: int, size: int) -> Request:
        """What a generator of pictures of `size` pixels is asked: everybody in their boxes."""
        return Request(
            prompt=self.prompt,
            seed=self.seed,
            references=tuple(segment(source, size=reference_size) for source in self.sources),
            boxes=tuple(_fractions(box, size) for box in slots_of(self.target, size)),
            phrases=tuple(actor.concept.category for actor in self.target.actors),
        )


def _fractions(box: Box, size: int) -> tuple[float, float, float, float]:
    left, top, right, bottom = (edge / size for edge in box)
    return (
        max(0.0, left - ROOM),
        max(0.0, top - ROOM),
        min(1.0, right + ROOM),
        min(1.0, bottom + ROOM),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Yardstick:
    """How well the instruments read perfect pictures of the same groups.

    Attributes:
        ceilings: Accuracy of each factor that is measurable in such pictures.
        confusions: P(read | true) of each, a row per true value.
        thresholds: What a correct picture rarely exceeds.
        light: Accuracy of the direction of light.
        harmony: The light's harmony, see `light_harmony`.
    """

    ceilings: Mapping[str, float]
    confusions: Mapping[str, Float[np.ndarray, "v v"]]
    thresholds: Thresholds
    light: float
    harmony: float


def run(laboratory: Laboratory) -> Iterator[Row]:
    """Confusion and its kinds for two and three subjects, and what company costs.

    Where the instruments read no factor well enough among so many, a row says how well they read.

    Raises:
        ValueError: There is no detector, or the probe reads nothing well enough beside others.
    """
    finder = laboratory.finder
    if finder is None:
        raise ValueError(
            "Several subjects are found by a detector; train one with "
            "`dynaip evaluate train-detector`."
        )
    asked = {
        count: [Group.draw(laboratory.seed, index, count) for index in range(laboratory.count)]
        for count in COUNTS
    }
    perfect = {count: _perfect(laboratory, finder, groups) for count, groups in asked.items()}
    accuracies = {count: _accuracies(cast) for count, cast in perfect.items()}
    best = max(max(each.values()) for each in accuracies.values())
    if best < MEASURABLE:
        raise ValueError(
            f"The probe reads no factor right in {MEASURABLE:.0%} of perfect pictures of several "
            f"subjects (the best is {best:.0%}); train it for longer."
        )
    with laboratory.attached(laboratory.first) as (_, put):
        for count, groups in asked.items():
            read = accuracies[count]
            ceilings = {factor: share for factor, share in read.items() if share >= MEASURABLE}
            if not ceilings:
                about = {"name": f"{count} subjects", "subjects": count, "pictures": 0}
                yield {**about, "unreadable": read}
                continue
            yardstick = _yardstick(groups, perfect[count], ceilings)
            # Of one subject, whose mask lies in [0, 1], every rule of overlap makes the same.
            ways = {dataclasses.replace(use, overlap="sum") for use in USES.values()}
            alone = {way: _alone(laboratory, finder, groups, put(way), yardstick) for way in ways}
            method: dict[str, Columns] = {}
            for name, use in USES.items():
                way, apart = put(use), alone[dataclasses.replace(use, overlap="sum")]
                together = _seen(laboratory, finder, groups, way, yardstick)
                kinds = _outcomes(together, yardstick)
                row: Row = {
                    "name": f"{count} subjects, {name}",
                    "variant": laboratory.first,
                    **way.identity,
                    "subjects": count,
                    "pictures": len(groups),
                    "ceilings": dict(yardstick.ceilings),
                    "outcomes": {
                        kind: float(columns[:, 0].mean()) for kind, columns in kinds.items()
                    },
                    **_measures(together, apart, yardstick),
                }
                if method:
                    row["against_method"] = ratio_differences(kinds, method, together.clusters)
                method = method or kinds
                yield row
        yield _samples(laboratory, asked[COUNTS[0]][:SHOWN], put)


def _samples(laboratory: Laboratory, groups: Sequence[Group], put: Put) -> Row:
    """The first pairs' pictures, as PNG in base64; they wait since their rows were made."""
    size = laboratory.probe.config.size
    requests = [group.request(laboratory.reference_size, size) for group in groups]
    shown = {"prompt": [group.prompt for group in groups]}
    for index, place in enumerate(("left", "right")):
        shown[place] = [as_text(request.references[index]) for request in requests]
    for name, use in USES.items():
        pictures = laboratory.pictures("2 subjects", put(use), requests)
        shown[name] = [as_text(each) for each in pictures]
    return {
        "name": "samples",
        "variant": laboratory.first,
        **put(Use()).identity,
        "pictures": len(groups),
        "shown": shown,
    }


def _outcomes(cast: Cast, yardstick: Yardstick) -> dict[str, Columns]:
    """Columns of each outcome's share: one thing becomes of each picture."""
    became = np.array(outcomes(cast, yardstick.confusions, yardstick.thresholds))
    return {kind: mean_columns((became == kind).astype(float)) for kind in OUTCOMES}


def _measures(cast: Cast, alone: Sequence[Cast], yardstick: Yardstick) -> Row:
    shares = identity_shares(cast, yardstick.ceilings)
    apart = np.concatenate([_right(each) for each in alone], axis=1)
    return {
        "own": shares.own,
        "other": shares.other,
        "novel": shares.novel,
        "confusion": list(shares.confusion),
        "composition_gap": list(composition_gap(_right(cast), apart, cast.clusters)),
        "light_ceiling": yardstick.light,
        "harmony": _harmony(cast, alone, yardstick),
    }


def _harmony(cast: Cast, alone: Sequence[Cast], yardstick: Yardstick) -> Row:
    """Whether subjects of one picture stand in one light, beside the same ones each by itself."""
    apart = np.concatenate([each.light for each in alone], axis=1)
    measurable = yardstick.light >= MEASURABLE
    return {
        name: list(light_harmony(light, cast.clusters) if measurable else NOT_MEASURED)
        for name, light in (("together", cast.light), ("alone", apart))
    } | {"ceiling": yardstick.harmony, "chance": harmony_by_chance(cast.light.shape[1])}


def _seen(
    laboratory: Laboratory,
    finder: InstanceFinder,
    groups: Sequence[Group],
    way: Generator,
    yardstick: Yardstick,
) -> Cast:
    """What the instruments find in pictures of groups, of what can be measured."""
    size = laboratory.probe.config.size
    requests = [group.request(laboratory.reference_size, size) for group in groups]
    pictures = laboratory.pictures(f"{len(groups[0].sources)} subjects", way, requests)
    targets = [group.target for group in groups]
    cast = read_cast(laboratory.probe, finder, targets, pictures)
    return _only(cast, list(yardstick.ceilings))


def _alone(
    laboratory: Laboratory,
    finder: InstanceFinder,
    groups: Sequence[Group],
    way: Generator,
    yardstick: Yardstick,
) -> list[Cast]:
    """What they find where each slot's subject is by itself."""
    return [
        _seen(laboratory, finder, [group.alone(index) for group in groups], way, yardstick)
        for index in range(len(groups[0].sources))
    ]


def _perfect(laboratory: Laboratory, finder: InstanceFinder, groups: Sequence[Group]) -> Cast:
    """What they find in round-tripped renders."""
    size = laboratory.probe.config.size
    targets = [group.target for group in groups]
    drawn = np.stack([render(target, size).image for target in targets])
    return read_cast(laboratory.probe, finder, targets, decoded(laboratory.pipe.vae, drawn))


def _accuracies(cast: Cast) -> dict[str, float]:
    """How often each factor is read right off subjects that are found."""
    return {
        factor: float((cast.read[factor] == wanted)[cast.present & (wanted >= 0)].mean())
        for factor, wanted in cast.wanted.items()
    }


def _yardstick(groups: Sequence[Group], cast: Cast, ceilings: Mapping[str, float]) -> Yardstick:
    directions = np.radians([LIGHT_ANGLES[group.target.light.direction] for group in groups])
    light = float((cast.light == directions[:, None])[cast.present].mean())
    cast = _only(cast, list(ceilings))
    confusions = {
        factor: _confusion(
            cast.wanted[factor], cast.read[factor], cast.present, cast.options[factor]
        )
        for factor in ceilings
    }
    return Yardstick(
        ceilings=ceilings,
        confusions=confusions,
        thresholds=calibrate(cast, confusions),
        light=light,
        harmony=light_harmony(cast.light, cast.clusters).value,
    )


def _confusion(
    wanted: Int[np.ndarray, "b n"],
    read: Int[np.ndarray, "b n"],
    present: Bool[np.ndarray, "b n"],
    options: int,
) -> Float[np.ndarray, "v v"]:
    """P(read | true), with one imaginary reading of every kind so that none is impossible."""
    counts = np.ones((options, options))
    known = present & (wanted >= 0)
    np.add.at(counts, (wanted[known], read[known]), 1)
    return counts / counts.sum(1, keepdims=True)


def _only(cast: Cast, factors: Sequence[str]) -> Cast:
    return dataclasses.replace(
        cast,
        options={factor: cast.options[factor] for factor in factors},
        wanted={factor: cast.wanted[factor] for factor in factors},
        read={factor: cast.read[factor] for factor in factors},
    )


def _right(cast: Cast) -> Bool[np.ndarray, "b n"]:
    """Where a subject is there and all that can be measured of it is right."""
    right = [cast.read[factor] == cast.wanted[factor] for factor in cast.options]
    return cast.present & np.all(right, axis=0)
