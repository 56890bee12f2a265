"""The validity matrix: each system of known worth moves its own measures and no others.

Pictures are real renders, read by a probe that knows them by heart, so what is tried is the
measures; how well a trained probe reads stands in its own calibration.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from knowing import SIZE, Knowing

from dynaip.evaluation.ablation import Bench, ablation_row
from dynaip.evaluation.crops import Box, box_of
from dynaip.evaluation.factors import CONCEPT_FACTORS, labels, probed_values
from dynaip.evaluation.figures import Reading
from dynaip.evaluation.generation import Generator
from dynaip.evaluation.miniature import PROMPTED, Trial, read
from dynaip.evaluation.truth.casting import place, read_cast, slots_of
from dynaip.evaluation.truth.confusion import Cast, calibrate, identity_shares, outcomes
from dynaip.evaluation.truth.details import band_correlations, prefers
from dynaip.evaluation.truth.leakage import copy_paste_index, retention, specified_leak
from dynaip.evaluation.truth.preservation import preservation
from dynaip.evaluation.truth.references import (
    CONFLICTS,
    SEVERAL,
    SINGLE,
    ReferenceSystem,
    blurred,
    conflict_trials,
    oracle,
    without_subject,
)
from dynaip.miniature.autoencoder import PatchAutoencoder
from dynaip.miniature.toyland import Spec, render, sample_concept, sample_spec

COUNT = 120
VALUES = probed_values()


@dataclasses.dataclass(frozen=True)
class Measured:
    cp: float
    gap: float
    following: float
    leaks: dict[str, float]
    index: float


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    return conflict_trials(COUNT)


@pytest.fixture(scope="module")
def probe() -> Knowing:
    return Knowing()


def answers_of(specs: Sequence[Spec]) -> np.ndarray:
    return np.stack([labels(specs, VALUES)[name] for name in CONFLICTS], axis=1)


@pytest.fixture(scope="module")
def measure(probe: Knowing, trials: list[Trial]) -> Callable[[str], Measured]:
    targets, sources = ([t.target for t in trials], [t.source for t in trials])
    requests = [trial.request(16) for trial in trials]

    def reading(name: str) -> Reading:
        system = ReferenceSystem(name, trials, SINGLE[name], probe.draw)
        assert isinstance(system, Generator)
        return read(probe, trials, system(requests))

    best = reading("B2 oracle")

    def measured(name: str) -> Measured:
        made = reading(name)
        kept = preservation(made, best)
        wanted, given = answers_of(targets), answers_of(sources)
        leaks = {
            factor: specified_leak(
                made.answers[factor],
                given[:, CONFLICTS.index(factor)],
                wanted[:, CONFLICTS.index(factor)],
                made.clusters,
                options=len(VALUES[factor]),
                ceiling=1.0,
            ).value
            for factor in PROMPTED
        }
        right = [{f: side.right(f) for f in PROMPTED} for side in (made, best)]
        read_off = np.stack([made.answers[name] for name in CONFLICTS], axis=1)
        return Measured(
            cp=kept.overall.value,
            gap=kept.detail_gap.value,
            following=retention(*right, made.clusters).value,
            leaks=leaks,
            index=copy_paste_index(read_off, given, wanted, made.clusters).value,
        )

    return measured


def test_a_row_holds_all_of_it(probe: Knowing, trials: list[Trial], tmp_path: Path) -> None:
    bench = Bench(
        trials=trials[:40],
        probe=probe,
        autoencoder=PatchAutoencoder(latent_channels=48, sample_size=SIZE),
        folder=tmp_path,
        reference_size=16,
    )
    best = oracle_of(probe, bench.trials)
    ways = {name: ReferenceSystem(name, trials, SINGLE[name], probe.draw) for name in SINGLE}
    row = {
        name: ablation_row(name, way, bench.reading(name[:2], way), best, best, bench)
        for name, way in ways.items()
    }
    assert row["B2 oracle"]["cp"] == pytest.approx([1, 1, 1])
    assert row["B2 oracle"]["reference system"] == "B2 oracle"
    assert row["B0 copy"]["leak"]["light"][0] == pytest.approx(1)
    assert row["B0 copy"]["copy_paste"][0] == 1
    assert row["B0 copy"]["retention"][0] == 0
    assert abs(row["B6 wrong concept"]["cp"][0]) < 0.2
    assert json.loads(json.dumps(row)) == row


def oracle_of(probe: Knowing, trials: Sequence[Trial]) -> Reading:
    return read(probe, trials, np.stack([probe.draw(trial.target) for trial in trials]))


def test_references_disagree_with_their_pictures_in_everything(trials: list[Trial]) -> None:
    wanted, given = (answers_of([t.target for t in trials]), answers_of([t.source for t in trials]))
    assert (wanted != given).all()
    assert all(t.source.actors[0].concept == t.target.actors[0].concept for t in trials)


def test_the_oracle_is_perfect(measure: Callable[[str], Measured]) -> None:
    found = measure("B2 oracle")
    assert (found.cp, found.gap, found.following) == pytest.approx((1, 0, 1))
    assert found.index == -1
    assert all(abs(leak) < 0.01 for leak in found.leaks.values())


def test_a_copy_keeps_everything_and_leaks_everything(measure: Callable[[str], Measured]) -> None:
    found = measure("B0 copy")
    assert (found.cp, found.gap) == pytest.approx((1, 0))
    assert found.following == 0
    assert found.index == 1
    assert list(found.leaks.values()) == pytest.approx([1, 1, 1])


def test_the_prompt_alone_follows_and_keeps_nothing(measure: Callable[[str], Measured]) -> None:
    for name in ("B1 text only", "B6 wrong concept"):
        found = measure(name)
        assert abs(found.cp) < 0.12, name
        assert abs(found.gap) < 0.2
        assert found.following == 1
        assert found.index == -1


def test_the_references_pose_and_light_leak_alone(measure: Callable[[str], Measured]) -> None:
    found = measure("B4 reference's pose and light")
    assert (found.cp, found.gap) == pytest.approx((1, 0))
    assert found.leaks["posture"] == pytest.approx(1)
    assert found.leaks["light"] == pytest.approx(1)
    assert abs(found.leaks["scene"]) < 0.01
    assert found.following == pytest.approx(1 / 3)
    assert -0.5 < found.index < 0.5


def test_blur_loses_fine_bands_first_and_a_removed_subject_scores_nothing(
    trials: list[Trial],
) -> None:
    some, size = trials[:8], 64
    requests = [trial.request(16) for trial in some]

    def draw(spec: Spec) -> np.ndarray:
        return render(spec, size).image

    pictures = {
        name: ReferenceSystem(name, some, oracle, way)(requests)
        for name, way in {
            "B2": draw,
            "B3 a little": blurred(0.6, draw),
            "B3 more": blurred(1.5, draw),
            "B7": without_subject(draw),
        }.items()
    }
    renders = [render(trial.target, size) for trial in some]
    bands = {
        name: np.mean(
            [
                band_correlations(picture, true.image, true.masks[0], shifts=1)
                for picture, true in zip(each, renders, strict=True)
            ],
            axis=0,
        )
        for name, each in pictures.items()
    }
    assert bands["B2"] == pytest.approx(1)
    assert bands["B2"][0] > bands["B3 a little"][0] > bands["B3 more"][0]
    losses = 1 - bands["B3 more"]
    assert losses[0] > 2 * losses[-1]
    assert bands["B7"][-1] < 0.5
    probe = Knowing()
    specs = [trial.target for trial in some]
    reading = read(probe, some, np.stack([probe.draw(spec) for spec in specs]))
    nothing = preservation(reading, reading, np.zeros(len(some), bool))
    assert all(score.accuracy == 0 for score in nothing.factors.values())


def test_a_twin_without_the_mark_is_told_from_its_subject() -> None:
    rng = np.random.default_rng(3)
    concept = dataclasses.replace(
        sample_concept(rng, kinds=("upwearing",)), mark="star", glyph="", pattern="plain"
    )
    spec = sample_spec(rng, concepts=[concept])
    (actor,) = spec.actors
    twin = dataclasses.replace(actor, concept=dataclasses.replace(concept, mark="none"))
    other = render(dataclasses.replace(spec, actors=(twin,)))
    true = render(spec)
    noise = np.random.default_rng(0).normal(0, 12, true.image.shape)

    def noisy(picture: np.ndarray) -> np.ndarray:
        return np.clip(picture + noise, 0, 255).astype(np.uint8)

    mask = true.masks[0]
    assert prefers(noisy(true.image), true.image, other.image, mask) == 1
    assert prefers(noisy(other.image), true.image, other.image, mask) == 0
    assert prefers(noisy(true.image), true.image, true.image, mask) == 0.5


class Masks:
    """A detector that knows where everybody stands."""

    def __init__(self, shown: Sequence[Spec]) -> None:
        self.shown = shown

    def find(self, pictures: np.ndarray) -> list[list[Box]]:
        masks = [render(spec, SIZE).masks for spec in self.shown]
        boxes = [[box_of(mask) for mask in each] for each in masks]
        return [[box for box in each if box is not None] for each in boxes]


class Reader(Knowing):
    """Reads the crops of pictures in the order in which they are asked for."""

    def __init__(self, shown: Sequence[Spec]) -> None:
        super().__init__()
        self.shown, self.slot = shown, 0

    def read(self, pictures: np.ndarray, batch_size: int = 256) -> dict[str, np.ndarray]:
        self.slot += 1
        return labels(self.shown, self.config.values, self.slot - 1)


@pytest.fixture(scope="module")
def targets() -> list[Spec]:
    rngs = (np.random.default_rng([4, index]) for index in range(40))
    return [sample_spec(r, subjects=2, split="test", action="next to") for r in rngs]


class TestSeveralSubjects:
    def cast(self, targets: list[Spec], name: str) -> Cast:
        shown = [SEVERAL[name](target) for target in targets]
        pictures = np.stack([render(spec, SIZE).image for spec in shown])
        return read_cast(Reader(shown), Masks(shown), targets, pictures)

    def test_swaps_and_blends_are_confusion_and_the_oracle_is_not(
        self, targets: list[Spec]
    ) -> None:
        ceilings = dict.fromkeys(CONCEPT_FACTORS, 0.98)
        options = {name: len(VALUES[name]) for name in CONCEPT_FACTORS}
        matrix = {k: np.full((v, v), 0.02 / (v - 1)) for k, v in options.items()}
        for values in matrix.values():
            np.fill_diagonal(values, 0.98)
        casts = {name: self.cast(targets, name) for name in SEVERAL}
        limits = calibrate(casts["B2 oracle"], matrix)
        rates = {
            name: identity_shares(cast, ceilings).confusion.value for name, cast in casts.items()
        }
        assert abs(rates["B2 oracle"]) < 0.01
        assert rates["B5 swapped"] > 0.95
        assert 0.5 < rates["B5 blended"] < 0.95
        kinds = {name: outcomes(cast, matrix, limits) for name, cast in casts.items()}
        assert set(kinds["B2 oracle"]) == {"correct"}
        assert kinds["B5 swapped"].count("swap") > 0.85 * len(targets)
        assert kinds["B5 blended"].count("blend") > 0.85 * len(targets)

    def test_the_light_on_whoever_is_found_is_read(self, targets: list[Spec]) -> None:
        class Lamps(Reader):
            def read(self, pictures: np.ndarray, batch_size: int = 256) -> dict[str, np.ndarray]:
                answers = super().read(pictures, batch_size)
                side = VALUES["light"].index(("left", "above")[self.slot - 1])
                return answers | {"light": np.full(len(pictures), side)}

        class Short(Masks):
            def find(self, pictures: np.ndarray) -> list[list[Box]]:
                first, *rest = super().find(pictures)
                return [first[1:], *rest]

        pictures = np.stack([render(spec, SIZE).image for spec in targets])
        light = read_cast(Lamps(targets), Short(targets), targets, pictures).light
        assert light[1:].tolist() == [[np.pi, np.pi / 2]] * (len(targets) - 1)
        assert np.isnan(light[0]).tolist() == [True, False]

    def test_whoever_is_missing_or_too_many_is_counted(self) -> None:
        slots = [Box(0, 0, 10, 10), Box(20, 0, 30, 10)]
        assert place(slots[::-1], slots, 32).boxes == tuple(slots)
        assert place([slots[1]], slots, 32).boxes == (None, slots[1])
        assert place([], slots, 32).boxes == (None, None)
        near = Box(0, 0, 12, 12)
        assert place([near, *slots], slots, 32) == ((slots[0], slots[1]), 1)
        far = Box(0, 25, 4, 32)
        assert place([far], slots, 32) == ((None, None), 1)

    def test_slots_are_where_subjects_are_seen(self, targets: list[Spec]) -> None:
        left, right = slots_of(targets[0], SIZE)
        assert left.centre[0] < right.centre[0]
