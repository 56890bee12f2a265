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
    with_sizes,
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
    given = with_sizes(pipe, {"height": 16, "width": None, "generator": None})
    assert given == {**sizes, "height": 16}


CARD = "---\nlicense: apache-2.0\n{}\n---\n# A model\n"
TOLD = "inference: {{parameters: {{guidance_scale: {}}}}}"


@pytest.fixture(scope="module")
def saved(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    pipe.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("told", "guidance"),
    [
        ("", None),
        ("inference: false", None),
        ("inference: {parameters: {steps: 3}}", None),
        (TOLD.format(2), 2),
        (TOLD.format(0), 0),
    ],
)
def test_guidance_is_the_cards(
    told: str,
    guidance: float | None,
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the pipeline that is loaded, and of others made out of it, wherever one is."""
    (saved / "README.md").write_text(CARD.format(told))
    monkeypatch.chdir(saved.parent)
    loaded = load(saved.name)
    monkeypatch.chdir(tmp_path)
    own = [3.5, 7] if guidance is None else [guidance] * 2
    other = FluxImg2ImgPipeline.from_pipe(loaded)
    assert [default_guidance(each) for each in (loaded, other)] == own
    assert default_guidance(loaded, 4) == 4


def test_a_picture_is_drawn_with_it(saved: Path) -> None:
    (saved / "README.md").write_text(CARD.format(TOLD.format(9)))
    pipe = load(saved)
    sizes = {"height": tiny.SIZE, "width": tiny.SIZE, "max_sequence_length": 12}
    call = {"num_inference_steps": 1, "output_type": "latent", "return_dict": False}
    pictures = []
    with tiny.adapter().attach(pipe) as personal:
        for make, more in ((personal, {}), (pipe, {**sizes, "guidance_scale": 9.0}), (pipe, sizes)):
            seed = torch.Generator().manual_seed(0)
            pictures.append(make("a dog", generator=seed, **call, **more)[0])
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


def test_without_a_card_it_is_diffusers_own(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that of a README that happens to be here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text(CARD.format(TOLD.format(9)))
    assert default_guidance(pipe) == 3.5


@pytest.mark.parametrize("told", ["much", "-2", ".nan", ".inf", "true"])
def test_a_guidance_that_is_none(told: str, saved: Path) -> None:
    (saved / "README.md").write_text(CARD.format(TOLD.format(told)))
    with pytest.raises(ValueError, match=r"guidance_scale in .*README.md is .*; make it a number"):
        default_guidance(load(saved))


@pytest.mark.parametrize("text", [CARD.format("title: a: b"), "---\n- a\n---\n", "---\n\udce9"])
def test_a_card_that_cannot_be_read(text: str, saved: Path) -> None:
    """It is asked for only where it counts."""
    (saved / "README.md").write_bytes(text.encode("utf-8", "surrogateescape"))
    loaded = load(saved)
    assert default_guidance(loaded, 2) == 2
    assert default_arguments(loaded)["height"] == tiny.SIZE
    with pytest.raises(ValueError, match=r"model card .*README.md cannot be read"):
        default_guidance(loaded)


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
    grid = token_grid(pipe, with_sizes(pipe, {"height": height, "width": width}))
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
