"""References read with an image encoder, wherever it waits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from accelerate import cpu_offload, cpu_offload_with_hook
from PIL import Image

from dynaip.pipeline.flux import PersonalPipeline
from dynaip.pipeline.references import side_by_side
from dynaip.pipeline.subject import Subject

RED = Image.new("RGB", (20, 10), "red")


def coefficients(pipe: Any, **encoder: Any) -> torch.Tensor:
    with PersonalPipeline(pipe, tiny.adapter().requires_grad_(False), **encoder) as personal:
        return personal.encode([Subject(RED)]).coefficients


@pytest.fixture(scope="module")
def expected() -> torch.Tensor:
    return coefficients(tiny.pipeline())


def test_the_encoder_is_the_pipelines_or_the_one_given(expected: torch.Tensor) -> None:
    pipe = tiny.pipeline()
    encoder, pipe.image_encoder = pipe.image_encoder, None
    torch.testing.assert_close(coefficients(pipe, image_encoder=encoder), expected)


@pytest.mark.parametrize("offload", [cpu_offload, cpu_offload_with_hook])
def test_the_encoder_may_be_offloaded(offload: Any, expected: torch.Tensor) -> None:
    """Sequentially its weights wait on the meta device, where no picture can go."""
    pipe = tiny.pipeline()
    offload(pipe.image_encoder, torch.device("cpu"))
    torch.testing.assert_close(coefficients(pipe), expected)


def test_the_encoder_named_in_the_config_is_loaded(tmp_path: Path) -> None:
    tiny.image_encoder().save_pretrained(tmp_path / "encoder")
    pipe = tiny.pipeline()
    adapter = tiny.adapter(encoder=str(tmp_path / "encoder"))
    with adapter.attach(pipe) as personal:
        expected = personal.encode([Subject(RED)]).coefficients
    pipe.image_encoder = None
    with adapter.attach(pipe) as personal:
        torch.testing.assert_close(personal.encode([Subject(RED)]).coefficients, expected)
    with (
        tiny.adapter(encoder=str(tmp_path / "nowhere")).attach(pipe) as personal,
        pytest.raises(ValueError, match="image encoder"),
    ):
        personal.encode([Subject(RED)])


def test_cards_need_no_encoder_but_their_own_adapter() -> None:
    with tiny.adapter().requires_grad_(False).attach(tiny.pipeline()) as personal:
        card = personal.encode_card(Subject(RED))
        expected = personal.encode([Subject(RED)])
    pipe, adapter = tiny.pipeline(), tiny.adapter(encoder="nowhere").requires_grad_(False)
    pipe.image_encoder = None
    with adapter.attach(pipe) as personal:
        found = personal.encode([Subject(card)])
        assert torch.equal(found.prompt.keys[0], expected.prompt.keys[0])
        adapter.fusion.experts[0][0].weight += 1
        with pytest.raises(ValueError, match="encoded with another adapter"):
            personal.encode([Subject(card)])
        with pytest.raises(ValueError, match="is a card already"):
            personal.encode_card(Subject(card))


def test_coefficients_of_views_are_their_mean() -> None:
    blue = Image.new("RGB", (20, 10), "blue")
    with tiny.adapter().requires_grad_(False).attach(tiny.pipeline()) as personal:
        views, red, other = (
            personal.encode([Subject(image)]).coefficients for image in ([RED, blue], RED, blue)
        )
    torch.testing.assert_close(views, (red + other) / 2)
    assert (red - other).abs().max() > 1e-4


def test_fewer_views_are_repeated() -> None:
    """Of 2 and 3 views to 6; each softmax stays what it was, since all its tokens count k times."""
    pair, triple = torch.randn(2, 5, 4), torch.randn(3, 5, 4)
    one, other = side_by_side([pair, triple])
    assert one.shape == other.shape == (1, 30, 4)
    assert torch.equal(one[0], pair.flatten(0, 1).repeat(3, 1))
    assert torch.equal(other[0], triple.flatten(0, 1).repeat(2, 1))
