"""The probe: its shape, its files, and their errors."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dynaip.evaluation.probe import Probe, ProbeConfig, ProbeError

CONFIG = ProbeConfig(values={"colour": ("red", "blue"), "side": ("l", "m", "r")}, size=16)


@pytest.fixture(params=[3, 0], ids=["attention", "gaze"])
def probe(request: pytest.FixtureRequest) -> Probe:
    torch.manual_seed(0)
    return Probe(dataclasses.replace(CONFIG, layers=request.param)).eval()


def pictures(count: int, size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_one_answer_per_factor_and_picture_whatever_the_batch(probe: Probe) -> None:
    whole, parts = probe.read(pictures(5)), probe.read(pictures(5), batch_size=2)
    assert list(whole) == ["colour", "side"]
    for name, answers in whole.items():
        assert answers.shape == (5,)
        assert answers.max() < len(CONFIG.values[name])
        assert (answers == parts[name]).all()


def test_heads_know_where_they_look(probe: Probe) -> None:
    picture = torch.rand(1, 3, 16, 16)
    before = probe(picture)["side"]
    torch.nn.init.normal_(probe.place)
    assert not torch.allclose(probe(picture)["side"], before)


def test_files_keep_sixteen_bits(probe: Probe, tmp_path: Path) -> None:
    probe.save_pretrained(tmp_path)
    again = Probe.from_pretrained(tmp_path)
    assert again.config == probe.config
    assert not again.training
    expected = {k: v.half().to(v.dtype) for k, v in probe.state_dict().items()}
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, expected[name].to(tensor.dtype)), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_pictures_of_another_size_are_refused(probe: Probe) -> None:
    with pytest.raises(ProbeError, match="reads pictures of 16x16 pixels, got 32x32"):
        probe.read(pictures(1, size=32))


def test_a_missing_probe_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="train-probe"):
        Probe.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"size": 20}, "halves its picture 3 times"),
        ({"layers": -1}, "0 or more layers"),
        ({"widths": (32, 100)}, "3 heads of attention cannot share a width of 100"),
    ],
)
def test_shapes_that_make_no_probe_are_refused(change: dict, sentence: str) -> None:
    with pytest.raises(ProbeError, match=sentence):
        dataclasses.replace(CONFIG, **change)


@pytest.mark.parametrize(
    "change", [{"format": 1}, {"width": 3}, {"values": ["colour"]}, {"layers": "3"}]
)
def test_a_config_of_another_kind_is_refused(change: dict, probe: Probe, tmp_path: Path) -> None:
    probe.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ProbeError, match=r"config\.json"):
        Probe.from_pretrained(tmp_path)


def test_broken_weights_are_refused(probe: Probe, tmp_path: Path) -> None:
    probe.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ProbeError, match="broken"):
        Probe.from_pretrained(tmp_path)
