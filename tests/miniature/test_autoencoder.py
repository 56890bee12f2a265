"""The autoencoder: its linear part against numpy, and as diffusers uses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from torch import Tensor

from dynaip.hosts.flow import encode_pictures, pack
from dynaip.miniature.autoencoder import PatchAutoencoder, round_trip_psnr


def pictures(count: int = 24, size: int = 32) -> Tensor:
    """Smooth random pictures, bytes."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 1)
    return (smooth * 255).to(torch.uint8)


@pytest.fixture(scope="module")
def vae() -> PatchAutoencoder:
    fitted = PatchAutoencoder()
    fitted.fit(pictures())
    return fitted


def test_round_trip_is_the_best_linear_one(vae: PatchAutoencoder) -> None:
    images = pictures()
    pixels = images.float() / 127.5 - 1
    patches = pixels.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).reshape(-1, 192)
    centred = (patches - patches.mean(0)).double().numpy()
    u, s, v = np.linalg.svd(centred, full_matrices=False)
    best = np.square(centred - (u[:, :64] * s[:64]) @ v[:64]).mean()
    with torch.no_grad():
        error = (vae(pixels) - pixels).square().mean().item()
    assert error == pytest.approx(best, rel=1e-2, abs=1e-8)


def test_latents_have_unit_mean_square(vae: PatchAutoencoder) -> None:
    latents = encode_pictures(vae, pictures())
    assert latents.shape == (24, 16, 64)
    assert latents.square().mean().item() == pytest.approx(1, rel=1e-3)
    spread = latents.std((0, 1))
    assert spread[:8].mean() > spread[-8:].mean()


def test_packing_is_the_pipelines(vae: PatchAutoencoder) -> None:
    latents = torch.randn(2, 16, 8, 8)
    theirs = FluxPipeline._pack_latents(latents, 2, 16, 8, 8)
    assert torch.equal(pack(latents), theirs)
    unpacked = FluxPipeline._unpack_latents(theirs, 32, 32, 4)
    assert torch.equal(unpacked, latents)


def test_saved_and_loaded_alike(vae: PatchAutoencoder, tmp_path: Path) -> None:
    vae.save_pretrained(tmp_path)
    loaded = PatchAutoencoder.from_pretrained(tmp_path)
    pixels = pictures().float() / 127.5 - 1
    with torch.no_grad():
        assert torch.equal(loaded(pixels), vae(pixels))


def test_a_size_that_does_not_fit_is_refused(vae: PatchAutoencoder) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        vae.encode(torch.zeros(1, 3, 32, 36))


def test_psnr_of_a_known_error() -> None:
    assert round_trip_psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.2)) == (
        pytest.approx(20)
    )
