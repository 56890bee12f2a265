import re
from dataclasses import replace

import numpy as np
import pytest

from dynaip.miniature.toyland import FACTORS, Spec, caption, full_caption, sample_spec, view_caption
from dynaip.miniature.toyland.spec import CATEGORIES, COLOURS, PICTURE_SCENES


@pytest.fixture(scope="module")
def captions() -> list[tuple[Spec, str]]:
    rng = np.random.default_rng(0)
    specs = [sample_spec(rng, subjects=1 + index % 3) for index in range(1500)]
    return [(spec, caption(spec, rng)) for spec in specs]


def find(rng: np.random.Generator, **concept: str) -> Spec:
    spec = sample_spec(rng)
    actor = spec.actors[0]
    return replace(spec, actors=(replace(actor, concept=replace(actor.concept, **concept)),))


def test_captions_are_short(captions: list[tuple[Spec, str]]) -> None:
    assert max(len(text.split()) for _, text in captions) <= 30


def test_the_vocabulary_is_small_and_plain(captions: list[tuple[Spec, str]]) -> None:
    words = {word for _, text in captions for word in re.findall(r"[^\s,]+", text)}
    letters = {word for word in words if word.isupper()}
    assert all(re.fullmatch(r"[A-Z]{1,2}", word) for word in letters)
    assert all(re.fullmatch(r"[a-z]+", word) for word in words - letters)
    assert 100 < len(words - letters) <= 400


def test_articles_agree(captions: list[tuple[Spec, str]]) -> None:
    for _, text in captions:
        assert not re.search(r"\ba [aeiou]", text), text
        assert not re.search(r"\ban [^aeiouA-Z]", text), text
        assert not re.search(
            rf"\ban? ((plain|{'|'.join(COLOURS)}) )*(trousers|overalls|boots)\b", text
        )
        assert "  " not in text
        assert not text.endswith((",", " "))


def test_captions_say_what_is_there(captions: list[tuple[Spec, str]]) -> None:
    for spec, text in captions:
        words = set(re.findall(r"\w+", text))
        present = {actor.concept.category for actor in spec.actors}
        assert words & set(CATEGORIES) <= present
        seen = {c for a in spec.actors for c in (a.concept.main_colour, a.concept.second_colour)}
        light = {"pink"} if spec.light.colour == "pink" else set()
        assert words & set(COLOURS) <= seen | light
        scenes = {name for name in PICTURE_SCENES if name in words}
        assert scenes <= {spec.scene}


def test_a_subset_is_named_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        spec = find(rng, category="mug", kind="object", pattern="dots", glyph="K", mark="star")
        concept = spec.actors[0].concept
        assert caption(spec, rng, ()) == "a toy"
        assert caption(spec, rng, ["category"]) == "a mug"
        text = caption(spec, rng, ["main_colour"])
        assert re.fullmatch(rf"an? {concept.main_colour} toy", text)
        assert caption(spec, rng, ["pattern", "second_colour"]) == (
            f"a toy with {concept.second_colour} dots"
        )
        assert caption(spec, rng, ["glyph"]) in ("a toy with the letter K", "a toy with a K")
        assert caption(spec, rng, ["mark"]) in ("a toy with a star", "a toy with a star sticker")


@pytest.mark.parametrize(
    ("name", "word"),
    [("facing", "left"), ("position", "right"), ("light", "below"), ("light_colour", "warm"),
     ("scene", "jungle"), ("posture", "lying"), ("style", "ink")],
)  # fmt: skip
def test_picture_factors_are_said_in_several_ways(name: str, word: str) -> None:
    rng = np.random.default_rng(2)
    spec = sample_spec(rng)
    actor = spec.actors[0]
    view = replace(actor.view, facing="left", position="right", posture="lying")
    light = replace(spec.light, direction="below", colour="warm")
    spec = replace(spec, actors=(replace(actor, view=view),), light=light)
    spec = replace(spec, scene="jungle", style="ink")
    said = {caption(spec, rng, [name]) for _ in range(40)}
    assert len(said) >= 2
    assert any(word in text for text in said)


def test_everything_fits_into_one_sentence() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        spec = sample_spec(rng, split="test")
        text = caption(spec, rng, FACTORS)
        assert len(text.split()) <= 30
        concept = spec.actors[0].concept
        assert concept.category in text
        assert concept.main_colour in text
        assert concept.glyph in text


def test_full_captions_name_the_category_and_most_of_the_rest() -> None:
    rng = np.random.default_rng(2)
    for index in range(300):
        spec = sample_spec(rng, subjects=1 + index % 3)
        text = full_caption(spec, rng)
        assert 18 <= len(text.split()) <= 30, text
        for actor in spec.actors:
            assert re.search(rf"\b{actor.concept.category}\b", text), text
    bare = find(rng, category="mug", main_colour="red", pattern="plain", glyph="", mark="none")
    assert "a plain red mug" in full_caption(bare, rng)


def test_view_captions_name_where_and_how_and_nothing_of_the_looks() -> None:
    rng = np.random.default_rng(5)
    named = 0
    for _ in range(200):
        spec = sample_spec(rng)
        text, concept = view_caption(spec, rng, 0.5), spec.actors[0].concept
        assert "light" in text
        assert re.search(r"(left|right|middle|centre)", text)
        light = {"pink"} if spec.light.colour == "pink" else set()
        assert set(text.split()) & set(COLOURS) <= light
        category = re.search(rf"\b{concept.category}\b", text) is not None
        assert category != (re.search(r"\btoy\b", text) is not None)
        named += category
    assert 70 < named < 130


def test_plural_clothes_take_plural_verbs() -> None:
    rng = np.random.default_rng(4)
    spec = find(rng, category="trousers", kind="downwearing")
    for _ in range(10):
        assert re.match(
            r"trousers (are|stand|lie|jump)\b", caption(spec, rng, ["category", "posture"])
        )
        assert re.match(r"a toy (is|stands|lies|jumps)\b", caption(spec, rng, ["posture"]))


def test_pairs_are_told_apart() -> None:
    rng = np.random.default_rng(5)
    spec = sample_spec(rng, subjects=2, action="next to")
    left, right = (actor.concept.category for actor in spec.actors)
    text = caption(spec, rng, ["category", "position"])
    assert re.fullmatch(rf"(an? )?{left} on the left and (an? )?{right} on the right", text)
    stacked = sample_spec(rng, subjects=2, action="on top of")
    below, above = (actor.concept.category for actor in stacked.actors)
    assert re.fullmatch(
        rf"(an? )?{above} on top of (an? )?{below}", caption(stacked, rng, ["category"])
    )


def test_mistakes_are_explained() -> None:
    rng = np.random.default_rng(6)
    with pytest.raises(ValueError, match="no factor 'size'"):
        caption(sample_spec(rng), rng, ["size"])
    with pytest.raises(ValueError, match="name fewer"):
        caption(sample_spec(rng, subjects=3, action="next to"), rng, FACTORS)
