"""Subjects with other people's weights: what their own parts make by hand, bit for bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import published
import pytest
import tiny
import torch
from diffusers import FluxPipeline
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from dynaip.adapter.card import SubjectCard, encode_card
from dynaip.adapter.foreign import ForeignAdapter
from dynaip.adapter.prompt import ImagePrompt
from dynaip.analysis.attention_maps import picture_attention
from dynaip.hosts.flux import attach
from dynaip.hosts.sites import BlockBranches
from dynaip.pictures import read_reference
from dynaip.pipeline.flux import PersonalPipeline
from dynaip.pipeline.subject import Subject, token_mask

SIZE = 16  # pixels of a reference
GRID = (tiny.SIZE // 4,) * 2
SEEN = 1e-4
RED = Image.new("RGB", (20, 10), "red")
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8))
TOWER = {
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "patch_size": 4,
}
FAMILIES = ("InstantX", "XLabs")


def tower(family: str) -> Any:
    """An encoder whose output is as wide as the weights ask for."""
    torch.manual_seed(3)
    if family == "InstantX":
        made = SiglipVisionModel(SiglipVisionConfig(hidden_size=published.EMBED, **TOWER))
    else:
        config = CLIPVisionConfig(hidden_size=24, projection_dim=published.EMBED, **TOWER)
        made = CLIPVisionModelWithProjection(config)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return made.eval()


def weights(family: str, folder: Path, encoder: str = "nowhere", **sizes: int) -> ForeignAdapter:
    """A published file's weights; the encoder is called as the test has it."""
    if family == "InstantX":
        torch.save(published.instantx(**sizes), folder / "ip.bin")
    else:
        save_file(published.xlabs(**sizes), folder / "ip.safetensors")
    (file,) = folder.glob("ip.*")
    adapter = ForeignAdapter.from_file(file, head_dim=published.HEAD_DIM)
    convention = dataclasses.replace(adapter.config.convention, encoder=encoder)
    adapter.config = dataclasses.replace(adapter.config, convention=convention)
    return adapter


@pytest.fixture(scope="module")
def pipe() -> FluxPipeline:
    return tiny.pipeline()


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def adapter(family: str, tmp_path: Path) -> ForeignAdapter:
    return weights(family, tmp_path)


@pytest.fixture
def encoder(family: str) -> Any:
    return tower(family)


def draw(call: Any, **arguments: Any) -> np.ndarray:
    size = {"height": tiny.SIZE, "width": tiny.SIZE, "max_sequence_length": 12}
    generator = torch.Generator().manual_seed(7)
    options = {"num_inference_steps": 2, "output_type": "np", "generator": generator}
    return call("a red dog", **size, **options, **arguments).images


@torch.no_grad()
def embeds(adapter: ForeignAdapter, encoder: Any, picture: Image.Image) -> torch.Tensor:
    """By hand: transformers' own processor, and the output that the convention names."""
    side = {"height": SIZE, "width": SIZE}
    if isinstance(encoder, SiglipVisionModel):
        processor: Any = SiglipImageProcessor(size=side)
    else:
        processor = CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size=side)
    pixels = processor(read_reference(picture, SIZE), return_tensors="pt")
    return getattr(encoder(**pixels), adapter.config.convention.encoder_output)


def by_hand(adapter: ForeignAdapter, encoder: Any, picture: Image.Image) -> ImagePrompt:
    return adapter.project(adapter.encode(embeds(adapter, encoder, picture)))


def draw_by_hand(pipe: Any, adapter: ForeignAdapter, prompt: ImagePrompt) -> np.ndarray:
    branches = BlockBranches(**adapter.branches)
    with attach(pipe.transformer, prompt, branches=branches):
        return draw(pipe)


def test_a_subject_is_what_its_parts_make_by_hand(
    pipe: FluxPipeline, adapter: ForeignAdapter, encoder: Any
) -> None:
    wanted = draw_by_hand(pipe, adapter, by_hand(adapter, encoder, RED).with_scale(0.7))
    with adapter.attach(pipe, image_encoder=encoder) as personal:
        found = draw(personal, subjects=[Subject(RED, scale=0.7)])
        result = personal("a red dog", subjects=[Subject(RED)] * 2, num_inference_steps=1)
        nobody = personal.encode([])
        other = draw(personal, subjects=[Subject(NOISE, scale=0.7)])
    np.testing.assert_array_equal(found, wanted)
    assert abs(found - other).max() > SEEN
    assert abs(found - draw(pipe)).max() > SEEN
    assert torch.equal(result.coefficients, torch.ones(1, 2, 1))
    assert nobody.coefficients.shape == (1, 0, 1)


