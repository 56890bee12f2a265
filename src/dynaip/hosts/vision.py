"""The frozen image encoder: a CLIP or SigLIP image tower of transformers, without its processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from transformers import (
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    PreTrainedModel,
    SiglipVisionModel,
)

from dynaip.adapter.convention import EncoderOutput

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
SIGLIP_MEAN = SIGLIP_STD = (0.5, 0.5, 0.5)

# What has each output. SigLIP's pooled vector is another thing than CLIP's of the same name.
TOWERS: Mapping[EncoderOutput, type[PreTrainedModel]] = {
    "hidden_states": CLIPVisionModel,
    "pooler_output": SiglipVisionModel,
    "image_embeds": CLIPVisionModelWithProjection,
}


def stack_pictures(
    pictures: Sequence[Image.Image] | Sequence[UInt8[np.ndarray, "h w 3"]],
) -> UInt8[Tensor, "b 3 h w"]:
    """RGB pictures of one size as one tensor, 0 to 255."""
    stacked = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
    return stacked.permute(0, 3, 1, 2).contiguous()


def clip_pixels(images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Square pictures, 0 to 255, normalised with CLIP's mean and deviation."""
    return _normalised(images, CLIP_MEAN, CLIP_STD)


def has_output(encoder: PreTrainedModel, output: EncoderOutput) -> bool:
    """Whether an encoder is of the kind that has this output. Hidden states all of them have."""
    return output == "hidden_states" or isinstance(encoder, TOWERS[output])


@torch.no_grad()
def encode_references(
    encoder: PreTrainedModel,
    images: UInt8[Tensor, "b 3 h w"],
    output: EncoderOutput = "hidden_states",
) -> Any:
    """What an encoder makes of pictures.

    Args:
        encoder: Any of `TOWERS`.
        images: The pictures, of the size that it sees.
        output: Which of its outputs.

    Returns:
        All hidden states, a tuple of "b n d", the embedding first and the class token token 0; or
        one vector for each picture, "b d".
    """
    images = images.to(_input_device(encoder))
    is_siglip = isinstance(encoder, SiglipVisionModel)
    pixels = _normalised(images, SIGLIP_MEAN, SIGLIP_STD) if is_siglip else clip_pixels(images)
    every = output == "hidden_states"
    return getattr(encoder(pixels.to(encoder.dtype), output_hidden_states=every), output)


def _normalised(
    images: UInt8[Tensor, "b 3 h w"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Tensor, "b 3 h w"]:
    shift, width = (torch.tensor(each, device=images.device).view(3, 1, 1) for each in (mean, std))
    return (images.float() / 255 - shift) / width


def _input_device(encoder: PreTrainedModel) -> torch.device:
    """Where it computes: while it is offloaded, its weights wait elsewhere, or on `meta`."""
    for module in encoder.modules():
        device = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
    return encoder.device
