"""Image guidance: a second pass of the same prompt without the subjects, and away from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from diffusers import FluxImg2ImgPipeline
from PIL import Image

from dynaip.pipeline.flux import PersonalPipeline
from dynaip.pipeline.subject import Subject

RED = Image.new("RGB", (20, 10), "red")
BLUE = Image.new("RGB", (20, 10), "blue")
PROMPT = "a red dog in the snow"
SEEN = 1e-4


@pytest.fixture(scope="module", params=["text-to-image", "image-to-image"])
def personal(request: pytest.FixtureRequest) -> Iterator[PersonalPipeline]:
    pipe: Any = tiny.pipeline()
    if request.param == "image-to-image":
        pipe = FluxImg2ImgPipeline(**pipe.components)
        pipe.set_progress_bar_config(disable=True)
    with tiny.adapter().requires_grad_(False).attach(pipe) as made:
        yield made


def draw(call: Any, prompt: Any = PROMPT, **arguments: Any) -> np.ndarray:
    settings = {
        "height": tiny.SIZE,
        "width": tiny.SIZE,
        "max_sequence_length": 12,
        "num_inference_steps": 2,
        "output_type": "latent",
        "return_dict": False,
        "generator": torch.Generator().manual_seed(7),
    }
    pipe = getattr(call, "pipe", call)
    if isinstance(pipe, FluxImg2ImgPipeline):
        settings |= {"image": BLUE.resize((tiny.SIZE, tiny.SIZE)), "strength": 1.0}
    return call(prompt, **{**settings, **arguments})[0].numpy()


def test_it_goes_so_many_times_the_way(personal: Any) -> None:
    """With one step, v_0 + w (v_1 - v_0) is true of the latents, too."""
    once = {"num_inference_steps": 1}
    base, seen = draw(personal, **once), draw(personal, subjects=[Subject(RED)], **once)
    guided = draw(personal, subjects=[Subject(RED)], image_guidance_scale=3, **once)
    assert abs(seen - base).max() > SEEN
    np.testing.assert_allclose(guided, base + 3 * (seen - base), atol=1e-5)


def test_one_is_the_single_pass(personal: Any) -> None:
    subjects = [Subject(RED)]
    alone = draw(personal, subjects=subjects)
    np.testing.assert_array_equal(draw(personal, subjects=subjects, image_guidance_scale=1), alone)


def test_without_a_reference_it_is_the_base(personal: Any) -> None:
    base = draw(personal.pipe)
    for subjects in ([], [Subject(RED, scale=0.0)]):
        guided = draw(personal, subjects=subjects, image_guidance_scale=3)
        np.testing.assert_array_equal(guided, base)


@pytest.mark.parametrize("phrase", [None, "dog"])
def test_each_picture_of_a_batch_is_as_if_alone(phrase: str | None) -> None:
    prompts = [PROMPT, "a blue dog"]
    subjects = [[Subject(RED, phrase=phrase)], [Subject(BLUE, phrase=phrase)]]
    settings = {"image_guidance_scale": 2, "branches": "both"}
    with tiny.adapter().requires_grad_(False).attach(tiny.pipeline()) as personal:
        seeds = [torch.Generator().manual_seed(index) for index in range(2)]
        together = draw(personal, prompts, subjects=subjects, generator=seeds, **settings)
        for index, (prompt, own) in enumerate(zip(prompts, subjects, strict=True)):
            seed = torch.Generator().manual_seed(index)
            alone = draw(personal, prompt, subjects=own, generator=seed, **settings)
            np.testing.assert_allclose(together[index], alone[0], atol=1e-5)


def test_prompts_may_be_embedded(personal: Any) -> None:
    embeds, pooled, _ = personal.pipe.encode_prompt(PROMPT, None, max_sequence_length=12)
    embedded = {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
    settings = {"subjects": [Subject(RED)], "image_guidance_scale": 2}
    words, told = draw(personal, **settings), draw(personal, None, **settings, **embedded)
    np.testing.assert_allclose(words, told, atol=1e-5)


def test_both_passes_have_t5_s_own_prompt(personal: Any) -> None:
    once = {"num_inference_steps": 1, "prompt_2": "a blue mug"}
    base, seen = draw(personal, **once), draw(personal, subjects=[Subject(RED)], **once)
    guided = draw(personal, subjects=[Subject(RED)], image_guidance_scale=3, **once)
    np.testing.assert_allclose(guided, base + 3 * (seen - base), atol=1e-5)


def test_away_from_another_subject(personal: Any) -> None:
    once = {"num_inference_steps": 1}
    red, blue = (draw(personal, subjects=[Subject(each)], **once) for each in (RED, BLUE))
    guided = draw(
        personal,
        subjects=[Subject(RED)],
        image_guidance_scale=3,
        negative_ip_adapter_image=BLUE,
        **once,
    )
    np.testing.assert_allclose(guided, blue + 3 * (red - blue), atol=1e-5)


def test_away_from_a_subject_alone(personal: Any) -> None:
    once = {"num_inference_steps": 1}
    base, blue = draw(personal, **once), draw(personal, subjects=[Subject(BLUE)], **once)
    guided = draw(personal, image_guidance_scale=3, negative_ip_adapter_image=BLUE, **once)
    np.testing.assert_allclose(guided, blue + 3 * (base - blue), atol=1e-5)


def test_while_a_subject_is_away_both_passes_are_the_bases(personal: Any) -> None:
    made: list[torch.Tensor] = []
    hook = personal.pipe.transformer.register_forward_hook(
        lambda module, args, output: made.append(output[0])
    )
    draw(personal, subjects=[Subject(RED, end=0.5)], image_guidance_scale=3)
    hook.remove()
    assert len(made) == 4
    assert [torch.equal(*made[step : step + 2]) for step in (0, 2)] == [False, True]


def test_encoded_subjects_and_several_pictures(personal: Any) -> None:
    settings = {"image_guidance_scale": 3, "num_images_per_prompt": 2}
    once = personal.encode([Subject(RED)])
    made = [draw(personal, subjects=given, **settings) for given in (once, [Subject(RED)])]
    np.testing.assert_array_equal(*made)
    assert len(made[0]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image_guidance_scale": 0.5}, "image_guidance_scale is 0.5; give 1 for none"),
        ({"image_guidance_scale": float("nan")}, "image_guidance_scale is nan"),
        ({"image_guidance_scale": float("inf")}, "image_guidance_scale is inf"),
        ({"image_guidance_scale": 2, "negative_prompt": "a mug"}, "or negative_prompt out"),
        ({"image_guidance_scale": 2, "true_cfg_scale": 2.0}, "or true_cfg_scale out"),
        (
            {"image_guidance_scale": 2, "regional_prompts": ["a dog"], "regional_masks": ["left"]},
            "regional prompts do not go together",
        ),
    ],
)
def test_what_cannot_be_is_refused(personal: Any, arguments: dict[str, Any], words: str) -> None:
    for subjects in ([], [Subject(RED)]):
        with pytest.raises(ValueError, match=words):
            draw(personal, subjects=subjects, **arguments)