def test_each_subject_keeps_to_its_place(
    pipe: FluxPipeline, adapter: ForeignAdapter, encoder: Any
) -> None:
    halves = [(0, 0, 0.5, 1), (0.5, 0, 1, 1)]
    masks = [torch.from_numpy(token_mask(half, GRID))[None] for half in halves]
    prompts = [by_hand(adapter, encoder, picture) for picture in (RED, NOISE)]
    placed = [prompt.with_mask(mask) for prompt, mask in zip(prompts, masks, strict=True)]
    wanted = draw_by_hand(pipe, adapter, ImagePrompt.join(placed))
    with adapter.attach(pipe, image_encoder=encoder) as personal:
        found, swapped = (
            draw(personal, subjects=[Subject(RED, mask=one), Subject(NOISE, mask=other)])
            for one, other in (("left", "right"), ("right", "left"))
        )
    np.testing.assert_array_equal(found, wanted)
    assert abs(found - swapped).max() > SEEN


def test_off_is_the_base_bit_for_bit(
    pipe: FluxPipeline, adapter: ForeignAdapter, encoder: Any
) -> None:
    base, processors = draw(pipe), pipe.transformer.attn_processors
    with adapter.attach(pipe, image_encoder=encoder) as personal:
        assert abs(draw(personal, subjects=[Subject(RED)]) - base).max() > SEEN
        np.testing.assert_array_equal(draw(personal), base)
        np.testing.assert_array_equal(draw(personal, subjects=[Subject(RED, scale=0)]), base)
    restored = pipe.transformer.attn_processors
    assert all(restored[name] is processors[name] for name in processors)
    np.testing.assert_array_equal(draw(pipe), base)


def test_a_card_is_its_picture(
    pipe: FluxPipeline, adapter: ForeignAdapter, encoder: Any, tmp_path: Path
) -> None:
    with adapter.attach(pipe, image_encoder=encoder) as personal:
        wanted = draw(personal, subjects=[Subject(RED)])
        card = personal.encode_card(Subject(RED))
        views = personal.encode([Subject([RED, NOISE])]).prompt
        mixed = personal.encode([Subject([card, NOISE])]).prompt
    assert torch.equal(views.keys[0], mixed.keys[0])
    made = encode_card(adapter, embeds(adapter, encoder, RED))
    assert torch.equal(card.tokens, made.tokens)
    card.save(tmp_path / "rex.safetensors")
    assert SubjectCard.load(tmp_path / "rex.safetensors").fused
    with adapter.attach(pipe) as personal:  # its encoder is nowhere
        found = draw(personal, subjects=[Subject(tmp_path / "rex.safetensors")])
        with pytest.raises(ValueError, match="image encoder nowhere cannot be loaded"):
            draw(personal, subjects=[Subject(RED)])
        adapter.image_proj.norm.weight += 1
        with pytest.raises(ValueError, match="encoded with another adapter"):
            personal.encode([Subject(card)])
    np.testing.assert_array_equal(found, wanted)


def test_granularity_is_refused(pipe: FluxPipeline, adapter: ForeignAdapter, encoder: Any) -> None:
    with adapter.attach(pipe, image_encoder=encoder) as personal:
        card = personal.encode_card(Subject(RED))
        for reference in (RED, card):
            subject = Subject(reference, granularity=(0.2, 0.3, 0.5))
            with pytest.raises(ValueError, match="no levels whose granularity"):
                draw(personal, subjects=[subject])
        for fused in (False, True):
            with pytest.raises(ValueError, match="no levels whose granularity"):
                personal.encode_card(Subject(RED, granularity=(1, 0, 0)), fused=fused)


def test_tokens_that_are_no_patches_have_no_maps(
    pipe: FluxPipeline, adapter: ForeignAdapter, encoder: Any
) -> None:
    with (
        adapter.attach(pipe, image_encoder=encoder) as personal,
        pytest.raises(ValueError, match="no patches"),
    ):
        picture_attention(personal, Image.new("RGB", (32, 32)), "a dog", [Subject(RED)])


@pytest.mark.parametrize("change", [{"blocks": 3}, {"blocks": 5}])
def test_another_base_is_refused_when_attaching(
    pipe: FluxPipeline, family: str, tmp_path: Path, change: dict[str, int]
) -> None:
    processors = pipe.transformer.attn_processors
    kind = "double blocks" if family == "XLabs" else "blocks"
    with pytest.raises(ValueError, match=f"base of {change['blocks']} {kind}.*trained on"):
        weights(family, tmp_path, **change).attach(pipe)
    restored = pipe.transformer.attn_processors
    assert all(restored[name] is processors[name] for name in processors)


def test_another_width_is_refused_when_attaching(
    pipe: FluxPipeline, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "INNER", 48)
    with pytest.raises(ValueError, match="3 heads of width 16, and this one has"):
        weights(family, tmp_path).attach(pipe)


