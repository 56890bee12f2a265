"""The pipeline with an adapter attached: what reaches the base, and what is restored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from diffusers import DiffusionPipeline, FluxImg2ImgPipeline, FluxPipeline
from PIL import Image

from dynaip.adapter.model import DynaIPAdapter
from dynaip.hosts.sites import BlockBranches
from dynaip.pipeline.flux import PersonalPipeline, PersonalPipelineOutput, load
from dynaip.pipeline.subject import Subject

PROMPT = "a red dog"
SEEN = 1e-4  # far above rounding
RED = Image.new("RGB", (20, 10), "red")
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def pipe() -> FluxPipeline:
    return tiny.pipeline()


@pytest.fixture(scope="module")
def adapter() -> DynaIPAdapter:
    return tiny.adapter()


def draw(call: Any, prompt: Any = PROMPT, **arguments: Any) -> np.ndarray:
    settings = {"num_inference_steps": 2, "output_type": "np"}
    generator = torch.Generator().manual_seed(7)
    return call(prompt, generator=generator, **{**settings, **arguments}).images


def base(pipe: FluxPipeline, prompt: Any = PROMPT, **arguments: Any) -> np.ndarray:
    size = {"height": tiny.SIZE, "width": tiny.SIZE, "max_sequence_length": 12}
    return draw(pipe, prompt, **{**size, **arguments})


def test_a_subject_changes_the_picture_and_says_its_coefficients(
    pipe: FluxPipeline, adapter: DynaIPAdapter
) -> None:
    with adapter.attach(pipe) as personal:
        result = personal(PROMPT, subjects=[Subject(RED)], num_inference_steps=2, output_type="np")
    assert isinstance(result, PersonalPipelineOutput)
    assert result.images.shape == (1, tiny.SIZE, tiny.SIZE, 3)
    assert result.coefficients.shape == (1, 1, 3)
    assert result.coefficients.sum().item() == pytest.approx(1)


def test_the_picture_depends_on_the_reference(pipe: FluxPipeline, adapter: DynaIPAdapter) -> None:
    with adapter.attach(pipe) as personal:
        red = draw(personal, subjects=[Subject(RED)])
        again = draw(personal, subjects=[Subject(RED)])
        noise = draw(personal, subjects=[Subject(NOISE)])
    np.testing.assert_array_equal(red, again)
    assert abs(red - noise).max() > SEEN
    assert abs(red - base(pipe)).max() > SEEN


def test_no_subject_and_scale_zero_are_the_base(pipe: FluxPipeline, adapter: DynaIPAdapter) -> None:
    expected = base(pipe)
    with adapter.attach(pipe) as personal:
        np.testing.assert_array_equal(draw(personal), expected)
        off = draw(personal, subjects=[Subject(RED, scale=0.0)])
        draw(personal, subjects=[Subject(RED)])
        np.testing.assert_array_equal(base(pipe), expected)  # the pipe by itself, still attached
    np.testing.assert_allclose(off, expected, atol=1e-6)


def test_leaving_restores_the_pipeline(pipe: FluxPipeline, adapter: DynaIPAdapter) -> None:
    expected, keys = base(pipe), list(pipe.transformer.state_dict())
    processors = pipe.transformer.attn_processors
    with adapter.attach(pipe) as personal:
        assert list(pipe.transformer.state_dict()) == keys
    restored = pipe.transformer.attn_processors
    assert all(restored[name] is processors[name] for name in processors)
    np.testing.assert_array_equal(base(pipe), expected)
    personal.detach()


def test_subjects_after_detaching_are_refused(pipe: FluxPipeline, adapter: DynaIPAdapter) -> None:
    """They would have no effect; without them it is the pipeline itself."""
    with adapter.attach(pipe) as personal:
        pass
    with pytest.raises(ValueError, match="is detached"):
        draw(personal, subjects=[Subject(RED)])
    np.testing.assert_array_equal(draw(personal), base(pipe))


def test_an_error_inside_restores_the_pipeline_too(
    pipe: FluxPipeline, adapter: DynaIPAdapter
) -> None:
    processors = pipe.transformer.attn_processors

    def fail(*_: Any) -> dict[str, Any]:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), adapter.attach(pipe) as personal:
        draw(personal, subjects=[Subject(RED)], callback_on_step_end=fail)
    assert personal.attachment.prompt is None
    restored = pipe.transformer.attn_processors
    assert all(restored[name] is processors[name] for name in processors)


def test_branches_are_chosen_at_call_time(pipe: FluxPipeline, adapter: DynaIPAdapter) -> None:
    with adapter.attach(pipe) as personal:
        pictures = {
            branches: draw(personal, subjects=[Subject(RED)], branches=branches)
            for branches in (None, "image", "text", "both")
        }
    np.testing.assert_array_equal(pictures[None], pictures["image"])
    for one, other in (("image", "text"), ("image", "both"), ("text", "both")):
        assert abs(pictures[one] - pictures[other]).max() > SEEN


def test_branches_by_kind_of_block(pipe: FluxPipeline, adapter: DynaIPAdapter) -> None:
    kinds = [("image", "image"), ("image", "both"), ("both", "image"), ("both", "both")]
    with adapter.attach(pipe) as personal:
        image, both = (
            draw(personal, subjects=[Subject(RED)], branches=branches)
            for branches in ("image", "both")
        )
        pictures = [
            draw(personal, subjects=[Subject(RED)], branches=BlockBranches(double=d, single=s))
            for d, s in kinds
        ]
    np.testing.assert_array_equal(pictures[0], image)
    np.testing.assert_array_equal(pictures[3], both)
    assert len({picture.tobytes() for picture in pictures}) == len(kinds)


def test_attaching_twice_leaves_the_first(pipe: FluxPipeline, adapter: DynaIPAdapter) -> None:
    with adapter.attach(pipe) as personal:
        red = draw(personal, subjects=[Subject(RED)])
        with pytest.raises(ValueError, match="attached to this transformer already"):
            tiny.adapter().attach(pipe)
        np.testing.assert_array_equal(draw(personal, subjects=[Subject(RED)]), red)


def test_granularity_by_hand_is_used_and_reported(
    pipe: FluxPipeline, adapter: DynaIPAdapter
) -> None:
    with adapter.attach(pipe) as personal:
        conditioning = personal.encode([Subject(RED, granularity=(1, 0, 0)), Subject(RED)])
        low = draw(personal, subjects=[Subject(RED, granularity=(1, 0, 0))])
        high = draw(personal, subjects=[Subject(RED, granularity=(0, 0, 1))])
    torch.testing.assert_close(conditioning.coefficients[0, 0], torch.tensor([1.0, 0.0, 0.0]))
    assert conditioning.coefficients[0, 1].min() > 0
    assert abs(low - high).max() > SEEN


def test_each_subject_is_its_own_reference(pipe: FluxPipeline, adapter: DynaIPAdapter) -> None:
    with adapter.attach(pipe) as personal:
        both = personal.encode([Subject(RED), Subject(NOISE)])
        alone = personal.encode([Subject(NOISE)])
    torch.testing.assert_close(both.coefficients[:, 1:], alone.coefficients)
    torch.testing.assert_close(both.prompt.values[0][:, 1:], alone.prompt.values[0])
    assert (both.prompt.values[0][:, 0] - both.prompt.values[0][:, 1]).abs().max() > SEEN


def test_a_mask_is_scale_on_the_token_grid(pipe: FluxPipeline, adapter: DynaIPAdapter) -> None:
    with adapter.attach(pipe) as personal:
        everywhere = draw(personal, subjects=[Subject(RED, mask=(0, 0, 1, 1))])
        left = draw(personal, subjects=[Subject(RED, mask=(0, 0, 0.5, 1))])
        whole = draw(personal, subjects=[Subject(RED)])
        halves = [Subject(RED, mask=(0, 0, 0.5, 1)), Subject(RED, mask=(0.5, 0, 1, 1))]
        joined = draw(personal, subjects=halves)
    np.testing.assert_allclose(everywhere, whole, atol=1e-5)
    np.testing.assert_allclose(joined, whole, atol=1e-5)
    assert abs(left - whole).max() > SEEN


def test_masks_follow_the_picture_size(pipe: FluxPipeline, adapter: DynaIPAdapter) -> None:
    mask = np.zeros((24, 48), bool)
    mask[:, :24] = True
    with adapter.attach(pipe) as personal:
        wide = draw(personal, subjects=[Subject(RED, mask=mask)], height=24, width=48)
        assert wide.shape == (1, 24, 48, 3)
        with pytest.raises(ValueError, match="proportions"):
            draw(personal, subjects=[Subject(RED, mask=mask)])


def test_each_prompt_may_have_its_own_subjects(pipe: FluxPipeline, adapter: DynaIPAdapter) -> None:
    prompts = [PROMPT, PROMPT]
    with adapter.attach(pipe) as personal:
        shared = draw(personal, prompts, subjects=[Subject(RED)])
        own = draw(personal, prompts, subjects=[[Subject(RED)], [Subject(NOISE)]])
        twice = draw(
            personal,
            prompts,
            subjects=[[Subject(RED)], [Subject(NOISE)]],
            num_images_per_prompt=2,
        )
        with pytest.raises(ValueError, match="as many prompts"):
            draw(personal, PROMPT, subjects=[[Subject(RED)], [Subject(NOISE)]])
    np.testing.assert_allclose(own[0], shared[0], atol=1e-5)
    assert abs(own[1] - shared[1]).max() > SEEN
    assert twice.shape[0] == 4


def test_arguments_and_callbacks_are_the_pipelines(
    pipe: FluxPipeline, adapter: DynaIPAdapter
) -> None:
    steps = []

    def note(_: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        steps.append(step)
        return kwargs

    with adapter.attach(pipe) as personal:
        images, coefficients = personal(
            PROMPT,
            subjects=[Subject(RED)],
            num_inference_steps=3,
            callback_on_step_end=note,
            output_type="latent",
            num_images_per_prompt=2,
            height=16,
            width=None,
            return_dict=False,
        )
        with pytest.raises(TypeError, match="nonsense"):
            personal(PROMPT, nonsense=1)
    assert steps == [0, 1, 2]
    assert images.shape == (2, 4 * 8, 16)
    assert coefficients.shape == (1, 1, 3)


def test_the_unconditional_pass_sees_no_reference(
    pipe: FluxPipeline, adapter: DynaIPAdapter
) -> None:
    arguments = {"negative_prompt": "a blue mug", "true_cfg_scale": 3.0}
    with adapter.attach(pipe) as personal:
        off = draw(personal, subjects=[Subject(RED, scale=0.0)], **arguments)
        on = draw(personal, subjects=[Subject(RED)], **arguments)
    np.testing.assert_allclose(off, base(pipe, **arguments), atol=1e-6)
    assert abs(on - off).max() > SEEN


def test_other_flux_pipelines_work(pipe: FluxPipeline, adapter: DynaIPAdapter) -> None:
    img2img = FluxImg2ImgPipeline(**pipe.components)
    img2img.set_progress_bar_config(disable=True)
    with adapter.attach(img2img) as personal:
        result = draw(
            personal, subjects=[Subject(RED)], image=Image.new("RGB", (32, 32)), strength=0.9
        )
    assert result.shape == (1, tiny.SIZE, tiny.SIZE, 3)


def test_an_adapter_for_another_base_is_refused(pipe: FluxPipeline) -> None:
    processors = pipe.transformer.attn_processors
    with pytest.raises(ValueError, match="single blocks"):
        tiny.adapter(single_blocks=3).attach(pipe)
    restored = pipe.transformer.attn_processors
    assert all(restored[name] is processors[name] for name in processors)


def test_an_encoder_with_too_few_layers_is_refused(pipe: FluxPipeline) -> None:
    with (
        tiny.adapter(layers=(1, 2, 9)).attach(pipe) as personal,
        pytest.raises(ValueError, match="layer 9"),
    ):
        draw(personal, subjects=[Subject(RED)])


def test_a_pipeline_without_a_flux_transformer_is_refused(adapter: DynaIPAdapter) -> None:
    with pytest.raises(ValueError, match="no FLUX transformer"):
        PersonalPipeline(DiffusionPipeline(), adapter)


def test_load_reads_a_folder(pipe: FluxPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    loaded = load(tmp_path, device="cpu")
    loaded.set_progress_bar_config(disable=True)
    np.testing.assert_allclose(base(loaded), base(pipe), atol=1e-5)
    assert load(tmp_path, device="cpu", dtype=torch.bfloat16).dtype == torch.bfloat16


def test_load_finds_the_miniature_by_itself(
    pipe: FluxPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe.save_pretrained(tmp_path / "models" / "miniature")
    monkeypatch.chdir(tmp_path)
    for loaded in (load(device="cpu"), load("miniature", device="cpu")):
        for name, weight in pipe.transformer.state_dict().items():
            assert torch.equal(loaded.transformer.state_dict()[name], weight), name


def test_load_falls_back_to_the_cpu(
    pipe: FluxPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build for CUDA names CUDA, also where there is none, unless it is asked to look."""

    def built_for(check_available: bool = False) -> torch.device | None:
        return None if check_available else torch.device("cuda")

    monkeypatch.setattr(torch.accelerator, "current_accelerator", built_for)
    pipe.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert (loaded.device.type, loaded.dtype) == ("cpu", torch.float32)


def test_load_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere is neither a folder here nor a model"):
        load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"model_index\.json is missing"):
        load(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline", "transf')
    with pytest.raises(ValueError, match="cannot be loaded"):
        load(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "transformer/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "vae/config.json",
        "tokenizer_2/tokenizer.json",
        "scheduler/scheduler_config.json",
    ],
)
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_file_is_one_sentence(
    pipe: FluxPipeline, tmp_path: Path, name: str, damage: str
) -> None:
    pipe.save_pretrained(tmp_path)
    file = tmp_path / name
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-20])
    else:
        file.unlink()
    with pytest.raises(ValueError, match="cannot be loaded"):
        load(tmp_path, device="cpu")
