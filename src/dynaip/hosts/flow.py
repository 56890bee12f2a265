"""FLUX's flow matching, as its pipeline and its training see it: one convention for every base.

x_sigma = (1 - sigma) x + sigma noise, and the transformer predicts the velocity noise - x.
Axes: b batch, n tokens, k numbers of a packed token (64), d width.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase


def pack(latents: Float[Tensor, "b c y x"]) -> Float[Tensor, "b n k"]:
    """FLUX's packing: 2x2 latents become one token."""
    return rearrange(latents, "b c (y p) (x q) -> b (y x) (c p q)", p=2, q=2)


@torch.no_grad()
def encode_pictures(vae: ModelMixin, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b n k"]:
    """Pictures, 0 to 255, to packed latents in the scale that the transformer sees.

    The posterior's mean is taken: nothing random happens here.
    """
    with torch.autocast(images.device.type, enabled=False):
        pixels = (images.float() / 127.5 - 1).to(vae.dtype)
        latents = vae.encode(pixels).latent_dist.mode()
    return pack((latents - vae.config.shift_factor) * vae.config.scaling_factor).float()


class PromptEncoder(nn.Module):
    """The frozen text front of a FLUX pipeline.

    Args:
        pipeline: Holds both tokenizers and text encoders.
        max_length: T5 tokens that every prompt is padded to, as `FluxPipeline` does. `None` pads to
            the batch's longest prompt, rounded up to 4: a base trained so takes any length.
    """

    def __init__(self, pipeline: FluxPipeline, max_length: int | None = None) -> None:
        super().__init__()
        self.tokenizer, self.tokenizer_2 = pipeline.tokenizer, pipeline.tokenizer_2
        self.text_encoder = pipeline.text_encoder.requires_grad_(False).eval()
        self.text_encoder_2 = pipeline.text_encoder_2.requires_grad_(False).eval()
        self.max_length = max_length

    def forward(
        self, prompts: list[str]
    ) -> tuple[Float[Tensor, "b n d_text"], Float[Tensor, "b d_pooled"]]:
        """Returns T5's tokens and CLIP's pooled vector; nothing here asks for gradients."""
        device = self.text_encoder.device
        # The pooled vector is read at the end-of-text token of a causal model: padding is moot.
        clip = self.tokenizer(prompts, padding=True, truncation=True, return_tensors="pt")
        pooled = self.text_encoder(clip.input_ids.to(device)).pooler_output
        tokens = pad_tokens(self.tokenizer_2, prompts, self.max_length).to(device)
        return self.text_encoder_2(tokens).last_hidden_state, pooled


def pad_tokens(
    tokenizer: PreTrainedTokenizerBase, prompts: list[str], max_length: int | None = None
) -> Tensor:
    """T5 tokens `(b, n)`; see `PromptEncoder` for the padding."""
    if max_length is None:
        longest = max(len(tokens) for tokens in tokenizer(prompts).input_ids)
        max_length = min(-(-longest // 4) * 4, tokenizer.model_max_length)
    return tokenizer(
        prompts, padding="max_length", max_length=max_length, truncation=True, return_tensors="pt"
    ).input_ids


def time_shift(scheduler: FlowMatchEulerDiscreteScheduler, image_tokens: int) -> float:
    """The mu of `FluxPipeline` for this many image tokens; its fixed shift where it has none."""
    c: Any = scheduler.config
    if not c.use_dynamic_shifting:
        return math.log(c.shift)
    slope = (c.max_shift - c.base_shift) / (c.max_image_seq_len - c.base_image_seq_len)
    return c.base_shift + slope * (image_tokens - c.base_image_seq_len)


def draw_sigma(rng: np.random.Generator) -> np.float32:
    """Logit-normal time of a training sample, before the shift."""
    return np.float32(1 / (1 + np.exp(-rng.standard_normal())))


def shift_sigma(sigma: Float[Tensor, " b"], mu: float) -> Float[Tensor, " b"]:
    """FLUX's resolution-dependent time shift, the same map as the sampler's."""
    return math.exp(mu) * sigma / (1 + (math.exp(mu) - 1) * sigma)


def add_noise(
    latents: Float[Tensor, "b n k"], noise: Float[Tensor, "b n k"], sigma: Float[Tensor, " b"]
) -> Float[Tensor, "b n k"]:
    """x_sigma."""
    mix = sigma[:, None, None]
    return (1 - mix) * latents + mix * noise


def predict_velocity(
    transformer: FluxTransformer2DModel,
    noisy: Float[Tensor, "b n k"],
    sigma: Float[Tensor, " b"],
    guidance: Float[Tensor, " b"],
    text: Float[Tensor, "b n_text d_text"],
    pooled: Float[Tensor, "b d_pooled"],
) -> Float[Tensor, "b n k"]:
    """One pass over square pictures, called as `FluxPipeline` calls it; fp32 out."""
    embeds_guidance = cast(Any, transformer.config).guidance_embeds
    return transformer(
        hidden_states=noisy,
        timestep=sigma,
        guidance=guidance if embeds_guidance else None,
        encoder_hidden_states=text,
        pooled_projections=pooled,
        img_ids=position_ids(math.isqrt(noisy.shape[1]), noisy),
        txt_ids=noisy.new_zeros(text.shape[1], 3),
        return_dict=False,
    )[0].float()


def flow_matching_error(
    transformer: FluxTransformer2DModel,
    latents: Float[Tensor, "b n k"],
    noise: Float[Tensor, "b n k"],
    sigma: Float[Tensor, " b"],
    prompts: tuple[Float[Tensor, "b n_text d_text"], Float[Tensor, "b d_pooled"]],
) -> Float[Tensor, "b n"]:
    """Mean square error of each token's velocity, predicted without guidance."""
    noisy = add_noise(latents, noise, sigma)
    velocity = predict_velocity(transformer, noisy, sigma, torch.ones_like(sigma), *prompts)
    return (velocity - (noise - latents)).square().mean(-1)


def position_ids(side: int, like: Tensor) -> Float[Tensor, "n 3"]:
    """FLUX's image ids of a square grid of packed tokens: (0, row, column)."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).flatten(0, 1).to(like)
