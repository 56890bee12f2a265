"""Several subjects at once, through a real pipeline: places, time, blocks, views, cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from dynaip.adapter.prompt import ImagePrompt
from dynaip.pipeline.subject import Subject

RED = Image.new("RGB", (20, 10), "red")
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8))
SEEN = 1e-4
GRID = (8, 8)


@pytest.fixture(scope="module")
def personal() -> Any:
    with tiny.adapter().requires_grad_(False).attach(tiny.pipeline()) as personal:
        yield personal


@pytest.fixture
def untyped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in use: under test, the import hook would refuse wrong types first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def draw(personal: Any, **arguments: Any) -> np.ndarray:
    settings = {"num_inference_steps": 2, "output_type": "latent"}
    generator = torch.Generator().manual_seed(7)
    return personal("a red dog", generator=generator, **{**settings, **arguments}).images.numpy()


def test_named_places_reach_the_tokens(personal: Any) -> None:
    made = personal.encode([Subject(RED, mask="left"), Subject(NOISE, mask="right")], GRID)
    left, right = made.prompt.mask[0].reshape(2, 8, 8)
    assert left[:, :4].min() == 1
    assert left[:, 4:].max() == 0
    assert torch.equal(right, 1 - left)


def test_left_is_a_third_beside_somebody_in_the_middle(personal: Any) -> None:
    subjects = [Subject(RED, mask=place) for place in ("left", "middle")]
    left, middle = personal.encode(subjects, (1, 6)).prompt.mask[0]
    assert left.tolist() == pytest.approx([1, 1, 0, 0, 0, 0])
    assert middle.tolist() == pytest.approx([0, 0, 1, 1, 0, 0])


def test_overlap_is_chosen_at_the_call(personal: Any) -> None:
    subjects = [Subject(RED), Subject(NOISE)]
    first = draw(personal, subjects=subjects, overlap="priority")
    np.testing.assert_allclose(first, draw(personal, subjects=[Subject(RED)]), atol=1e-5)
    assert abs(first - draw(personal, subjects=subjects)).max() > SEEN


def test_strength_by_block(personal: Any) -> None:
    made = personal.encode([Subject(RED, scale={"double": 1, "single": 0.5}), Subject(NOISE)])
    assert made.prompt.scale.tolist() == [[[1, 1, 0.5, 0.5], [1, 1, 1, 1]]]
    with pytest.raises(ValueError, match="4 blocks"):
        personal.encode([Subject(RED, scale=[1.0, 1.0])])


def test_a_subject_comes_and_goes(personal: Any) -> None:
    """Half of a two-step run is its first step alone: the halves differ, and make up the whole."""
    seen = []

    def watch(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        processor = pipe.transformer.transformer_blocks[0].attn.processor
        seen.append(processor.block.image_weight.flatten().tolist())
        return tensors

    subjects = [Subject(RED, end=0.5), Subject(NOISE, start=0.5)]
    draw(personal, subjects=subjects, callback_on_step_end=watch)
    assert seen == [[1, 0], [0, 1]]
    base, whole = draw(personal), draw(personal, subjects=[Subject(RED)])
    late = draw(personal, subjects=[Subject(RED, start=0.5)])
    assert abs(late - base).max() > SEEN
    assert abs(late - whole).max() > SEEN


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (-0.1, 1), (0, 1.5), (1, 0)])
def test_a_bad_time_is_refused(start: float, end: float) -> None:
    with pytest.raises(ValueError, match="0 <= start < end <= 1"):
        Subject(RED, start=start, end=end)


def test_views_share_one_softmax(personal: Any) -> None:
    """Against the plain formula: attention over the tokens of both views, side by side."""
    both = personal.encode([Subject([RED, NOISE])]).prompt
    red, noise = (personal.encode([Subject(view)]).prompt for view in (RED, NOISE))
    assert both.subjects == 1
    torch.testing.assert_close(both.keys[0], torch.cat([red.keys[0], noise.keys[0]], dim=3))
    torch.testing.assert_close(both.values[3], torch.cat([red.values[3], noise.values[3]], dim=3))
    with pytest.raises(ValueError, match="list of views is empty"):
        Subject([])


def test_subjects_may_differ_in_views(personal: Any) -> None:
    alone = draw(personal, subjects=[Subject(RED)])
    pair = [Subject(RED), Subject([RED, NOISE], scale=0.0)]
    np.testing.assert_allclose(draw(personal, subjects=pair), alone, atol=1e-5)


def test_prompts_may_differ_in_views(personal: Any) -> None:
    each = [[Subject([RED, NOISE])], [Subject(RED)]]
    prompt = personal._encode(each, None, "sum").prompt
    two, one = (personal.encode(subjects).prompt for subjects in each)
    torch.testing.assert_close(prompt.keys[0][:1], two.keys[0])
    torch.testing.assert_close(prompt.keys[0][1:], torch.cat([one.keys[0]] * 2, dim=3))


def test_encoded_once_used_often(personal: Any) -> None:
    subjects = [Subject(RED, mask="left"), Subject(NOISE, start=0.5)]
    once = personal.encode(subjects, GRID)
    for _ in range(2):
        np.testing.assert_array_equal(
            draw(personal, subjects=once), draw(personal, subjects=subjects)
        )
    with pytest.raises(ValueError, match="give overlap to `encode`"):
        draw(personal, subjects=once, overlap="priority")


def test_a_card_stands_for_its_picture(personal: Any, tmp_path: Path) -> None:
    path = tmp_path / "noise.safetensors"
    personal.encode_card(Subject(NOISE)).save(path)
    for granularity in (None, (0.5, 0.5, 0)):
        card, picture = (
            draw(personal, subjects=[Subject(image, granularity=granularity)])
            for image in (path, NOISE)
        )
        np.testing.assert_array_equal(card, picture)
    views = personal.encode([Subject([path, RED])]).prompt
    torch.testing.assert_close(
        views.keys[0], personal.encode([Subject([NOISE, RED])]).prompt.keys[0]
    )


def test_offloaded_weights_come_and_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The adapter's, and those of an encoder that the pipeline has not."""
    tiny.image_encoder().save_pretrained(tmp_path)
    pipe = tiny.pipeline()
    pipe.image_encoder = None
    adapter = tiny.adapter(encoder=str(tmp_path)).requires_grad_(False)
    with adapter.attach(pipe) as personal:
        expected = draw(personal, subjects=[Subject(RED)])
    with adapter.attach(pipe, offload=True) as personal:
        np.testing.assert_array_equal(draw(personal, subjects=[Subject(RED)]), expected)
        moved = tiny.record_moves(monkeypatch)
        assert isinstance(personal.encode([Subject(RED)], GRID).prompt, ImagePrompt)
    parts = ("DynaIPAdapter", "CLIPVisionModel")
    assert moved == [(part, where) for where in ("there", "cpu") for part in parts]


