"""M1 to M6 on cases whose answers are known by hand or by construction."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from dynaip.evaluation.figures import Reading
from dynaip.evaluation.statistics import ratio
from dynaip.evaluation.truth.confusion import (
    LIGHT_ANGLES,
    Cast,
    calibrate,
    composition_gap,
    harmony_by_chance,
    identity_shares,
    light_harmony,
    outcomes,
)
from dynaip.evaluation.truth.granularity import (
    frontier_area,
    frontier_statistic,
    isotonic_slope,
    router_response,
    shuffled_response,
    slope_statistic,
)
from dynaip.evaluation.truth.leakage import (
    Intervention,
    arrivals,
    copy_paste_index,
    following,
    specified_leak,
    transfer,
    transfer_score,
    unspecified_leak,
)
from dynaip.evaluation.truth.preservation import (
    discriminability,
    glyph_similarity,
    preservation,
)

RNG = np.random.default_rng(0)
COUNT = 4000
GROUPS = np.arange(40_000) // 400
VALUES = {
    "category": tuple("abcd"),
    "main_colour": tuple("abcd"),
    "second_colour": tuple("abcd"),
    "pattern": tuple("abcd"),
    "glyph": ("", *"abcd"),
    "mark": ("none", *"abcd"),
}


def noisy(truth: np.ndarray, accuracy: float, values: int = 4, seed: int = 1) -> np.ndarray:
    """Right with this probability, else any of the other values."""
    rng = np.random.default_rng(seed)
    wrong = (truth + rng.integers(1, values, truth.shape)) % values
    return np.where(rng.random(truth.shape) < accuracy, truth, wrong)


def reading(accuracy: dict[str, float], seed: int = 1) -> Reading:
    truths = {name: np.arange(COUNT) % 4 + (len(v) == 5) for name, v in VALUES.items()}
    answers = {
        name: noisy(t - (len(VALUES[name]) == 5), accuracy.get(name, 1.0), seed=seed + i)
        + (len(VALUES[name]) == 5)
        for i, (name, t) in enumerate(truths.items())
    }
    return Reading(values=VALUES, truths=truths, answers=answers, clusters=np.arange(COUNT) // 4)


class TestPreservation:
    def test_perfect_pictures_are_one_in_every_tier(self) -> None:
        scores = preservation(reading({}), reading({}))
        assert scores.overall == pytest.approx((1, 1, 1))
        assert scores.detail_gap == pytest.approx((0, 0, 0))

    def test_scores_count_from_chance_to_the_ceiling(self) -> None:
        made, ceiling = reading({"glyph": 0.6, "mark": 0.6}), reading({"glyph": 0.95}, seed=9)
        scores = preservation(made, ceiling)
        assert scores.factors["glyph"].normalised == pytest.approx((0.6 - 0.25) / 0.7, abs=0.03)
        assert scores.tiers["coarse"].value == 1
        expected = ((0.6 - 0.25) / 0.7 + (0.6 - 0.25) / 0.75) / 2
        assert scores.tiers["fine"].value == pytest.approx(expected, abs=0.03)
        assert scores.detail_gap.value == pytest.approx(1 - expected, abs=0.03)
        assert scores.detail_gap.low > 0.4
        assert scores.overall.value == pytest.approx((2 + expected) / 3, abs=0.02)

    def test_guessing_is_zero(self) -> None:
        scores = preservation(reading(dict.fromkeys(VALUES, 0.25)), reading({}))
        assert scores.overall.low < 0 < scores.overall.high

    def test_what_the_probe_cannot_read_is_not_averaged_in(self) -> None:
        made = reading({"glyph": 0.3})
        scores = preservation(made, reading({"glyph": 0.85}, seed=5))
        assert not scores.factors["glyph"].measurable
        assert scores.tiers["fine"].value == 1
        blind = preservation(made, reading({"glyph": 0.8, "mark": 0.8}, seed=5))
        assert math.isnan(blind.tiers["fine"].value)
        assert math.isnan(blind.overall.value)
        assert math.isnan(blind.detail_gap.value)

    def test_a_missing_subject_is_wrong_in_everything(self) -> None:
        present = np.arange(COUNT) >= COUNT // 2
        scores = preservation(reading({}), reading({}), present)
        assert scores.overall.value == pytest.approx((0.5 - 0.25) / 0.75)
        assert preservation(reading({}), reading({}), present & False).overall.value < 0

    def test_strings_and_choices(self) -> None:
        assert glyph_similarity("AB", "AB") == glyph_similarity("", "") == 1
        assert glyph_similarity("A", "AB") == 0.5
        assert glyph_similarity("BA", "AB") == 0
        assert glyph_similarity("KITTEN", "SITTING") == pytest.approx(1 - 3 / 7)
        assert discriminability(0.5, 100) == pytest.approx(0)
        assert discriminability(0.84134, 10**6) == pytest.approx(math.sqrt(2), abs=1e-3)
        assert math.isfinite(discriminability(1.0, 100))


class TestLeakage:
    @pytest.mark.parametrize("accuracy", [1.0, 0.85, 0.6])
    @pytest.mark.parametrize("rate", [0.0, 0.3])
    def test_the_copy_rate_is_recovered_under_a_default_and_a_bad_probe(
        self, rate: float, accuracy: float
    ) -> None:
        rng = np.random.default_rng(3)
        reference, wanted = rng.integers(0, 4, (2, 40_000))
        follows = np.where(rng.random(40_000) < 0.6, wanted, 2)  # else its favourite
        shown = np.where(rng.random(40_000) < rate, reference, follows)
        read = noisy(shown, accuracy)
        leak = specified_leak(read, reference, wanted, options=4, ceiling=accuracy)
        assert np.isnan(leak[reference == wanted]).all()
        assert np.nanmean(leak) == pytest.approx(rate, abs=0.03)
        free = np.where(rng.random(40_000) < rate, reference, 2)
        leak = unspecified_leak(noisy(free, accuracy), reference, options=4, ceiling=accuracy)
        assert leak.mean() == pytest.approx(rate, abs=0.03)
        # Where most references have one value, agreeing with it is no merit.
        skewed = np.where(rng.random(40_000) < 0.7, 0, reference)
        habit = np.where(rng.random(40_000) < 0.7, 0, rng.integers(0, 4, 40_000))
        for shown, found in ((habit, 0.0), (skewed, 1.0)):
            leak = unspecified_leak(shown, skewed, options=4, ceiling=1.0)
            assert leak.mean() == pytest.approx(found, abs=0.02)

    def test_two_values_are_refused_and_a_blind_probe_measures_nothing(self) -> None:
        one = np.zeros(3, int)
        with pytest.raises(ValueError, match="three or more"):
            specified_leak(one, one, one + 1, options=2, ceiling=1.0)
        assert np.isnan(specified_leak(one, one, one + 1, options=4, ceiling=0.25)).all()

    def test_copy_paste_index_has_the_right_ends(self) -> None:
        wanted, reference = RNG.integers(0, 4, (2, 50, 5))
        assert np.nanmean(copy_paste_index(wanted, reference, wanted)) == -1
        assert np.nanmean(copy_paste_index(reference, reference, wanted)) == 1
        half = np.where(np.arange(5) < 2, reference, wanted)
        assert -0.5 < np.nanmean(copy_paste_index(half, reference, wanted)) < 0.2
        assert np.isnan(copy_paste_index(wanted[:3], wanted[:3], wanted[:3])).all()

    def test_transfer_finds_who_passes_on_what(self) -> None:
        before = reading({})
        new = (before.truths["category"] + 1) % 4
        truths = {**before.truths, "category": new}
        answers = {**before.answers, "category": np.where(np.arange(COUNT) < 3000, new, 0)}
        answers["pattern"] = np.where(np.arange(COUNT) < 1000, 3, before.answers["pattern"])
        after = dataclasses.replace(before, truths=truths, answers=answers)
        change = Intervention(factor="category", before=before, after=after)
        null = Intervention(factor="", before=before, after=before)
        found = transfer([change], null)
        column = dict(zip(found.outputs, found.matrix[:, 0], strict=True))
        assert column["category"] == pytest.approx(0.75 + 0.25 / 4, abs=0.01)
        assert column["pattern"] == pytest.approx(0.25 * 0.75, abs=0.01)
        assert column["mark"] == 0
        # Nothing agnostic was changed.
        assert math.isnan(transfer_score([change], ["category"], VALUES).value)
        assert np.nanmean(arrivals(change)) == pytest.approx(column["category"])
        noise = Intervention(factor="", before=before, after=after)
        assert transfer([change], noise).matrix[3, 0] == 0

    def test_dts_leaves_out_what_is_not_read_well(self) -> None:
        before = reading({})
        follows = {"category": 0.8, "pattern": 0.2, "main_colour": 0.3}

        def change(factor: str, share: float) -> Intervention:
            old, options = before.truths[factor], len(VALUES[factor])
            new = (old + 1) % options
            moved = np.where(np.arange(COUNT) < share * COUNT, new, old)
            after = dataclasses.replace(
                before,
                truths={**before.truths, factor: new},
                answers={**before.answers, factor: moved},
            )
            right = {**before.answers, factor: old}
            was = dataclasses.replace(before, answers=right)
            return Intervention(factor=factor, before=was, after=after)

        changes = [change(*each) for each in follows.items()]
        specific = ("category", "pattern")
        found = transfer_score(changes, specific, VALUES)
        assert found.value == pytest.approx(0.5 - 0.3, abs=1e-3)
        assert found.low < 0.2 < found.high
        assert found.high - found.low < 0.1
        some = transfer_score(changes, specific, ("category", "main_colour"))
        assert some.value == pytest.approx(0.8 - 0.3, abs=1e-3)

    def test_following_counts_from_chance_to_the_ceiling(self) -> None:
        right = {"scene": np.array([True, False]), "light": np.array([True, False])}
        options = {"scene": 6, "light": 4}
        perfect = following(right, {"scene": 1.0, "light": 1.0}, options)
        assert perfect.tolist() == pytest.approx([1, -(1 / 5 + 1 / 3) / 2])
        assert following(right, {"scene": 0.9, "light": 0.9}, options)[0] > 1


def cast(read: np.ndarray, wanted: np.ndarray, **changes: object) -> Cast:
    """Every factor alike: `read` and `wanted` are "b n k"."""
    names = [f"factor{k}" for k in range(wanted.shape[2])]
    values = {
        "options": dict.fromkeys(names, 6),
        "wanted": {name: wanted[..., k] for k, name in enumerate(names)},
        "read": {name: read[..., k] for k, name in enumerate(names)},
        "present": np.ones(wanted.shape[:2], bool),
        "light": np.zeros(wanted.shape[:2]),
        "extra": np.zeros(len(wanted), int),
        "clusters": np.arange(len(wanted)) % 100,
    }
    return Cast(**{**values, **changes})  # pyright: ignore[reportArgumentType]


CEILINGS = {f"factor{k}": 0.9 for k in range(5)}
MATRIX = {name: np.full((6, 6), 0.02) + 0.88 * np.eye(6) for name in CEILINGS}


class TestConfusion:
    wanted = np.random.default_rng(5).integers(0, 6, (3000, 2, 5))

    def rate(self, shown: np.ndarray) -> float:
        read = noisy(shown, 0.9, values=6, seed=8)
        return identity_shares(cast(read, self.wanted), CEILINGS).confusion.value

    def test_drift_and_bad_probes_are_no_confusion(self) -> None:
        assert self.rate(self.wanted) == pytest.approx(0, abs=0.02)
        assert self.rate(noisy(self.wanted, 0.7, values=6)) == pytest.approx(0, abs=0.02)

    def test_drift_among_three_is_none_either(self) -> None:
        wanted = np.random.default_rng(6).integers(0, 6, (3000, 3, 5))
        read = noisy(noisy(wanted, 0.4, values=6, seed=9), 0.9, values=6, seed=8)
        assert identity_shares(cast(read, wanted), CEILINGS).confusion.value == pytest.approx(
            0, abs=0.02
        )
        turned = np.roll(wanted, 1, axis=1)
        perfect = dict.fromkeys(CEILINGS, 1.0)
        assert identity_shares(cast(turned, wanted), perfect).confusion.value > 0.75

    def test_pictures_in_which_somebody_is_missing_set_no_threshold(self) -> None:
        good = cast(noisy(self.wanted, 0.9, values=6, seed=2), self.wanted)
        present = np.ones(good.present.shape, bool)
        present[:600, 1] = False
        read = {name: np.where(present, values, 5) for name, values in good.read.items()}
        holes = dataclasses.replace(good, read=read, present=present)
        limits, whole = calibrate(holes, MATRIX), calibrate(good, MATRIX)
        assert (limits.blend, limits.drift) == pytest.approx((whole.blend, whole.drift), abs=0.8)

    def test_swaps_are(self) -> None:
        swapped = np.where(np.arange(3000)[:, None, None] < 900, self.wanted[:, ::-1], self.wanted)
        assert self.rate(swapped) == pytest.approx(0.3, abs=0.03)
        shares = identity_shares(cast(swapped, self.wanted), CEILINGS)
        assert shares.own + shares.other + shares.novel == pytest.approx(1)
        assert shares.novel == 0

    def test_each_picture_has_one_outcome(self) -> None:
        wanted = np.array([[[0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]] * 7)
        read = wanted.copy()
        read[1] = wanted[1, ::-1]  # swap
        read[2, 1] = 0  # dominance
        read[3, 0, :2] = 1  # blend
        read[4, 1] = 3  # drift
        present = np.ones((7, 2), bool)
        present[5, 0] = False
        extra = np.array([0] * 6 + [1])
        good = cast(noisy(self.wanted, 0.9, values=6, seed=2), self.wanted)
        limits = calibrate(good, MATRIX)
        made = cast(read, wanted, present=present, extra=extra)
        assert outcomes(made, MATRIX, limits) == [
            "correct",
            "swap",
            "dominance",
            "blend",
            "drift",
            "omission",
            "duplication",
        ]
        alarms = [outcome in ("blend", "drift") for outcome in outcomes(good, MATRIX, limits)]
        assert np.mean(alarms) < 0.12

    def test_values_of_nobody_are_no_blend(self) -> None:
        # As counted, no two rows of a matrix are alike, and a mixture always gains a little.
        rng = np.random.default_rng(12)
        counts = {name: 1 + rng.poisson(1, (6, 6)) + 60 * np.eye(6) for name in CEILINGS}
        matrix = {name: each / each.sum(1, keepdims=True) for name, each in counts.items()}
        pairs = self.wanted[..., :2]
        limits = calibrate(cast(noisy(pairs, 0.99, values=6, seed=2), pairs), matrix)
        wanted = np.tile([[0] * 2, [1] * 2], (400, 1, 1))
        nobodys = rng.integers(2, 6, wanted.shape)
        assert set(outcomes(cast(nobodys, wanted), matrix, limits)) == {"drift"}
        half = wanted.copy()
        half[:, 0, 0] = 1
        assert set(outcomes(cast(half, wanted), matrix, limits)) == {"blend"}

    def test_two_of_three_that_change_places_are_a_swap(self) -> None:
        wanted = np.array([[[0] * 5, [1] * 5, [2] * 5]])
        good = cast(wanted, wanted)
        limits = calibrate(good, MATRIX)
        assert outcomes(cast(wanted[:, [1, 0, 2]], wanted), MATRIX, limits) == ["swap"]

    def test_composition_gap_counts_company_only(self) -> None:
        alone = RNG.random((4000, 2)) < 0.8
        independent = RNG.random((4000, 2)) < 0.8
        gap = composition_gap(independent, alone, np.arange(4000) % 100)
        assert gap.low < 0 < gap.high
        worse = composition_gap(
            independent & (RNG.random((4000, 1)) < 0.5), alone, np.arange(4000) % 100
        )
        assert worse.value == pytest.approx(-0.32, abs=0.03)

    def test_light_agrees_or_does_not(self) -> None:
        left, right, above = (np.radians(LIGHT_ANGLES[k]) for k in ("left", "right", "above"))
        names = np.arange(2)
        pairs = np.array([[left, left], [left, np.nan]])
        assert light_harmony(pairs, names).value == pytest.approx(1)
        assert light_harmony(np.array([[left, right]] * 2), names).value == pytest.approx(0)
        half = light_harmony(np.array([[left, above], [above] * 2]), names)
        assert half.value == pytest.approx((1 + math.sqrt(0.5)) / 2)
        assert half.low == pytest.approx(math.sqrt(0.5))
        assert half.high == pytest.approx(1)
        assert np.isnan(light_harmony(pairs[1:], names[1:]).value)

    def test_harmony_by_chance_is_that_of_lights_drawn_at_random(self) -> None:
        for subjects in (2, 3):
            light = np.radians(90 * RNG.integers(0, 4, (20_000, subjects)))
            drawn = light_harmony(light, np.arange(20_000) % 50).value
            assert harmony_by_chance(subjects) == pytest.approx(drawn, abs=0.01)


class TestTradeOffs:
    def test_area_is_that_of_what_is_dominated(self) -> None:
        assert frontier_area([1.0], [0.5]) == 0.5
        assert frontier_area([1.0, 0.5], [0.5, 1.0]) == 0.75
        assert frontier_area([1.0, 0.5, 0.4], [0.5, 1.0, 0.4]) == 0.75
        assert frontier_area([-0.1], [1.0]) == 0

    def test_areas_and_slopes_are_functions_of_the_ways_sums(self) -> None:
        """Of two draws: CP 1 and 0.5, PF 0.5 and 1 (over 0.5 of the base's); then nothing kept."""
        sums = np.array([[2, 4, 4, 4, 1, 4, 2, 4, 2, 4], [2, 4, 0, 4, 1, 4, 0, 4, 2, 4]], float)
        area = frontier_statistic(2, ratio)
        assert area(sums).tolist() == [frontier_area([1.0, 0.5], [0.5, 1.0]), 0]
        slope = slope_statistic([0, 1, 0.5], ratio)
        lines = slope(np.array([[1, 4, 3, 4, 0, 4], [3, 4, 1, 4, 2, 4]], float))
        assert lines.tolist() == pytest.approx([0.5, -0.5])
        unread = np.array([[2, 4, 4, 4, 1, 4, 0, 0, 2, 4]], float)
        assert np.isnan(area(unread)).all()
        assert np.isnan(slope(unread[:, 2:8])).all()

    def test_the_router_answers_and_the_shuffled_one_does_not(self) -> None:
        plain = RNG.dirichlet((3, 3, 3), 500)
        detailed = plain + np.array([0.1, 0.0, -0.1])
        low, mid, high = router_response(plain, detailed, np.arange(500))
        assert (low.value, mid.value, high.value) == pytest.approx((0.1, 0, -0.1))
        control = shuffled_response(plain, detailed, np.arange(500))
        assert abs(control[0].value) < 0.02

    def test_slopes_forgive_no_fall(self) -> None:
        assert isotonic_slope([0, 0.5, 1], [0, 0.2, 0.6]) == pytest.approx(0.6)
        assert isotonic_slope([0, 0.5, 1], [0.6, 0.3, 0.0]) == 0
        assert isotonic_slope([1, 0, 0.5], [0.5, 0.0, 0.7]) == pytest.approx(0.6)
        # The order of rows of one weight says nothing.
        assert isotonic_slope([0, 0, 1, 1], [0, 1, 0, 1]) == 0
        assert isotonic_slope([0, 0, 1], [0, 0.4, 0.6]) == pytest.approx(0.4)
