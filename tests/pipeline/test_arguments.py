"""Sizes and guidance out of a call's arguments, against what diffusers makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from diffusers import FluxImg2ImgPipeline, FluxKontextPipeline
from PIL import Image

from dynaip.pipeline.arguments import (
    default_arguments,
    default_guidance,
    is_guided,
    token_grid,
    with_defaults,
)
from dynaip.pipeline.flux import load
from dynaip.pipeline.subject import Subject

RED = Image.new("RGB", (20, 10), "red")
TOP = (0.0, 0.0, 1.0, 0.5)


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny.pipeline()


@pytest.fixture(scope="module")
def kontext(pipe: Any) -> Any:
    parts = {name: part for name, part in pipe.components.items() if name != "image_encoder"}
    kontext = FluxKontextPipeline(**parts, image_encoder=tiny.image_encoder())
    kontext.set_progress_bar_config(disable=True)
    return kontext


def test_sizes_are_the_models(pipe: Any, kontext: Any) -> None:
    sizes = {"height": tiny.SIZE, "width": tiny.SIZE, "max_sequence_length": 12}
    assert default_arguments(pipe) == sizes
    assert default_arguments(kontext) == {**sizes, "max_area": tiny.SIZE**2}
    given = with_defaults(pipe, {"height": 16, "width": None, "generator": None})
    assert given == {**sizes, "height": 16}


CARD = "---\nlicense: apache-2.0\n{}---\n# A model\n"


@pytest.mark.parametrize(
    ("told", "guidance"),
    [
        ("", None),
        ("inference: false\n", None),
        ("inference:\n  parameters:\n    steps: 3\n", None),
        ("inference:\n  parameters:\n    guidance_scale: 2\n", 2),
    ],
)
def test_guidance_is_the_cards(
    told: str, guidance: float | None, pipe: Any, tmp_path: Path
) -> None:
    """Of the pipeline that is loaded, and of others made out of it."""
    pipe.save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text(CARD.format(told))
    loaded = load(tmp_path)
    assert default_arguments(loaded).get("guidance_scale") == guidance
    assert default_guidance(loaded) == (guidance or 3.5)
    assert default_guidance(FluxImg2ImgPipeline.from_pipe(loaded)) == (guidance or 7)
    assert with_defaults(loaded, {"guidance_scale": 4})["guidance_scale"] == 4


def test_without_a_card_it_is_diffusers_own(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text(
        CARD.format("inference: {parameters: {guidance_scale: 9}}\n")
    )
    assert default_guidance(pipe) == 3.5


def test_a_guidance_that_is_no_number(pipe: Any, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text(
        CARD.format("inference: {parameters: {guidance_scale: much}}\n")
    )
    with pytest.raises(ValueError, match=r"guidance_scale of .*README.md is 'much'; make it a"):
        default_arguments(load(tmp_path))


def test_without_a_size_there_is_no_grid(pipe: Any) -> None:
    assert token_grid(pipe, {"height": 16}) is None


@pytest.mark.parametrize(
    ("name", "height", "width"),
    [("pipe", 24, 49), ("pipe", 39, 16), ("kontext", 24, 48), ("kontext", 300, 100)],
)
def test_the_grid_is_that_of_the_pass(
    name: str, height: int, width: int, request: pytest.FixtureRequest
) -> None:
    """A mask of the upper half changes the picture's first rows of tokens, at one site."""
    pipe = request.getfixturevalue(name)
    rows, changed = [], []
    with tiny.adapter().requires_grad_(False).attach(pipe) as personal:
        site = pipe.transformer.transformer_blocks[0].attn
        hook = site.register_forward_hook(lambda module, args, output: rows.append(output[0]))
        for subjects in ([], [Subject(RED, mask=TOP, scale=[1.0, 0.0, 0.0, 0.0])]):
            call = {"height": height, "width": width, "num_inference_steps": 1, "image": RED}
            if name == "pipe":
                del call["image"]
            else:
                call["_auto_resize"] = False
            generator = torch.Generator().manual_seed(0)
            personal("a dog", subjects=subjects, output_type="latent", generator=generator, **call)
        hook.remove()
    grid = token_grid(pipe, with_defaults(pipe, {"height": height, "width": width}))
    assert grid is not None
    assert grid[0] != grid[1]
    changed = (rows[1] - rows[0]).abs().amax((0, 2))[: grid[0] * grid[1]].reshape(grid) > 0
    assert changed[: grid[0] // 2].all()
    assert not changed[-(grid[0] // 2) :].any()


@pytest.mark.parametrize(
    ("arguments", "guided"),
    [
        ({}, False),
        ({"true_cfg_scale": 3.0}, False),
        ({"negative_prompt": "a mug"}, False),
        ({"negative_prompt": "a mug", "true_cfg_scale": 1.0}, False),
        ({"negative_prompt": "", "true_cfg_scale": 3.0}, True),
        ({"negative_prompt_embeds": 1, "true_cfg_scale": 3.0}, False),
        (
            {
                "negative_prompt_embeds": 1,
                "negative_pooled_prompt_embeds": 1,
                "true_cfg_scale": 3.0,
            },
            True,
        ),
    ],
)
def test_guidance_is_where_diffusers_makes_it(arguments: dict[str, Any], guided: bool) -> None:
    assert is_guided(arguments) == guided
