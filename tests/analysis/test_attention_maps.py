"""Attention maps: the shares of the softmax that makes the picture, on their grids."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from dynaip.adapter.prompt import ImagePrompt
from dynaip.analysis.attention_maps import AttentionRecord, picture_attention, record_attention
from dynaip.pipeline.flux import PersonalPipeline
from dynaip.pipeline.subject import Subject

CALL = {"num_inference_steps": 2, "height": 32, "width": 16}
GRID = (8, 4)
SIDE = 4  # patches of 4 pixels, of a reference of 16


@pytest.fixture(scope="module")
def personal() -> Iterator[PersonalPipeline]:
    with PersonalPipeline(tiny.pipeline(), tiny.adapter()) as made:
        yield made


def reference(colour: str) -> Image.Image:
    picture = Image.new("RGB", (16, 16), "white")
    picture.paste(colour, (0, 0, 8, 16))
    return picture


def test_shares_and_grids_while_a_picture_is_made(personal: PersonalPipeline) -> None:
    subjects = [Subject(reference("red"), mask=(0, 0, 1, 0.5)), Subject(reference("blue"))]
    with record_attention(personal.attachment, side=SIDE) as record:
        personal("a red dog", subjects=subjects, **CALL)
    maps = record.maps(GRID)
    assert maps.picture.shape == (1, 2, *GRID)
    assert maps.words.shape == (1, 2, 12)
    for shares in maps.reference.values():
        assert shares.shape == (1, 2, 1, 4, 4)
        assert (shares > 0).all()
        assert (shares.sum((2, 3, 4)) < 1).all()
    assert (maps.picture[0, 0, 4:] == 0).all()
    assert (maps.picture[0, 0, :4] > 0).all()
    assert (maps.picture[0, 1] > 0).all()


def test_pictures_are_the_same_and_nothing_is_recorded_afterwards(
    personal: PersonalPipeline,
) -> None:
    call = {**CALL, "subjects": [Subject(reference("red"))], "output_type": "np"}

    def make() -> np.ndarray:
        return personal("a dog", generator=torch.Generator().manual_seed(0), **call).images

    plain = make()
    with record_attention(personal.attachment, side=SIDE) as record:
        assert (make() == plain).all()
    before = record.maps(GRID)
    make()
    assert (record.maps(GRID).picture == before.picture).all()


def test_scales_and_several_views(personal: PersonalPipeline) -> None:
    def maps(scale: float):
        subject = Subject([reference("red"), reference("blue")], scale=scale)
        return picture_attention(
            personal, Image.new("RGB", (33, 17), "green"), "a dog", [subject], branches="text"
        )

    once, twice = maps(1.0), maps(2.0)
    assert once.reference["image"].shape == (1, 1, 2, 4, 4)
    assert once.picture.shape == (1, 1, 4, 8)
    # The first block sees the same queries whatever is added to it, later ones do not.
    assert twice.words.sum() > 1.5 * once.words.sum()
    assert not np.allclose(once.reference["text"], once.reference["image"])


def test_the_softmax_is_the_attention_of_the_adapter() -> None:
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(1, 7, 2, 4),
        torch.randn(1, 1, 2, 5, 4),
        torch.randn(1, 1, 2, 5, 4),
    )
    prompt = ImagePrompt(keys=(key,), values=(value,), scale=torch.ones(1, 1, 1))
    record = AttentionRecord(2)
    record(0, query, prompt.block(0), 3)
    maps = record.maps((2, 2))
    expected = torch.nn.functional.scaled_dot_product_attention(
        query.transpose(1, 2), key[:, 0], value[:, 0]
    )
    loud = expected.square().mean((1, 3)).sqrt()[0].numpy()
    np.testing.assert_allclose(maps.words[0, 0], loud[:3], rtol=1e-5)
    np.testing.assert_allclose(maps.picture[0, 0].ravel(), loud[3:], rtol=1e-5)
    logits = torch.einsum("bnhd,bshmd->bhnm", query, key) / 2
    shares = logits.softmax(-1).mean(1)[0, 3:].mean(0).numpy()[1:]
    np.testing.assert_allclose(maps.reference["image"].ravel(), shares, rtol=1e-5)


@pytest.mark.parametrize(("views", "class_token"), [(5, True), (4, False)])
def test_views_that_would_make_one_square_stay_apart(views: int, class_token: bool) -> None:
    """5 x (1 + 8 x 8) is 1 + 18 x 18, and 4 x 8 x 8 is 16 x 16."""
    view = class_token + 8 * 8
    shown, patch = views - 2, class_token + 8 * 3 + 5
    key = torch.zeros(1, 1, 2, views * view, 4)
    key[..., shown * view + patch, :] = 20
    prompt = ImagePrompt(keys=(key,), values=(key,), scale=torch.ones(1, 1, 1))
    record = AttentionRecord(8, class_token=class_token)
    record(0, torch.ones(1, 7, 2, 4), prompt.block(0), 3)
    shares = record.maps((2, 2)).reference["image"]
    assert shares.shape == (1, 1, views, 8, 8)
    assert shares[0, 0, shown, 3, 5] == pytest.approx(1)
    assert shares.sum() == pytest.approx(1)
    other = AttentionRecord(7, class_token=class_token)
    other(0, torch.ones(1, 7, 2, 4), prompt.block(0), 3)
    with pytest.raises(ValueError, match=f"{views * view} tokens.*`side`"):
        other.maps((2, 2))


@pytest.mark.parametrize("class_token", [True, False])
def test_a_finished_picture_knows_how_many_views_its_subjects_have(class_token: bool) -> None:
    """10 x (1 + 4 x 4) is 1 + 13 x 13, and 4 x 4 x 4 is 8 x 8."""
    counts = (2, 5) if class_token else (1, 4)
    subjects = [Subject([reference("red")] * count) for count in counts]
    with PersonalPipeline(tiny.pipeline(), tiny.adapter(class_token=class_token)) as personal:
        maps = picture_attention(personal, Image.new("RGB", (16, 16)), "a dog", subjects)
    assert maps.reference["image"].shape == (1, 2, 10 if class_token else 4, SIDE, SIDE)


def test_only_the_blocks_that_are_asked_for(personal: PersonalPipeline) -> None:
    with record_attention(personal.attachment, side=SIDE, blocks=[9]) as record:
        personal("a dog", subjects=[Subject(reference("red"))], **CALL)
    with pytest.raises(ValueError, match="No block attended"):
        record.maps(GRID)


def test_what_cannot_be_drawn_is_refused(personal: PersonalPipeline) -> None:
    picture = Image.new("RGB", (32, 32))
    with pytest.raises(ValueError, match="need a subject"):
        picture_attention(personal, picture, "a dog", [])
    with pytest.raises(ValueError, match="between 0 and 1"):
        picture_attention(personal, picture, "a dog", [Subject(reference("red"))], noise=1.0)
    with record_attention(personal.attachment, side=SIDE) as record:
        personal("a dog", subjects=[Subject(reference("red"))], **CALL)
    with pytest.raises(ValueError, match="32 tokens"):
        record.maps()
