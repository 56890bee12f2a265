"""What generated pictures suffer, done to renders, so that a probe reads both alike."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corruption:
    """How renders are spoilt while a probe is trained.

    Every picture meets each accident by chance, independently of the others.

    Attributes:
        round_trip: Chance of going through the autoencoder, when there is one.
        blur, blur_sigma: Chance of a Gaussian blur, and its largest width in pixels.
        noise, noise_sigma: Chance of pixel noise, and its largest deviation (pictures in [-1, 1]).
        recolour, recolour_gain, recolour_shift: Chance of a change of each channel's contrast and
            brightness, and how far either goes at most.
    """

    round_trip: float = 0.5
    blur: float = 0.5
    blur_sigma: float = 0.9
    noise: float = 0.5
    noise_sigma: float = 0.1
    recolour: float = 0.5
    recolour_gain: float = 0.1
    recolour_shift: float = 0.06


@torch.no_grad()
def corrupt(
    pictures: Float[Tensor, "b 3 y x"],
    corruption: Corruption,
    generator: torch.Generator,
    autoencoder: nn.Module | None = None,
) -> Float[Tensor, "b 3 y x"]:
    """Spoils pictures in [-1, 1] as generation does.

    Args:
        pictures: Clean renders.
        corruption: Chances and sizes.
        generator: Source of all randomness.
        autoencoder: The base's own, for its round trip.
    """
    count = len(pictures)

    def draw() -> Float[Tensor, "b 1 1 1"]:
        return torch.rand(count, 1, 1, 1, generator=generator)

    def centred(channels: int) -> Float[Tensor, "b c 1 1"]:
        return 2 * torch.rand(count, channels, 1, 1, generator=generator) - 1

    spoilt = pictures.clone()
    if autoencoder is not None:
        chosen = (draw() < corruption.round_trip).flatten()
        spoilt[chosen] = round_trip(autoencoder, pictures[chosen])
    sigma = corruption.blur_sigma * draw()
    spoilt = torch.where(draw() < corruption.blur, blur(spoilt, sigma), spoilt)
    gain = 1 + corruption.recolour_gain * centred(3)
    shift = corruption.recolour_shift * centred(3)
    spoilt = torch.where(draw() < corruption.recolour, gain * spoilt + shift, spoilt)
    sigma = corruption.noise_sigma * draw()
    noise = sigma * torch.randn(spoilt.shape, generator=generator)
    spoilt = torch.where(draw() < corruption.noise, spoilt + noise, spoilt)
    return spoilt.clamp(-1, 1)


@torch.no_grad()
def round_trip(
    autoencoder: nn.Module, pictures: Float[Tensor, "b 3 y x"]
) -> Float[Tensor, "b 3 y x"]:
    """Pictures in [-1, 1], encoded and decoded by a diffusers autoencoder, in their own dtype."""
    dtype = next(autoencoder.parameters()).dtype
    coder = cast(Any, autoencoder)
    latents = coder.encode(pictures.to(dtype)).latent_dist.mode()
    return coder.decode(latents).sample.to(pictures.dtype).clamp(-1, 1)


def blur(
    pictures: Float[Tensor, "b 3 y x"], sigma: Float[Tensor, "b 1 1 1"]
) -> Float[Tensor, "b 3 y x"]:
    """A Gaussian blur of each picture's own width, as two passes of five taps."""
    offsets = torch.arange(-2.0, 3.0)
    taps = torch.exp(-0.5 * (offsets / sigma.view(-1, 1).clamp_min(1e-3)) ** 2)
    taps = (taps / taps.sum(1, keepdim=True)).repeat_interleave(3, 0)
    flat = rearrange(pictures, "b c y x -> 1 (b c) y x")
    flat = F.pad(flat, (2, 2, 2, 2), mode="replicate")
    for kernel in (taps[:, None, :, None], taps[:, None, None, :]):
        flat = F.conv2d(flat, kernel, groups=flat.shape[1])
    return rearrange(flat, "1 (b c) y x -> b c y x", b=len(pictures))