def test_the_encoder_of_the_convention_is_loaded(
    pipe: FluxPipeline, family: str, encoder: Any, tmp_path: Path
) -> None:
    """The pipeline's own is of another kind, and left alone."""
    encoder.save_pretrained(tmp_path / "encoder")
    adapter = weights(family, tmp_path, str(tmp_path / "encoder"))
    wanted = draw_by_hand(pipe, adapter, by_hand(adapter, encoder, RED))
    for offload in (False, True):
        with adapter.attach(pipe, offload=offload) as personal:
            assert personal.reference_size == SIZE
            found = draw(personal, subjects=[Subject(RED)])
            np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_offloaded_weights_come_and_go(
    pipe: FluxPipeline, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower(family).save_pretrained(tmp_path / "encoder")
    adapter = weights(family, tmp_path, str(tmp_path / "encoder"))
    with adapter.attach(pipe, offload=True) as personal:
        personal.encode([Subject(RED)])
        moved = tiny.record_moves(monkeypatch)
        personal.encode([Subject(RED)])
    parts = ("ForeignAdapter", type(tower(family)).__name__)
    assert moved == [(part, where) for where in ("there", "cpu") for part in parts]


def test_the_encoder_may_be_part_of_a_whole_model(tmp_path: Path, pipe: FluxPipeline) -> None:
    """As it is in the repository that InstantX names."""
    sizes = {"hidden_size": published.EMBED, **TOWER}
    text = {"hidden_size": published.EMBED, "intermediate_size": 8, "num_hidden_layers": 1}
    text |= {"vocab_size": 32, "num_attention_heads": 2, "max_position_embeddings": 8}
    torch.manual_seed(0)
    whole = SiglipModel(SiglipConfig(vision_config=sizes, text_config=text)).eval()
    whole.save_pretrained(tmp_path / "encoder")
    adapter = weights("InstantX", tmp_path, str(tmp_path / "encoder"))
    with adapter.attach(pipe) as personal:
        assert personal.reference_size == SIZE
        card = personal.encode_card(Subject(RED))
    pixels = SiglipImageProcessor(size={"height": SIZE, "width": SIZE})(
        read_reference(RED, SIZE), return_tensors="pt"
    )
    with torch.no_grad():
        pooled = whole.vision_model(**pixels).pooler_output
    torch.testing.assert_close(card.tokens[0], adapter.encode(pooled))


def test_the_pipelines_own_encoder_is_read_where_it_fits(
    adapter: ForeignAdapter, encoder: Any
) -> None:
    pipe = tiny.pipeline()
    pipe.image_encoder = encoder
    with adapter.attach(pipe) as personal:
        card = personal.encode_card(Subject(RED))
    wanted = adapter.encode(embeds(adapter, encoder, RED))
    assert torch.equal(card.tokens[0], wanted)


def test_an_encoder_of_another_kind_is_refused(pipe: FluxPipeline, adapter: ForeignAdapter) -> None:
    processors = pipe.transformer.attn_processors
    with pytest.raises(ValueError, match="image_encoder is a CLIPVisionModel, and this adapter"):
        PersonalPipeline(pipe, adapter, tiny.image_encoder())
    restored = pipe.transformer.attn_processors
    assert all(restored[name] is processors[name] for name in processors)


def test_rows_are_those_of_the_publisher_unless_asked(pipe: FluxPipeline, tmp_path: Path) -> None:
    adapter, encoder = weights("InstantX", tmp_path), tower("InstantX")
    with adapter.attach(pipe, image_encoder=encoder) as personal:
        published_rows, decoupled, again = (
            draw(personal, subjects=[Subject(RED)], branches=branches)
            for branches in (None, "image", BlockBranches(double="image", single="both"))
        )
    assert abs(published_rows - decoupled).max() > SEEN
    np.testing.assert_array_equal(published_rows, again)


def test_a_phrase_chooses_among_the_publishers_rows(pipe: FluxPipeline, tmp_path: Path) -> None:
    adapter, encoder = weights("InstantX", tmp_path), tower("InstantX")
    with adapter.attach(pipe, image_encoder=encoder) as personal:
        free, phrased = (
            draw(personal, subjects=[Subject(RED, phrase=phrase)]) for phrase in (None, "dog")
        )
        assert personal.attachment.branches == BlockBranches(double="image", single="both")
    assert abs(free - phrased).max() > SEEN


def test_what_xlabs_weights_lack_is_refused(pipe: FluxPipeline, tmp_path: Path) -> None:
    """They have no text rows, and no single blocks."""
    adapter, encoder = weights("XLabs", tmp_path), tower("XLabs")
    with adapter.attach(pipe, image_encoder=encoder) as personal:
        first, second, named = (
            draw(personal, subjects=[Subject(RED, scale=scale)])
            for scale in ([1, 0], [0, 1], {"double.1": 0})
        )
        for branches in ("text", "both"):
            with pytest.raises(ValueError, match="use branches 'image'"):
                draw(personal, subjects=[Subject(RED)], branches=branches)
        with pytest.raises(ValueError, match="leave the subjects' phrases out"):
            draw(personal, subjects=[Subject(RED, phrase="dog")])
        for scale in ([1, 1, 1, 1], {"single": 0}):
            with pytest.raises(ValueError, match="0 single"):
                draw(personal, subjects=[Subject(RED, scale=scale)])
    assert abs(first - second).max() > SEEN
    np.testing.assert_array_equal(first, named)
