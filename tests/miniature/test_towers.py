"""The towers that go on alone: what they are shown, what they are asked, and what costs nothing."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from dynaip.miniature import toyland
from dynaip.miniature.tokenizers import train_clip_tokenizer
from dynaip.miniature.towers import (
    LARGEST_SHIFT,
    ON_WHITE,
    UNNAMED,
    Captions,
    ImageTowerTask,
    SubjectsOnWhite,
    TextTowerTask,
    factor_indices,
    seen_in,
    told_in,
)
from dynaip.miniature.toyland.spec import FACTORS

SHARED = {"scene", "light", "light_colour", "style"}


@pytest.fixture
def image_tower(tmp_path: Path) -> ImageTowerTask:
    return ImageTowerTask(tiny.image_encoder(), cache=tmp_path, pool=6)


@pytest.fixture
def text_tower() -> TextTowerTask:
    captions = [Captions(0, "train")[index]["caption"] for index in range(100)]
    tokenizer = train_clip_tokenizer(captions, vocabulary=400, max_length=40)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=40,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    return TextTowerTask(CLIPTextModel(config), tokenizer)


def named(factors: list[int], names: tuple[str, ...]) -> dict[str, str]:
    pairs = zip(names, factors, strict=True)
    return {name: FACTORS[name][index] for name, index in pairs if index != UNNAMED}


def test_subjects_on_white_are_shown_shifted_with_their_factors(
    image_tower: ImageTowerTask,
) -> None:
    dataset = image_tower.dataset(0)
    assert isinstance(dataset, SubjectsOnWhite)
    assert 0 < len(dataset.alone) < image_tower.pool
    passes = [dataset[number * len(dataset.alone)] for number in range(4)]
    first = passes[0]
    assert all(sample["factors"] == first["factors"] for sample in passes)
    assert len({sample["image"].tobytes() for sample in passes}) > 1
    spec, alone = dataset.pictures.pooled(dataset.alone[0])
    assert alone
    told = named(first["factors"], ON_WHITE)
    concept, view = spec.actors[0].concept, spec.actors[0].view
    assert (told["category"], told["glyph"]) == (concept.category, concept.glyph)
    assert told["posture"] == view.posture
    assert (told["light"], told["style"]) == (spec.light.direction, spec.style)
    edge = (LARGEST_SHIFT, LARGEST_SHIFT)
    picture = dataset.pictures.picture(dataset.alone[0])
    assert np.array_equal(picture, toyland.segment(spec, 0, image_tower.size))
    wide = np.pad(picture, (edge, edge, (0, 0)), constant_values=255)
    shifts = itertools.product(range(2 * LARGEST_SHIFT + 1), repeat=2)
    side = image_tower.size
    assert any(np.array_equal(first["image"], wide[y : y + side, x : x + side]) for y, x in shifts)


def test_a_caption_is_asked_for_what_it_says() -> None:
    """Nothing else, or the tower would learn to guess."""
    dataset = Captions(0, "train")
    asked: Counter[str] = Counter()
    for index in range(200):
        sample = dataset[index]
        told = named(sample["factors"], tuple(FACTORS))
        asked.update(told.keys())
        words = sample["caption"].replace(",", "").split()
        for name in ("category", "main_colour", "second_colour", "glyph"):
            assert name not in told or told[name] in words
        assert ("pattern_scale" in told) <= (told.get("pattern", "plain") != "plain")
        assert told.get("glyph") != ""
        assert told.get("mark") != "none"
    assert set(asked) == set(FACTORS)


def test_of_several_subjects_only_what_they_share_is_asked() -> None:
    for count in (2, 3):
        spec = toyland.sample_spec(np.random.default_rng(count), subjects=count)
        assert set(named(factor_indices(told_in(spec, FACTORS), FACTORS), tuple(FACTORS))) == SHARED


def test_a_plain_subject_is_not_asked_how_fine_its_pattern_is() -> None:
    found = Counter()
    for seed in range(40):
        spec = toyland.sample_spec(np.random.default_rng(seed))
        told = named(factor_indices(seen_in(spec), ON_WHITE), ON_WHITE)
        found[told["pattern"] == "plain", "pattern_scale" in told] += 1
    assert found.keys() == {(True, False), (False, True)}


def test_towers_are_tried_on_held_out_subjects(
    image_tower: ImageTowerTask, text_tower: TextTowerTask
) -> None:
    """Two letters are on held-out subjects only, and no value of the glyph."""
    glyph = ON_WHITE.index("glyph")
    assert any(sample["factors"][glyph] == UNNAMED for sample in image_tower.held_out())
    words = [sample["caption"] for sample in text_tower.held_out()]
    assert any(re.search(r"\b[A-Z]{2}\b", caption) for caption in words)
    for task, names in ((image_tower, ON_WHITE), (text_tower, tuple(FACTORS))):
        shares = task.diagnose(task.collate([task.dataset(0)[0]]))
        assert set(shares) == {f"held_out_{name}" for name in names}
        assert 0 <= shares["held_out_category"] <= 0.3


def test_what_nobody_asks_for_costs_nothing(text_tower: TextTowerTask) -> None:
    silent = [UNNAMED] * len(FACTORS)
    batch = text_tower.collate([{"caption": "a toy", "factors": silent}] * 2)
    output = text_tower(batch)
    assert output["loss"].item() == 0
    output["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in text_tower.parameters() if p.grad is not None)


def test_a_text_tower_learns_to_name(text_tower: TextTowerTask) -> None:
    dataset = text_tower.dataset(0)
    batch = text_tower.collate([dataset[index] for index in range(32)])
    optimizer = torch.optim.AdamW(text_tower.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        output = text_tower(batch)
        output["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(output["loss"].item())
    assert losses[-1] < 0.5 * losses[0]
    assert output["scene"] > 0.6
