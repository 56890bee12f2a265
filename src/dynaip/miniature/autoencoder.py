"""The miniature's autoencoder: principal components of picture patches, and a light correction.

A linear map of 8x8-pixel patches to 64 numbers keeps a Toyland picture at about 33 dB, is fitted in
seconds, and costs nothing beside a convolutional encoder. What it leaves, seams between patches and
ringing at edges, a small residual network removes after decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F


class PatchPosterior:
    """The encoder's answer in the shape diffusers expects: a distribution without spread."""

    def __init__(self, latents: Float[Tensor, "b c y x"]) -> None:
        self.latents = latents

    def sample(self, generator: torch.Generator | None = None) -> Float[Tensor, "b c y x"]:
        """Returns the latents; there is nothing random about them."""
        return self.latents

    def mode(self) -> Float[Tensor, "b c y x"]:
        """Returns the latents."""
        return self.latents


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """Stands where FLUX has `AutoencoderKL`: 16 latent channels, packed 2x2 into tokens of 64.

    FLUX's autoencoder shrinks a picture eightfold and packs 2x2 latents into a token of 16x16
    pixels; this one shrinks fourfold, so a token is 8x8 pixels, and the 64 numbers of a token are
    the patch's principal components, largest first. Each is scaled by the square root of its
    standard deviation: half-way between the picture's own spectrum, in which detail drowns in
    noise, and a white one, in which detail is all the loss sees.

    Args:
        latent_channels: Channels of the latents (16, as FLUX).
        block_out_channels: Only its length counts: pipelines shrink by `2 ** (length - 1)`.
        correction_width: Channels of the residual network.
        sample_size: Picture size in pixels that the miniature was trained at.
        scaling_factor, shift_factor: As in FLUX's autoencoder; here the scale is in the basis.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        block_out_channels: Sequence[int] = (32, 32, 32),
        correction_width: int = 32,
        sample_size: int = 64,
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
    ) -> None:
        super().__init__()
        self.factor = 2 ** (len(block_out_channels) - 1)
        pixels, numbers = 3 * (2 * self.factor) ** 2, 4 * latent_channels
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("basis", torch.eye(numbers, pixels))
        self.register_buffer("scale", torch.ones(numbers))
        self.correction = nn.Sequential(
            nn.Conv2d(3, correction_width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(correction_width, correction_width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(correction_width, 3, 3, padding=1),
        )
        for parameter in self.correction[-1].parameters():
            nn.init.zeros_(parameter)

    @torch.no_grad()
    def fit(self, images: UInt8[Tensor, "b 3 h w"]) -> None:
        """Sets the basis to the principal components of the pictures' patches.

        Args:
            images: Pictures, 0 to 255; a few hundred are enough.
        """
        patches = self._patches(images.float() / 127.5 - 1).flatten(0, 1).double()
        mean = patches.mean(0)
        centred = patches - mean
        variances, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
        order = variances.argsort(descending=True)[: len(self.scale)]
        deviation = variances[order].clamp_min(1e-8).sqrt()
        scale = deviation.rsqrt()
        # Scaled components have standard deviations sqrt(deviation); bring their mean square to 1.
        scale = scale / deviation.mean().sqrt()
        self.mean.copy_(mean)
        self.basis.copy_(vectors[:, order].T)
        self.scale.copy_(scale)

    def encode(self, x: Float[Tensor, "b 3 h w"], return_dict: bool = True) -> Any:
        """Pictures in [-1, 1] to latents `(b, 16, h/4, w/4)`, as `AutoencoderKL` returns them.

        Raises:
            ValueError: Height or width is not a multiple of a token's pixels.
        """
        side = 2 * self.factor
        if x.shape[-2] % side or x.shape[-1] % side:
            raise ValueError(
                f"Pictures must be multiples of {side} pixels high and wide, got "
                f"{x.shape[-1]}x{x.shape[-2]}; resize them first."
            )
        numbers = (self._patches(x) - self.mean) @ self.basis.T * self.scale
        latents = rearrange(
            numbers,
            "b (y x) (c p q) -> b c (y p) (x q)",
            y=x.shape[-2] // side,
            p=2,
            q=2,
        )
        posterior = PatchPosterior(latents)
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    def decode(self, z: Float[Tensor, "b c y x"], return_dict: bool = True) -> Any:
        """Latents to pictures in about [-1, 1], as `AutoencoderKL` returns them."""
        numbers = rearrange(z, "b c (y p) (x q) -> b (y x) (c p q)", p=2, q=2)
        patches = numbers / self.scale @ self.basis + self.mean
        side = 2 * self.factor
        image = rearrange(
            patches, "b (y x) (c p q) -> b c (y p) (x q)", y=z.shape[-2] // 2, p=side, q=side
        )
        image = image + self.correction(image)
        return DecoderOutput(sample=image) if return_dict else (image,)

    def forward(self, sample: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """The round trip."""
        posterior = self.encode(sample, return_dict=False)[0]
        return self.decode(posterior.mode(), return_dict=False)[0]

    def _patches(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n k"]:
        side = 2 * self.factor
        return rearrange(image, "b c (y p) (x q) -> b (y x) (c p q)", p=side, q=side)


def round_trip_psnr(original: Float[Tensor, "b 3 h w"], decoded: Float[Tensor, "b 3 h w"]) -> float:
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1], over all pixels together."""
    error = F.mse_loss(decoded.clamp(-1, 1), original)
    return float(10 * torch.log10(4 / error))
