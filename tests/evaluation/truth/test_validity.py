"""The validity matrix: each system of known worth moves its own measures and no others.

Pictures are real renders, read by a probe that knows them by heart, so what is tried is the
measures; how well a trained probe reads stands in its own calibration.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from knowing import SIZE, Knowing

from dynaip.evaluation.ablation import LEAKS, OPEN, Bench, ablation_row, differences
from dynaip.evaluation.crops import Box, box_of
from dynaip.evaluation.factors import CONCEPT_FACTORS, labels, probed_values
from dynaip.evaluation.generation import Generator
from dynaip.evaluation.miniature import PROMPTED, Trial, read
from dynaip.evaluation.truth.casting import place, read_cast, slots_of
from dynaip.evaluation.truth.confusion import Cast, calibrate, identity_shares, outcomes
from dynaip.evaluation.truth.details import band_correlations, prefers
from dynaip.evaluation.truth.preservation import preservation
from dynaip.evaluation.truth.references import (
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


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    return conflict_trials(COUNT)


@pytest.fixture(scope="module")
def probe() -> Knowing:
    return Knowing()


@pytest.fixture(scope="module")
def bench(probe: Knowing, trials: list[Trial], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The probe knows renders, not what a round trip makes of them."""
    bench = Bench(
        trials=trials,
        probe=probe,
        autoencoder=PatchAutoencoder(latent_channels=48, sample_size=SIZE),
        folder=tmp_path_factory.mktemp("pictures"),
        reference_size=16,
    )
    perfect = np.stack([probe.draw(trial.target) for trial in trials])
    bench.__dict__["ceiling"] = bench.see(perfect)
    return bench


@pytest.fixture(scope="module")
def rows(probe: Knowing, trials: list[Trial], bench: Bench) -> dict[str, dict[str, Any]]:
    made = {}
    for name, show in SINGLE.items():
        system = ReferenceSystem(name, trials, show, probe.draw)
        assert isinstance(system, Generator)
        seen = bench.see(bench.pictures(name[:2], system))
        made[name] = ablation_row(name, system.identity, seen, bench.ceiling, bench)
    return made


def value(row: dict[str, Any], name: str) -> float:
    return row[name][0]


def test_a_row_is_json_and_names_who_made_it(rows: dict[str, dict[str, Any]]) -> None:
    assert rows["B2 oracle"]["reference system"] == "B2 oracle"
    assert json.loads(json.dumps(rows)) == rows


def test_references_disagree_with_what_prompts_say_and_not_with_the_rest(
    trials: list[Trial],
) -> None:
    wanted, given = (labels([getattr(t, s) for t in trials], VALUES) for s in ("target", "source"))
    for factor in PROMPTED:
        assert (wanted[factor] != given[factor]).all()
    for factor in OPEN:
        agree = (wanted[factor] == given[factor]).mean()
        assert agree == pytest.approx(1 / len(VALUES[factor]), abs=0.13 + 0.3 * (factor == "style"))
    assert all(t.source.actors[0].concept == t.target.actors[0].concept for t in trials)


def test_the_oracle_is_perfect(rows: dict[str, dict[str, Any]]) -> None:
    row = rows["B2 oracle"]
    for name in ("cp", "pf", "all_right", "named_category", "retention", "cp_pf"):
        assert row[name] == pytest.approx([1, 1, 1]), name
    assert value(row, "detail_gap") == 0
    assert value(row, "copy_paste") == -1
    assert value(row, "strange") < 0.02
    for factor in PROMPTED:
        assert abs(value(row, f"leak_{factor}")) < 0.01
    for factor in OPEN:
        assert abs(value(row, f"open_{factor}")) < 0.2


def test_a_copy_keeps_everything_and_leaks_everything(rows: dict[str, dict[str, Any]]) -> None:
    row = rows["B0 copy"]
    assert (value(row, "cp"), value(row, "detail_gap")) == pytest.approx((1, 0))
    assert value(row, "pf") < 0
    assert value(row, "all_right") == 0
    assert value(row, "copy_paste") == 1
    for factor in PROMPTED:
        assert value(row, f"leak_{factor}") == pytest.approx(1)
    for factor in OPEN:
        assert value(row, f"open_{factor}") == pytest.approx(1)


def test_the_prompt_alone_follows_and_keeps_nothing(rows: dict[str, dict[str, Any]]) -> None:
    assert value(rows["B1 text only"], "named_category") == 1
    assert value(rows["B6 wrong concept"], "named_category") < 0.15
    for name in ("B1 text only", "B6 wrong concept"):
        row = rows[name]
        assert abs(value(row, "cp")) < 0.12, name
        assert abs(value(row, "detail_gap")) < 0.2
        assert value(row, "pf") == 1
        assert value(row, "copy_paste") == -1


