"""The frozen image encoder: a transformers CLIP image tower, without its processor."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from transformers import CLIPVisionModel

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Square pictures, 0 to 255, normalised with CLIP's mean and deviation."""
    mean = torch.tensor(CLIP_MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(CLIP_STD, device=images.device).view(3, 1, 1)
    return (images.float() / 255 - mean) / std


@torch.no_grad()
def encode_references(
    encoder: CLIPVisionModel, images: UInt8[Tensor, "b 3 h w"]
) -> tuple[Float[Tensor, "b n d"], ...]:
    """All hidden states of the pictures, the embedding first; the class token is token 0."""
    pixels = clip_pixels(images).to(device=encoder.device, dtype=encoder.dtype)
    return encoder(pixels, output_hidden_states=True).hidden_states
