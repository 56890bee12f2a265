"""Corruptions: reproducible, mild, each by chance, and none when none is asked for."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dynaip.evaluation.corruptions import Corruption, corrupt, round_trip
from dynaip.evaluation.probe import as_pictures, as_tensor
from dynaip.miniature.autoencoder import PatchAutoencoder

NONE = Corruption(round_trip=0, blur=0, noise=0, recolour=0)


def pictures(count: int = 4) -> torch.Tensor:
    return 1.8 * torch.rand(count, 3, 16, 16, generator=seeded()) - 0.9


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coarse_autoencoder() -> PatchAutoencoder:
    """Keeps 4 numbers of a patch's 192: its round trip cannot go unnoticed."""
    autoencoder = PatchAutoencoder(latent_channels=1, sample_size=16)
    autoencoder.fit((127 * pictures(64) + 127).to(torch.uint8))
    return autoencoder


def test_chances_of_zero_leave_pictures_alone() -> None:
    before = pictures()
    assert torch.equal(corrupt(before, NONE, seeded(), coarse_autoencoder()), before)


@pytest.mark.parametrize("accident", ["round_trip", "blur", "noise", "recolour"])
def test_each_accident_changes_every_picture_at_chance_one(accident: str) -> None:
    before = pictures()
    certain = dataclasses.replace(NONE, **{accident: 1})
    after = corrupt(before, certain, seeded(), coarse_autoencoder())
    assert (after != before).flatten(1).any(1).all()
    assert after.abs().max() <= 1


def test_one_seed_one_result_and_chance_spares_some() -> None:
    before = pictures(32)
    half = dataclasses.replace(NONE, noise=0.5)
    after = corrupt(before, half, seeded())
    assert torch.equal(after, corrupt(before, half, seeded()))
    touched = (after != before).flatten(1).any(1)
    assert 4 < touched.sum() < 28


def test_blur_keeps_flat_pictures_and_brightness_flat() -> None:
    flat = torch.full((2, 3, 16, 16), 0.3)
    blurred = corrupt(flat, dataclasses.replace(NONE, blur=1), seeded())
    assert torch.allclose(blurred, flat, atol=1e-5)
    spot = torch.zeros(1, 3, 17, 17)
    spot[:, :, 8, 8] = 0.9
    blurred = corrupt(spot, dataclasses.replace(NONE, blur=1, blur_sigma=2.0), seeded(1))
    assert blurred[0, 0, 8, 8] < 0.9
    assert torch.allclose(blurred.sum(), spot.sum(), rtol=1e-4)
    assert torch.allclose(blurred, blurred.flip(-1), atol=1e-6)
    assert torch.allclose(blurred, blurred.transpose(-1, -2), atol=1e-6)


def test_round_trip_through_a_lossless_autoencoder_is_nothing() -> None:
    whole = PatchAutoencoder(latent_channels=48, sample_size=16)
    assert torch.allclose(round_trip(whole, pictures()), pictures(), atol=1e-5)


def test_pictures_and_tensors_convert_exactly() -> None:
    bytes_ = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(1, 16, 16, 3).numpy()
    assert (as_pictures(as_tensor(bytes_)) == bytes_).all()