def test_the_unconditional_pass_may_see_a_reference(personal: Any) -> None:
    guided = {"negative_prompt": "a blue mug", "true_cfg_scale": 3.0, "subjects": [Subject(RED)]}
    plain = draw(personal, **guided)
    noisy = draw(personal, **guided, negative_ip_adapter_image=NOISE)
    same = draw(personal, **guided, negative_ip_adapter_image=Subject(NOISE, scale=0.0))
    assert abs(noisy - plain).max() > SEEN
    np.testing.assert_array_equal(same, plain)
    with pytest.raises(ValueError, match="this call has none"):
        draw(personal, negative_ip_adapter_image=NOISE)


@pytest.mark.parametrize(
    "subjects",
    [
        Subject(RED),
        RED,
        "rex.png",
        ["rex.png"],
        [Subject(RED), RED],
        [[Subject(RED)], Subject(RED)],
    ],
)
def test_what_is_no_subject_is_refused(personal: Any, subjects: Any, untyped: None) -> None:
    with pytest.raises(ValueError, match=r"subjects is a list|as many prompts"):
        personal("a red dog", subjects=subjects)


def test_overlap_is_checked_without_subjects_too(personal: Any, untyped: None) -> None:
    with pytest.raises(ValueError, match="sum, normalise, priority"):
        personal("a red dog", overlap="most")


def test_a_subject_that_no_step_would_see_is_refused(personal: Any) -> None:
    for start, end in ((0.6, 1.0), (0.1, 0.4)):
        with pytest.raises(ValueError, match=f"No step of 2 lies between the start {start}"):
            draw(personal, subjects=[Subject(RED), Subject(RED, start=start, end=end)])
    assert personal.attachment.prompt is None


def test_strength_over_time(personal: Any) -> None:
    """A callback may set another strength for the next step; nothing is projected again."""
    made = personal.encode([Subject(RED)])
    base, whole = draw(personal), draw(personal, subjects=made)

    def fade(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        personal.attachment.set_prompt(made.prompt.with_scale(0.0))
        return tensors

    faded = draw(personal, subjects=made, callback_on_step_end=fade)
    np.testing.assert_array_equal(faded, draw(personal, subjects=[Subject(RED, end=0.5)]))
    assert abs(faded - base).max() > SEEN
    assert abs(faded - whole).max() > SEEN


def test_names_of_the_stock_adapter_are_refused(personal: Any) -> None:
    with pytest.raises(ValueError, match=r"give subjects=\[Subject"):
        draw(personal, ip_adapter_image=RED)
