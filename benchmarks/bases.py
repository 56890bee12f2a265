"""FLUX transformers with random weights: time does not depend on what they hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from dynaip.adapter.config import DynaIPConfig
from dynaip.adapter.model import DynaIPAdapter


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """A base, a picture and a reference.

    Attributes:
        double, single: Blocks.
        heads: Of 128.
        text_dim: Width of T5's tokens, and of the reference's.
        rows, columns: Of image tokens.
        text: Text tokens.
        encoder_dim, encoder_image: Width and pixels of the image encoder (patches of 14).
        encoder_layers: Its depth.
    """

    double: int
    single: int
    heads: int
    text_dim: int
    rows: int
    columns: int
    text: int
    encoder_dim: int
    encoder_image: int
    encoder_layers: int = 24
    head_dim: int = 128

    @property
    def width(self) -> int:
        """Of the hidden states."""
        return self.heads * self.head_dim

    @property
    def image(self) -> int:
        """Image tokens."""
        return self.rows * self.columns

    @property
    def reference(self) -> int:
        """Tokens of a reference."""
        return (self.encoder_image // 14) ** 2 + 1


SIZES = {
    # FLUX.1-dev at 1024 x 1024 with CLIP ViT-L/14 at 336 pixels.
    "flux": Size(
        double=19,
        single=38,
        heads=24,
        text_dim=4096,
        rows=64,
        columns=64,
        text=512,
        encoder_dim=1024,
        encoder_image=336,
    ),
    # Every width and length about a sixth, so that all parts keep their shares of the work, and a
    # ninth of the depth, which no share depends on.
    "mid": Size(
        double=2,
        single=4,
        heads=4,
        text_dim=680,
        rows=26,
        columns=26,
        text=85,
        encoder_dim=176,
        encoder_image=140,
        encoder_layers=3,
    ),
    "tiny": Size(
        double=2,
        single=2,
        heads=1,
        text_dim=32,
        rows=8,
        columns=8,
        text=5,
        encoder_dim=16,
        encoder_image=28,
        encoder_layers=3,
    ),
}


def build_transformer(
    size: Size, device: torch.device, dtype: torch.dtype
) -> FluxTransformer2DModel:
    """The base, made where it will run."""
    rotary = (16, 56, 56)
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(
            num_layers=size.double,
            num_single_layers=size.single,
            num_attention_heads=size.heads,
            attention_head_dim=size.head_dim,
            joint_attention_dim=size.text_dim,
            guidance_embeds=True,
            axes_dims_rope=rotary,
        )
    return _filled(transformer, device, dtype)


def build_adapter(size: Size, device: torch.device, dtype: torch.dtype) -> DynaIPAdapter:
    """An adapter for it."""
    depth = size.encoder_layers
    config = DynaIPConfig(
        encoder="random",
        encoder_dim=size.encoder_dim,
        layers=(depth * 10 // 24, depth * 17 // 24, depth),
        token_dim=size.text_dim,
        router_dim=size.encoder_dim,
        double_blocks=size.double,
        single_blocks=size.single,
        heads=size.heads,
        head_dim=size.head_dim,
    )
    with torch.device("meta"):
        adapter = DynaIPAdapter(config)
    return _filled(adapter, device, dtype)


def build_encoder(size: Size, device: torch.device, dtype: torch.dtype) -> CLIPVisionModel:
    """An image encoder for the adapter."""
    config = CLIPVisionConfig(
        hidden_size=size.encoder_dim,
        intermediate_size=4 * size.encoder_dim,
        num_hidden_layers=size.encoder_layers,
        num_attention_heads=max(1, size.encoder_dim // 64),
        image_size=size.encoder_image,
        patch_size=14,
    )
    encoder: Any = CLIPVisionModel(config)
    return encoder.to(device, dtype).eval().requires_grad_(False)


def step_inputs(size: Size, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of one denoising step, as `FluxPipeline` gives them."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    ids = torch.zeros(size.rows, size.columns, 3)
    ids[..., 1], ids[..., 2] = torch.arange(size.rows)[:, None], torch.arange(size.columns)
    return {
        "hidden_states": random(1, size.image, 64),
        "encoder_hidden_states": random(1, size.text, size.text_dim),
        "pooled_projections": random(1, 768),
        "timestep": torch.tensor([0.5]).to(device, dtype),
        "guidance": torch.tensor([3.5], device=device),
        "img_ids": ids.flatten(0, 1).to(device, dtype),
        "txt_ids": torch.zeros(size.text, 3, device=device, dtype=dtype),
    }


def _filled(module: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A module of the meta device with numbers: small ones, and ones where it scales."""
    module.to(dtype).to_empty(device=device)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.02)
        else:
            nn.init.ones_(parameter)
    return module.eval().requires_grad_(False)
