import itertools
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from dynaip.miniature.toyland import (
    FACTORS,
    Concept,
    Spec,
    is_held_out,
    sample_concept,
    sample_spec,
    vary,
)
from dynaip.miniature.toyland.spec import AGNOSTIC, SPECIFIC


def values(spec: Spec) -> dict[str, str]:
    actor = spec.actors[0]
    return {
        **{name: getattr(actor.concept, name) for name in SPECIFIC},
        **{name: getattr(actor.view, name) for name in ("facing", "posture", "position")},
        "scene": spec.scene,
        "light": spec.light.direction,
        "light_colour": spec.light.colour,
        "style": spec.style,
    }


@pytest.fixture(scope="module")
def drawn() -> list[dict[str, str]]:
    rng = np.random.default_rng(0)
    return [values(sample_spec(rng)) for _ in range(3000)]


def dependence(rows: list[dict[str, str]], first: str, second: str) -> float:
    """Standard deviations by which a chi-square test is above independence."""
    one, two = FACTORS[first], FACTORS[second]
    table = np.zeros((len(one), len(two)))
    for row in rows:
        table[one.index(row[first]), two.index(row[second])] += 1
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    freedom = (len(one) - 1) * (len(two) - 1)
    return float((((table - expected) ** 2 / expected).sum() - freedom) / (2 * freedom) ** 0.5)


def test_agnostic_factors_are_uniform(drawn: list[dict[str, str]]) -> None:
    for name, options in AGNOSTIC.items():
        if name == "style":
            continue
        counts = Counter(row[name] for row in drawn)
        assert set(counts) == set(options)
        for count in counts.values():
            assert count == pytest.approx(len(drawn) / len(options), rel=0.2), name


def test_agnostic_factors_are_independent_of_everything(drawn: list[dict[str, str]]) -> None:
    pairs = [
        *itertools.combinations(AGNOSTIC, 2),
        *itertools.product(AGNOSTIC, SPECIFIC),
    ]
    far = {pair: dependence(drawn, *pair) for pair in pairs}
    assert max(far.values()) < 5, max(far, key=lambda pair: far[pair])


def test_every_value_is_drawn(drawn: list[dict[str, str]]) -> None:
    for name, options in FACTORS.items():
        assert {row[name] for row in drawn} == set(options)


def test_train_never_draws_what_is_held_out() -> None:
    rng = np.random.default_rng(1)
    concepts = [sample_concept(rng) for _ in range(400)]
    assert not any(is_held_out(concept) for concept in concepts)
    assert max(len(concept.glyph) for concept in concepts) == 1


def test_test_draws_only_what_is_held_out() -> None:
    rng = np.random.default_rng(2)
    concepts = [sample_concept(rng, "test") for _ in range(400)]
    assert all(is_held_out(concept) for concept in concepts)
    # Not for its shades alone: the combination or the string is new, too.
    assert all(is_held_out(replace(concept, shade=(0.0, 0.0))) for concept in concepts)
    # And the shades are new, whatever they are on.
    mug = Concept(kind="object", category="mug", main_colour="red", second_colour="blue")
    assert not is_held_out(mug)
    assert all(is_held_out(replace(mug, shade=concept.shade)) for concept in concepts)
    long = sum(len(concept.glyph) == 2 for concept in concepts)
    assert 50 < long < 110


@pytest.mark.parametrize("subjects", [2, 3])
def test_the_split_holds_for_everyone_in_a_picture(subjects: int) -> None:
    rng = np.random.default_rng(3)
    for split, held_out in (("train", False), ("test", True)):
        for _ in range(60):
            spec = sample_spec(rng, subjects=subjects, split=split)
            assert {is_held_out(actor.concept) for actor in spec.actors} == {held_out}


def test_held_out_rule_does_not_move() -> None:
    # Bundles are trained on one side of this rule: it must not change by accident.
    def mug(**changes: str) -> Concept:
        base = Concept(kind="object", category="mug", main_colour="red", second_colour="blue")
        return replace(base, **changes)

    held_out = [letter for letter in SPECIFIC["glyph"] if is_held_out(mug(glyph=letter))]
    assert held_out == ["K", "R", "Y"]
    brown = [mug(pattern=name, second_colour="brown") for name in SPECIFIC["pattern"]]
    assert [mug.pattern for mug in brown if is_held_out(mug)] == ["dots", "checks", "zigzag"]
    assert is_held_out(mug(glyph="AB"))


def test_same_seed_same_pictures_in_every_process() -> None:
    code = """
import hashlib, numpy as np
from dynaip.miniature.toyland import caption, render, sample_spec, segment
rng, digest = np.random.default_rng(5), hashlib.sha256()
for subjects in (1, 2, 3):
    spec = sample_spec(rng, subjects=subjects)
    digest.update(render(spec).image.tobytes() + segment(spec).tobytes())
    digest.update(caption(spec, rng).encode())
print(digest.hexdigest())
"""
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_vary_keeps_the_concepts_only() -> None:
    rng = np.random.default_rng(6)
    spec = sample_spec(rng)
    others = [vary(spec, rng) for _ in range(40)]
    assert all(other.actors[0].concept == spec.actors[0].concept for other in others)
    for name, options in AGNOSTIC.items():
        assert {values(other)[name] for other in others} == set(options), name


def test_worn_clothes_stay_worn() -> None:
    rng = np.random.default_rng(7)
    spec = sample_spec(rng, subjects=2, action="wearing")
    assert {vary(spec, rng).action for _ in range(20)} == {"wearing"}


def test_categories_differ_within_a_picture() -> None:
    rng = np.random.default_rng(8)
    for _ in range(100):
        spec = sample_spec(rng, subjects=3)
        assert len({actor.concept.category for actor in spec.actors}) == 3


def test_mistakes_are_explained() -> None:
    rng = np.random.default_rng(9)
    with pytest.raises(ValueError, match="one to three"):
        sample_spec(rng, subjects=4)
    with pytest.raises(ValueError, match="split"):
        sample_concept(rng, "validation")
    with pytest.raises(ValueError, match="kind"):
        sample_concept(rng, kinds=("vehicle",))
    with pytest.raises(ValueError, match="at least two"):
        sample_spec(rng, action="next to")
    mug = sample_concept(rng, kinds=("object",))
    cap = sample_concept(rng, kinds=("upwearing",))
    with pytest.raises(ValueError, match="wear"):
        sample_spec(rng, concepts=(mug, cap), action="wearing")
    with pytest.raises(ValueError, match="Unknown action"):
        sample_spec(rng, concepts=(mug, cap), action="eating")
    with pytest.raises(ValueError, match="Three"):
        sample_spec(rng, subjects=3, action="on top of")
