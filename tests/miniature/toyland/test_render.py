from dataclasses import replace

import numpy as np
import pytest

from dynaip.miniature.toyland import (
    Actor,
    Concept,
    Light,
    Spec,
    View,
    render,
    sample_spec,
    segment,
)
from dynaip.miniature.toyland.spec import (
    AGNOSTIC,
    CATEGORIES,
    KIND_OF,
    LETTERS,
    PICTURE_SCENES,
    SPECIFIC,
)


def alone(category: str, *, scene: str = "grass", **view: str) -> Spec:
    concept = Concept(
        kind=KIND_OF[category],
        category=category,
        main_colour="red",
        second_colour="yellow",
        pattern="stripes",
        glyph="K",
        mark="star",
    )
    return Spec(actors=(Actor(concept=concept, view=View(**view)),), scene=scene)


def with_concept(spec: Spec, **changes: object) -> Spec:
    actor = spec.actors[0]
    return replace(spec, actors=(replace(actor, concept=replace(actor.concept, **changes)),))


def changed(first: np.ndarray, second: np.ndarray) -> float:
    """Share of a picture's pixels that differ clearly."""
    return float((np.abs(first.astype(int) - second).max(-1) > 24).mean())


def grown(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    rows, columns = mask.shape
    return np.any(
        [padded[r : r + rows, c : c + columns] for r in range(3) for c in range(3)], axis=0
    )


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_subject_factor_shows(category: str) -> None:
    spec = alone(category)
    seen = {
        "main_colour": with_concept(spec, main_colour="blue"),
        "second_colour": with_concept(spec, second_colour="black"),
        "pattern_scale": with_concept(spec, pattern_scale="fine"),
        "pattern_direction": with_concept(spec, pattern_direction=90.0),
        "glyph": with_concept(spec, glyph=""),
        "letter": with_concept(spec, glyph="O"),
        "mark": with_concept(spec, mark="none"),
        "shade": with_concept(spec, shade=(1.0, 1.0)),
        **{f"part {i}": with_concept(spec, proportions=tuple(np.eye(3)[i].tolist()))
           for i in range(3)},
    }  # fmt: skip
    for pattern in SPECIFIC["pattern"]:
        if pattern != "stripes":
            seen[pattern] = with_concept(spec, pattern=pattern)
    drawn = render(spec).image
    for factor, other in seen.items():
        assert changed(drawn, render(other).image) > 0.0015, factor


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_facing_and_posture_shows(category: str) -> None:
    pictures = [
        render(alone(category, facing=facing, posture=posture)).image
        for facing in AGNOSTIC["facing"]
        for posture in AGNOSTIC["posture"]
    ]
    for index, first in enumerate(pictures):
        for second in pictures[:index]:
            assert changed(first, second) > 0.04


def test_every_scene_light_and_style_shows() -> None:
    spec = alone("dog")
    specs = [
        *(replace(spec, scene=scene) for scene in PICTURE_SCENES),
        *(replace(spec, light=Light(direction=name)) for name in ("left", "right", "below")),
        *(replace(spec, light=Light(colour=name)) for name in ("warm", "cool", "pink")),
        *(replace(spec, style=name) for name in AGNOSTIC["style"][1:]),
    ]
    pictures = [render(spec).image for spec in specs]
    for index, first in enumerate(pictures):
        for second in pictures[:index]:
            assert changed(first, second) > 0.04


def test_letters_differ_from_each_other() -> None:
    images = [render(with_concept(alone("mug"), glyph=letter)).image for letter in LETTERS]
    for index, first in enumerate(images):
        for second in images[:index]:
            assert (np.abs(first.astype(int) - second.astype(int)).max(-1) > 40).sum() >= 5


@pytest.mark.parametrize("direction", AGNOSTIC["light"])
def test_light_falls_from_where_the_spec_says(direction: str) -> None:
    # However the subject is turned, its lit side is the side of the light.
    axis, sign = {"left": (1, 1), "right": (1, -1), "above": (0, 1), "below": (0, -1)}[direction]
    for facing in AGNOSTIC["facing"]:
        for posture in AGNOSTIC["posture"]:
            spec = with_concept(
                alone("mug", scene="white", facing=facing, posture=posture),
                pattern="plain", glyph="", mark="none",
            )  # fmt: skip
            picture = render(replace(spec, light=Light(direction=direction)))
            there, brightness = picture.masks[0], picture.image.sum(-1).astype(float)
            where = np.indices(there.shape)[axis][there]
            slope = np.polyfit(where, brightness[there], 1)[0]
            assert slope * sign < 0, (facing, posture)


def test_only_the_mask_changes_with_the_concept() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        spec = sample_spec(rng)
        main = "green" if spec.actors[0].concept.main_colour != "green" else "red"
        other = with_concept(spec, main_colour=main, shade=(0.9, 0.9), mark="none")
        moved = (render(spec).image != render(other).image).any(-1)
        assert not (moved & ~grown(render(spec).masks[0])).any()
        assert (moved & render(spec).masks[0]).sum() > 40


@pytest.mark.parametrize("action", ["next to", "in front of", "on top of", "wearing"])
def test_masks_know_what_is_hidden(action: str) -> None:
    rng = np.random.default_rng(1)
    hidden = []
    for _ in range(12):
        spec = sample_spec(rng, subjects=2, action=action)
        masks = render(spec).masks
        assert masks.dtype == bool
        assert masks.shape == (2, 64, 64)
        assert not masks.all(0).any()
        assert masks.any((1, 2)).all()
        first, second = (
            render(replace(spec, actors=(actor,), action=None)).masks[0] for actor in spec.actors
        )
        assert (masks[1] == second).all()
        # Along the edge two actors share a pixel, which then is of neither.
        assert not (masks[0] & ~first).any()
        assert not (first & ~masks[0] & ~grown(second)).any()
        hidden.append(int((first & second).sum()))
        if action == "on top of":
            assert np.nonzero(masks[1])[0].mean() < np.nonzero(masks[0])[0].mean()
    assert np.mean(hidden) > 60 if action == "wearing" else np.mean(hidden) < 30


def test_clothes_are_on_their_wearer() -> None:
    rng = np.random.default_rng(2)
    for _ in range(24):
        spec = sample_spec(rng, subjects=2, action="wearing")
        worn = render(spec).masks[1]
        wearer = render(replace(spec, actors=spec.actors[:1], action=None)).masks[0]
        assert (worn & wearer).sum() > 0.2 * worn.sum()


def test_position_is_where_the_subject_is() -> None:
    rng = np.random.default_rng(3)
    centres: dict[str, list[float]] = {"left": [], "middle": [], "right": []}
    for _ in range(60):
        spec = sample_spec(rng)
        columns = np.flatnonzero(render(spec).masks[0].any(0))
        centres[spec.actors[0].view.position].append((columns[0] + columns[-1]) / 2)
    assert np.percentile(centres["left"], 90) < np.percentile(centres["middle"], 10)
    assert np.percentile(centres["middle"], 90) < np.percentile(centres["right"], 10)


def test_subjects_stay_inside_and_are_large() -> None:
    rng = np.random.default_rng(4)
    heights, cut = [], 0
    for _ in range(100):
        mask = render(sample_spec(rng)).masks[0]
        rows = np.flatnonzero(mask.any(1))
        heights.append((rows[-1] - rows[0] + 1) / 64)
        edge = mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum()
        cut += edge > 4
    assert 0.5 < np.median(heights) < 0.65
    assert cut <= 8


def test_a_segment_is_tight_square_and_on_white() -> None:
    rng = np.random.default_rng(5)
    for subjects in (1, 2, 3):
        # Not the white outline of a paper cut-out, which nobody sees on white.
        spec = replace(sample_spec(rng, subjects=subjects, split="test"), style="book")
        for index in range(subjects):
            image = segment(spec, index, 96)
            assert image.shape == (96, 96, 3)
            drawn = (image < 250).any(-1)
            rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
            extent = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
            assert 0.82 * 96 <= extent <= 0.92 * 96
            assert (image[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()


def test_a_segment_forgets_scene_and_place_but_not_posture_and_light() -> None:
    spec = alone("dog")
    actor = spec.actors[0]
    elsewhere = replace(
        spec,
        scene="beach",
        scene_seed=9,
        actors=(replace(actor, view=replace(actor.view, x=0.5 + 100 / 1280, y=0.55)),),
    )
    apart = np.abs(segment(spec).astype(int) - segment(elsewhere).astype(int))
    assert apart.mean() < 1.5
    lit = replace(spec, light=Light(direction="below"))
    lying = alone("dog", posture="lying")
    for other in (lit, lying, replace(spec, style="ink")):
        assert np.abs(segment(spec).astype(int) - segment(other).astype(int)).mean() > 4


def test_a_segment_leaves_out_what_others_hide() -> None:
    behind = alone("monster")
    mug = replace(alone("mug").actors[0], view=View(size=0.3, y=0.6))
    spec = replace(behind, actors=(*behind.actors, mug), action="in front of")
    hole, whole = segment(spec), segment(behind)
    changed_to_white = (hole == 255).all(-1) & (whole != 255).any(-1)
    assert changed_to_white.sum() > 200
    # What is not hidden is where it was, and nothing of the mug is left.
    assert ((hole == whole).all(-1) | (hole > 200).all(-1)).mean() > 0.95


def test_size_changes_the_resolution_only() -> None:
    spec = sample_spec(np.random.default_rng(7))
    large = render(spec, 128).image.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(large - render(spec, 64).image).mean() < 4


def test_mistakes_are_explained() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        render(alone("dog"), 4)
    with pytest.raises(ValueError, match="no actor 1"):
        segment(alone("dog"), 1)
