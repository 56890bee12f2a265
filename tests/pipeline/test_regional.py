"""Regional prompting through a real pipeline, beside subjects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from dynaip.pipeline.subject import Subject

RED = Image.new("RGB", (20, 10), "red")
SEEN = 1e-4
HALVES = {"regional_prompts": ["a red dog", "a blue mug"], "regional_masks": ["left", "right"]}


@pytest.fixture(scope="module")
def personal() -> Any:
    with tiny.adapter().requires_grad_(False).attach(tiny.pipeline()) as personal:
        yield personal


def draw(personal: Any, prompt: str = "the beach", **arguments: Any) -> np.ndarray:
    settings = {"num_inference_steps": 2, "output_type": "latent"}
    generator = torch.Generator().manual_seed(7)
    return personal(prompt, generator=generator, **{**settings, **arguments}).images.numpy()


def test_places_have_their_own_prompts(personal: Any) -> None:
    base = draw(personal)
    halves = draw(personal, **HALVES)
    turned = draw(personal, **{**HALVES, "regional_masks": ["right", "left"]})
    assert abs(halves - base).max() > SEEN
    assert abs(halves - turned).max() > SEEN
    np.testing.assert_array_equal(draw(personal), base)
    np.testing.assert_allclose(draw(personal, **HALVES, base_ratio=1.0), base, atol=1e-4)


def test_the_steps_are_counted(personal: Any) -> None:
    """Two of two steps is always; one of them is another picture."""
    once, twice, more = (draw(personal, **HALVES, mask_inject_steps=n) for n in (1, 2, 10))
    assert abs(once - twice).max() > SEEN
    np.testing.assert_array_equal(twice, more)


def test_beside_subjects_and_guidance(personal: Any) -> None:
    guided = {"negative_prompt": "the snow", "true_cfg_scale": 3.0}
    for others in ({}, guided):
        plain = draw(personal, **HALVES, **others)
        subject = draw(personal, subjects=[Subject(RED, mask="left")], **HALVES, **others)
        off = draw(personal, subjects=[Subject(RED, scale=0.0)], **HALVES, **others)
        assert abs(subject - plain).max() > SEEN
        np.testing.assert_array_equal(off, plain)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"base_ratio": 0.5}, "are about regional_prompts"),
        ({**HALVES, "regional_masks": ["left"]}, "2 regional_prompts and 1 regional_masks"),
        ({**HALVES, "base_ratio": 1.5}, "share from 0 to 1"),
        ({**HALVES, "mask_inject_steps": 0}, "1 or more"),
        ({**HALVES, "regional_masks": ["left", (0, 0, 0.01, 0.01)]}, "draw it larger"),
        ({"joint_attention_kwargs": {"base_ratio": 0.3}}, "base_ratio in joint_attention_kwargs"),
    ],
)
def test_what_cannot_be_used_is_refused(personal: Any, arguments: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        draw(personal, **arguments)
    assert personal.attachment.prompt is None
