"""The adapter's task on a tiny FLUX pipeline: what it trains, drops, and reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch.utils.data import Dataset

from dynaip.adapter.model import DynaIPAdapter
from dynaip.hosts.flow import (
    add_noise,
    encode_pictures,
    predict_velocity,
    shift_sigma,
    time_shift,
)
from dynaip.training.adapter import AdapterTask, Drops
from dynaip.training.config import TrainingConfig
from dynaip.training.loop import train


class Colours(Dataset[dict[str, Any]]):
    """A picture of one colour, and a reference of the same one."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, index])
        colour = rng.integers(0, 256, 3, dtype=np.uint8)
        return {
            "image": np.broadcast_to(colour, (tiny.SIZE, tiny.SIZE, 3)).copy(),
            "reference": np.broadcast_to(colour, (16, 16, 3)).copy(),
            "prompt": "a red dog",
        }


def task(**changes: Any) -> AdapterTask:
    torch.manual_seed(1)
    return AdapterTask(tiny.pipeline(), DynaIPAdapter(tiny.config()), Colours, **changes)


def batch(of: AdapterTask, size: int = 8) -> dict[str, Any]:
    dataset = of.dataset(0)
    return of.collate([dataset[index] for index in range(size)])


def test_a_new_adapter_gives_the_bases_own_loss() -> None:
    made = task()
    samples = batch(made)
    adapted = made(samples)["loss"]
    made.attachment.detach()
    latents = encode_pictures(made.vae, samples["images"])
    sigma = shift_sigma(samples["sigma"], time_shift(made.pipeline.scheduler, latents.shape[1]))
    noisy, ones = add_noise(latents, samples["noise"], sigma), torch.ones_like(sigma)
    prompts = made.prompts(samples["prompts"])
    velocity = predict_velocity(made.transformer, noisy, sigma, ones, *prompts)
    own = (velocity - (samples["noise"] - latents)).square().mean((1, 2)).mean()
    assert torch.equal(own, adapted)


def test_a_higher_mean_of_the_logit_is_more_noise() -> None:
    plain, noisier = task(), task(logit_mean=0.7)
    samples = batch(plain)
    moved = {**samples, "sigma": torch.sigmoid(torch.logit(samples["sigma"]) + 0.7)}
    torch.testing.assert_close(noisier(samples)["loss"], plain(moved)["loss"])
    assert not torch.equal(noisier(samples)["loss"], plain(samples)["loss"])


def test_only_the_adapter_gets_gradients() -> None:
    made = task()
    with torch.no_grad():
        for parameter in made.adapter.parameters():
            parameter.normal_(std=0.2)
    made(batch(made))["loss"].backward()
    for name, parameter in made.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert reached == name.startswith("adapter."), name


def test_training_rows_are_text_and_image() -> None:
    made = task()
    assert (made.attachment.branches.double, made.attachment.branches.single) == ("both", "both")


def test_drops_have_their_probabilities() -> None:
    rng = np.random.default_rng(0)
    drawn = [Drops(text=0.1, image=0.2, both=0.3).draw(rng) for _ in range(20_000)]
    counts = [
        drawn.count(pair) / len(drawn) for pair in ((True, False), (False, True), (True, True))
    ]
    assert counts == pytest.approx([0.1, 0.2, 0.3], abs=0.015)


def test_a_dropped_image_takes_no_part() -> None:
    made = task()
    torch.nn.init.normal_(made.adapter.blocks[0].to_v.weight)
    samples = {**batch(made), "drop_image": torch.ones(8, dtype=torch.bool)}
    other = {**samples, "references": samples["references"].flip(0)}
    assert torch.equal(made(samples)["loss"], made(other)["loss"])
    shown = {**samples, "drop_image": torch.zeros(8, dtype=torch.bool)}
    assert not torch.equal(made(shown)["loss"], made(samples)["loss"])


def test_every_sample_keeps_an_expert() -> None:
    made = AdapterTask(tiny.pipeline(), DynaIPAdapter(tiny.config(expert_drop=0.9)), Colours)
    keep = batch(made, 64)["keep"]
    assert keep.any(1).all()
    assert keep.float().mean() < 0.6


def test_draws_depend_on_the_index_alone() -> None:
    made = task()
    first, again = made.dataset(0)[5], made.dataset(0)[5]
    assert np.array_equal(first["draws"].noise, again["draws"].noise)
    assert not np.array_equal(first["draws"].noise, made.dataset(0)[6]["draws"].noise)


def test_training_makes_the_reference_count(tmp_path: Path) -> None:
    config = TrainingConfig(
        steps=60, batch_size=16, learning_rate=3e-2, log_every=60, diagnose_every=60,
        precision="no", workers=0, sample_every=60,
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    made = task(drops=Drops(text=0, image=0, both=0))
    before = made.diagnose(batch(made, 16))
    train(made, config, tmp_path, on_log=rows.append)
    assert before["used"] == pytest.approx(0, abs=1e-6)
    assert rows[-1]["used"] > 0.01
    assert rows[-1]["loss_right"] < min(rows[-1]["loss_wrong"], rows[-1]["loss_null"])
    assert rows[-1]["attention_ratio"] > before["attention_ratio"] == 0
    loaded = DynaIPAdapter.from_pretrained(tmp_path / "export" / "adapter")
    assert loaded.config == made.adapter.config
    sheet = Image.open(tmp_path / "samples" / "step-00000060.png")
    assert sheet.size == (8 * tiny.SIZE, 4 * tiny.SIZE)


def test_one_sample_has_no_wrong_reference() -> None:
    """Rolled, it would be the right one, and no use could ever be seen."""
    made = task()
    found = {size: made.diagnose(batch(made, size)) for size in (1, 2)}
    assert found[2].keys() - found[1].keys() == {"loss_wrong", "used"}
    assert {"loss_right", "loss_null", "attention_ratio"} <= found[1].keys()


def test_a_base_in_bf16_trains_and_draws(tmp_path: Path) -> None:
    """As on accelerators: the frozen parts in bf16, what is trained in fp32."""
    base = tiny.pipeline().to(torch.bfloat16)
    made = AdapterTask(base, DynaIPAdapter(tiny.config()), Colours)
    config = TrainingConfig(
        steps=2, batch_size=4, precision="bf16", workers=0, sample_every=1, diagnose_every=1
    )
    train(made, config, tmp_path)
    assert {p.dtype for p in made.adapter.parameters()} == {torch.float32}
    assert len(list((tmp_path / "samples").iterdir())) == 2


@pytest.mark.parametrize("shares", [(-0.1, 0.0, 0.0), (0.5, 0.5, 0.5), (float("nan"), 0.0, 0.0)])
def test_drops_are_probabilities(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="sum of at most 1"):
        Drops(text=shares[0], image=shares[1], both=shares[2])
