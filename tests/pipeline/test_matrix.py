"""Attached to every FLUX pipeline of diffusers, and beside what people use with them.

One table of pipelines and one of companions, and the same promises for each cell: no subject and
scale 0 are the base bit for bit, a reference changes the picture, and detaching puts back the
same objects.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import gguf
import numpy as np
import peft
import pytest
import tiny
import torch
from accelerate import cpu_offload, cpu_offload_with_hook
from diffusers import (
    FluxControlNetModel,
    FluxInpaintPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    GGUFQuantizationConfig,
)
from diffusers.hooks import FirstBlockCacheConfig
from PIL import Image

from dynaip.pipeline.subject import Subject

RED = Image.new("RGB", (20, 10), "red")
PICTURE = Image.fromarray(
    np.random.default_rng(0).integers(0, 255, (tiny.SIZE, tiny.SIZE, 3), dtype=np.uint8)
)
HOLE = Image.new("L", PICTURE.size, 255)
GUIDED = {"negative_prompt": "a blue mug", "true_cfg_scale": 3.0}
SEEN = 1e-4

# Name, class, extra arguments, channels of the transformer's input (16 are the picture's).
PIPELINES = {
    "text-to-image": ("FluxPipeline", {}, 16),
    "true guidance": ("FluxPipeline", GUIDED, 16),
    "img2img": ("FluxImg2ImgPipeline", {"image": PICTURE, "strength": 1.0}, 16),
    "img2img, true guidance": (
        "FluxImg2ImgPipeline",
        {"image": PICTURE, "strength": 1.0, **GUIDED},
        16,
    ),
    "inpaint": (
        "FluxInpaintPipeline",
        {"image": PICTURE, "mask_image": HOLE, "strength": 1.0},
        16,
    ),
    # The picture, the masked picture, and 4 x 4 pixels of mask for each token.
    "fill": ("FluxFillPipeline", {"image": PICTURE, "mask_image": HOLE}, 16 + 16 + 16),
    "controlnet": ("FluxControlNetPipeline", {"control_image": PICTURE}, 16),
    "controlnet img2img": (
        "FluxControlNetImg2ImgPipeline",
        {"control_image": PICTURE, "image": PICTURE, "strength": 1.0},
        16,
    ),
    "controlnet inpaint": (
        "FluxControlNetInpaintPipeline",
        {"control_image": PICTURE, "image": PICTURE, "mask_image": HOLE, "strength": 1.0},
        16,
    ),
    "control": ("FluxControlPipeline", {"control_image": PICTURE}, 16 + 16),
    "control img2img": (
        "FluxControlImg2ImgPipeline",
        {"control_image": PICTURE, "image": PICTURE, "strength": 1.0},
        16 + 16,
    ),
    "control inpaint": (
        "FluxControlInpaintPipeline",
        {"control_image": PICTURE, "image": PICTURE, "mask_image": HOLE, "strength": 1.0},
        16 + 16,
    ),
    "kontext": ("FluxKontextPipeline", {"image": PICTURE, "_auto_resize": False}, 16),
    "kontext inpaint": (
        "FluxKontextInpaintPipeline",
        {"image": PICTURE, "mask_image": HOLE, "strength": 1.0, "_auto_resize": False},
        16,
    ),
}


def transformer(channels: int) -> FluxTransformer2DModel:
    torch.manual_seed(0)
    base = tiny.pipeline().transformer.config
    return FluxTransformer2DModel.from_config(base, in_channels=channels, out_channels=16).eval()


def build(kind: str) -> tuple[Any, dict[str, Any]]:
    name, arguments, channels = PIPELINES[kind]
    parts = tiny.pipeline().components
    if channels != 16:
        parts["transformer"] = transformer(channels)
    if kind.startswith("controlnet"):
        torch.manual_seed(5)
        config = dict(parts["transformer"].config)
        kept = ("in_channels", "attention_head_dim", "num_attention_heads", "joint_attention_dim")
        parts["controlnet"] = FluxControlNetModel(
            num_layers=1,
            num_single_layers=1,
            pooled_projection_dim=16,
            guidance_embeds=True,
            axes_dims_rope=[4, 4, 8],
            **{name: config[name] for name in kept},
        ).eval()
    takes = inspect.signature(getattr(diffusers, name).__init__).parameters
    pipe = getattr(diffusers, name)(**{part: parts[part] for part in parts if part in takes})
    pipe.set_progress_bar_config(disable=True)
    return pipe, arguments


def attach(pipe: Any) -> Any:
    adapter = tiny.adapter().requires_grad_(False)
    from dynaip.pipeline.flux import PersonalPipeline

    return PersonalPipeline(pipe, adapter, image_encoder=tiny.image_encoder())


def draw(call: Any, **arguments: Any) -> np.ndarray:
    settings = {
        "height": tiny.SIZE,
        "width": tiny.SIZE,
        "max_sequence_length": 12,
        "num_inference_steps": 2,
        "output_type": "latent",
        "return_dict": False,
        "generator": torch.Generator().manual_seed(7),
    }
    if "_auto_resize" in arguments:
        settings["max_area"] = tiny.SIZE**2
    with torch.no_grad():
        return call(prompt="a red dog", **{**settings, **arguments})[0].float().numpy()


def assert_promises(pipe: Any, arguments: dict[str, Any], exact: bool = True) -> None:
    """What holds in every cell of the table."""
    compare = np.testing.assert_array_equal if exact else np.testing.assert_allclose
    base = draw(pipe, **arguments)
    before = pipe.transformer.attn_processors
    with attach(pipe) as personal:
        compare(draw(personal, **arguments), base)
        compare(draw(personal, subjects=[Subject(RED, scale=0.0)], **arguments), base)
        loud = draw(personal, subjects=[Subject(RED)], **arguments)
        assert abs(loud - base).max() > SEEN
    after = pipe.transformer.attn_processors
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)
    compare(draw(pipe, **arguments), base)


@pytest.mark.parametrize("kind", PIPELINES)
def test_every_pipeline(kind: str) -> None:
    assert_promises(*build(kind))


@pytest.mark.parametrize("kind", [kind for kind in PIPELINES if "guidance" not in kind])
def test_image_guidance(kind: str) -> None:
    """With one step, v_0 + w (v_1 - v_0) is true of the latents; with one pass, it is refused."""
    pipe, arguments = build(kind)
    call = {**arguments, "num_inference_steps": 1}
    with attach(pipe) as personal:
        guided = {"subjects": [Subject(RED)], "image_guidance_scale": 3.0}
        if "true_cfg_scale" not in inspect.signature(pipe.__call__).parameters:
            with pytest.raises(ValueError, match=f"{type(pipe).__name__} has no second pass"):
                draw(personal, **guided, **call)
            return
        base, seen = draw(personal, **call), draw(personal, subjects=[Subject(RED)], **call)
        made = draw(personal, **guided, **call)
    assert abs(made - seen).max() > SEEN
    np.testing.assert_allclose(made, base + 3 * (seen - base), atol=1e-4)


def lora(pipe: FluxPipeline) -> None:
    config = peft.LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    torch.manual_seed(4)
    pipe.transformer.add_adapter(config)


def group_offload(pipe: FluxPipeline) -> None:
    pipe.transformer.enable_group_offload(
        onload_device=torch.device("cpu"), offload_type="leaf_level"
    )


def quantise(pipe: FluxPipeline, folder: Path) -> None:
    """Writes the base as a GGUF file of eight bits a weight, and loads it as people do."""
    kind = gguf.GGMLQuantizationType.Q8_0
    file = gguf.GGUFWriter(folder / "flux.gguf", "flux")
    for name, tensor in pipe.transformer.state_dict().items():
        values = tensor.numpy()
        if values.ndim == 2 and values.shape[1] % gguf.GGML_QUANT_SIZES[kind][0] == 0:
            file.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
        else:
            file.add_tensor(name, values)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    pipe.transformer.save_config(folder / "transformer")
    pipe.transformer = FluxTransformer2DModel.from_single_file(
        str(folder / "flux.gguf"),
        config=str(folder),
        subfolder="transformer",
        quantization_config=GGUFQuantizationConfig(compute_dtype=torch.float32),
        torch_dtype=torch.float32,
    ).eval()


COMPANIONS: dict[str, Callable[[FluxPipeline], Any]] = {
    "LoRA": lora,
    "fused QKV": lambda pipe: pipe.transformer.fuse_qkv_projections(),
    "layerwise casting": lambda pipe: pipe.transformer.enable_layerwise_casting(
        storage_dtype=torch.bfloat16, compute_dtype=torch.float32
    ),
    "group offloading": group_offload,
    # What diffusers' own methods call, which want an accelerator.
    "model offloading": lambda pipe: cpu_offload_with_hook(pipe.transformer, "cpu"),
    "sequential offloading": lambda pipe: cpu_offload(pipe.transformer, torch.device("cpu")),
    "attention backend": lambda pipe: pipe.transformer.set_attention_backend("_native_math"),
    "gradient checkpointing": lambda pipe: pipe.transformer.enable_gradient_checkpointing(),
    "first block cache": lambda pipe: pipe.transformer.enable_cache(
        FirstBlockCacheConfig(threshold=1e-9)
    ),
}


@pytest.mark.parametrize("name", COMPANIONS)
def test_beside(name: str) -> None:
    pipe, arguments = build("text-to-image")
    COMPANIONS[name](pipe)
    assert_promises(pipe, arguments)


def test_on_a_quantised_base(tmp_path: Path) -> None:
    pipe, arguments = build("text-to-image")
    full = draw(pipe, **arguments)
    quantise(pipe, tmp_path)
    weight = pipe.transformer.transformer_blocks[0].attn.to_q.weight
    assert (type(weight).__name__, weight.dtype) == ("GGUFParameter", torch.uint8)
    assert 0 < abs(draw(pipe, **arguments) - full).max() < 0.1
    assert_promises(pipe, arguments)


def test_the_unconditional_pass_sees_no_reference_where_pipelines_do_not_name_it() -> None:
    """The same picture from image-to-image at full strength and from text-to-image."""
    seen: dict[str, list[bool]] = {}
    for kind in ("true guidance", "img2img, true guidance"):
        pipe, arguments = build(kind)
        told = seen.setdefault(kind, [])
        with attach(pipe) as personal:
            block = pipe.transformer.transformer_blocks[0]
            block.register_forward_pre_hook(
                lambda module, args, kwargs, told=told: told.append(
                    "image_prompt_text_length" in (kwargs["joint_attention_kwargs"] or {})
                ),
                with_kwargs=True,
            )
            draw(personal, subjects=[Subject(RED)], **arguments)
    assert list(seen.values()) == [[True, False] * 2] * 2


def test_a_half_mask_changes_one_half_more() -> None:
    """At one site, where attention has not yet carried it to the other half."""
    pipe, arguments = build("text-to-image")
    with attach(pipe) as personal:
        scales = [1.0, 0.0, 0.0, 0.0]
        site = pipe.transformer.transformer_blocks[0].attn
        rows: list[torch.Tensor] = []
        site.register_forward_hook(lambda module, args, output: rows.append(output[0].clone()))
        one_step = {**arguments, "num_inference_steps": 1}
        draw(personal, **one_step)
        draw(personal, subjects=[Subject(RED, mask="left", scale=scales)], **one_step)
    change = (rows[1] - rows[0]).abs().mean((0, 2)).reshape(8, 8)
    assert change[:, :4].min() > 0
    assert change[:, 4:].max() == 0


def test_an_object_is_replaced() -> None:
    """Inpainting under a mask that is the subject's as well: what is outside stays the picture."""
    pipe = FluxInpaintPipeline(**tiny.pipeline().components)
    pipe.set_progress_bar_config(disable=True)
    hole = Image.new("L", PICTURE.size)
    hole.paste(255, (tiny.SIZE // 2, 0, *PICTURE.size))
    call = {"image": PICTURE, "mask_image": hole, "strength": 1.0}
    with attach(pipe) as personal:
        base, red = (
            draw(personal, subjects=subjects, **call)
            for subjects in ([], [Subject(RED, mask=hole)])
        )
    change = abs(red - base).max((0, 2)).reshape(8, 8)
    assert change[:, :4].max() < SEEN
    assert change[:, 4:].min() > SEEN


def test_kontexts_context_is_never_masked_as_picture() -> None:
    """Its appended rows get nothing, with a mask and without; the mask is the picture's alone."""
    pipe, arguments = build("kontext")
    with attach(pipe) as personal:
        site = pipe.transformer.transformer_blocks[0].attn
        rows: list[torch.Tensor] = []
        site.register_forward_hook(lambda module, args, output: rows.append(output[0].clone()))
        one_step = {**arguments, "num_inference_steps": 1}
        draw(personal, **one_step)
        for mask in (None, "left"):
            draw(personal, subjects=[Subject(RED, mask=mask)], **one_step)
    for changed, columns in ((rows[1], 8), (rows[2], 4)):
        change = (changed - rows[0]).abs().mean((0, 2))
        picture, context = change.reshape(2, 8, 8)
        assert picture[:, :columns].min() > 0
        assert picture[:, columns:].sum() == 0
        assert context.max() == 0
