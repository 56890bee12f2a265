"""The frozen image encoder: a transformers CLIP image tower, without its processor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModel

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def stack_pictures(
    pictures: Sequence[Image.Image] | Sequence[UInt8[np.ndarray, "h w 3"]],
) -> UInt8[Tensor, "b 3 h w"]:
    """RGB pictures of one size as one tensor, 0 to 255."""
    stacked = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
    return stacked.permute(0, 3, 1, 2).contiguous()


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
    pixels = clip_pixels(images.to(_input_device(encoder))).to(encoder.dtype)
    return encoder(pixels, output_hidden_states=True).hidden_states


def _input_device(encoder: CLIPVisionModel) -> torch.device:
    """Where it computes: while it is offloaded, its weights wait elsewhere, or on `meta`."""
    for module in encoder.modules():
        device = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
    return encoder.device