def test_a_category_that_the_prompt_says_is_no_merit(
    trials: list[Trial], bench: Bench, rows: dict[str, dict[str, Any]]
) -> None:
    shown = [SINGLE["B1 text only"](trial) for trial in trials]
    kept = [
        spec.actors[0].concept.category == trial.target.actors[0].concept.category
        for spec, trial in zip(shown, trials, strict=True)
    ]
    assert all(same for same, trial in zip(kept, trials, strict=True) if trial.named)
    assert not all(kept)
    score = rows["B1 text only"]["factors"]["category"]
    assert score["count"] == sum(not trial.named for trial in trials)
    assert score["accuracy"] < 0.2


def test_the_references_pose_and_light_leak_alone(rows: dict[str, dict[str, Any]]) -> None:
    row = rows["B4 reference's pose and light"]
    assert (value(row, "cp"), value(row, "detail_gap")) == pytest.approx((1, 0))
    for name in ("leak_posture", "leak_light", "open_facing", "open_light_colour"):
        assert value(row, name) == pytest.approx(1), name
    assert abs(value(row, "leak_scene")) < 0.01
    assert abs(value(row, "open_position")) < 0.2
    assert value(row, "all_right") == 0
    assert value(row, "copy_paste") == pytest.approx(1 / 3)


def test_differences_are_of_one_way_and_another_and_are_tested(
    trials: list[Trial], probe: Knowing, bench: Bench
) -> None:
    way = ReferenceSystem("B4", trials, SINGLE["B4 reference's pose and light"], probe.draw)
    made = bench.see(bench.pictures("B4", way))
    found = differences(made, bench.ceiling, bench)
    assert found["cp"]["difference"][0] == pytest.approx(0)
    assert found["cp"]["p"] == 1
    assert found["leak_posture"]["difference"][0] == pytest.approx(1)
    assert found["leak_posture"]["p"] < 0.001
    assert found["pf"]["difference"][0] < -0.5
    other = differences(bench.ceiling, made, bench)
    assert other["pf"]["difference"][0] == -found["pf"]["difference"][0]


def test_retention_is_over_what_the_base_follows(
    trials: list[Trial], probe: Knowing, bench: Bench, rows: dict[str, dict[str, Any]]
) -> None:
    way = ReferenceSystem("B0", trials, SINGLE["B0 copy"], probe.draw)
    copied = bench.see(bench.pictures("B0", way))
    row = ablation_row("oracle", {}, bench.ceiling, copied, bench)
    assert value(row, "pf") == 1
    assert value(row, "retention") == pytest.approx(1 / value(rows["B0 copy"], "pf"))


def test_what_instruments_cannot_read_is_in_no_average(bench: Bench) -> None:
    """More renders than these may say that; here the probe reads everything."""
    poor = dataclasses.replace(bench, readable=frozenset(VALUES) - {"mark", "pattern"})
    poor.__dict__["ceiling"] = bench.ceiling
    row = ablation_row("oracle", {}, bench.ceiling, bench.ceiling, poor)
    assert not row["factors"]["mark"]["measurable"]
    assert row["factors"]["glyph"]["measurable"]
    assert row["cp"] == pytest.approx([1, 1, 1])
    none = dataclasses.replace(bench, readable=frozenset({"glyph"}))
    none.__dict__["ceiling"] = bench.ceiling
    row = ablation_row("oracle", {}, bench.ceiling, bench.ceiling, none)
    assert row["cp"] == row["cp_pf"] == [None] * 3
    assert row["cp_fine"] == pytest.approx([1, 1, 1])
    followed = ("pf", "all_right", "retention", "copy_paste")
    assert all(row[name] == [None] * 3 for name in (*followed, *LEAKS))


def test_what_instruments_cannot_read_is_no_following_and_no_leak(
    trials: list[Trial], probe: Knowing, bench: Bench, rows: dict[str, dict[str, Any]]
) -> None:
    """B4 has the prompt's scene and neither its light nor its posture."""
    way = ReferenceSystem("B4", trials, SINGLE["B4 reference's pose and light"], probe.draw)
    made = bench.see(bench.pictures("B4", way))
    poor = dataclasses.replace(bench, readable=frozenset(VALUES) - {"light", "posture", "facing"})
    poor.__dict__["ceiling"] = bench.ceiling
    row = ablation_row("B4", {}, made, bench.ceiling, poor)
    for name in ("pf", "all_right", "retention", "cp_pf"):
        assert value(row, name) == pytest.approx(1, abs=1e-6), name
    assert value(row, "copy_paste") == -1
    unread = {"leak_light", "leak_posture", "open_facing"}
    for name in LEAKS:
        seen = rows["B4 reference's pose and light"][name]
        assert row[name] == ([None] * 3 if name in unread else seen), name
    found = differences(made, bench.ceiling, poor)
    nothing = {"difference": [None] * 3, "p": None, "detectable": None}
    assert {name for name, test in found.items() if test == nothing} == unread
    # Asked of the trials' own renders, of which this one reads no light.
    blind = dataclasses.replace(bench, readable=None)
    answers = dict(bench.ceiling.reading.answers) | {"light": np.full(COUNT, -1)}
    reading = dataclasses.replace(bench.ceiling.reading, answers=answers)
    blind.__dict__["ceiling"] = bench.ceiling._replace(reading=reading)
    assert [name for name in VALUES if not blind.reads(name)] == ["light"]


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
