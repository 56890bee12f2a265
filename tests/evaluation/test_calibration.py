"""Calibration: what is printed beside every figure."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from knowing import SIZE, Knowing

from dynaip.evaluation.calibration import (
    Calibration,
    calibrate_probes,
    calibrate_strangeness,
    dominant_colour,
    strange,
    strange_figure,
)
from dynaip.evaluation.factors import UNANSWERABLE
from dynaip.evaluation.miniature import adapter_trials, base_trials, decoded, renders
from dynaip.evaluation.probe import Probe, ProbeConfig
from dynaip.miniature.autoencoder import PatchAutoencoder
from dynaip.miniature.toyland.spec import COLOURS


class Blind(Knowing):
    """Right about everything but the scene, of which it always says the first."""

    def read(self, pictures: np.ndarray, batch_size: int = 256) -> dict[str, np.ndarray]:
        answers = super().read(pictures)
        return {**answers, "scene": np.zeros_like(answers["scene"])}


def test_ceilings_and_disagreement_are_those_of_the_readers() -> None:
    trials = adapter_trials(24)
    seeing, blind = Knowing(), Blind()
    for trial in trials:
        for reader in (seeing, blind):
            reader.draw(trial.target)
    vae = PatchAutoencoder(latent_channels=48, sample_size=SIZE)  # keeps all of a picture
    oracle = decoded(vae, renders(trials, SIZE))
    rows = {row.factor: row for row in calibrate_probes({"a": seeing, "b": blind}, trials, oracle)}
    first = np.mean([t.target.scene == seeing.config.values["scene"][0] for t in trials])
    assert rows["scene"].ceilings == {"a": 1, "b": pytest.approx(first)}
    assert rows["scene"].disagreement == pytest.approx(1 - first)
    assert not rows["scene"].measurable
    assert rows["light"].measurable
    assert rows["scene"].chance == pytest.approx(1 / 6)
    assert rows["glyph"].count < 24
    # Nobody taught the colours under the mask what a subject is, and chance is an eighth.
    assert rows["main_colour"].analytic > 0.3
    # Pictures of this size have badges of a few pixels; chance is a twenty-fifth.
    assert rows["glyph"].analytic > 0.1
    assert rows["scene"].analytic is None


def test_a_low_ceiling_is_not_measurable() -> None:
    row = Calibration(
        factor="glyph", ceilings={"a": 0.89, "b": 0.99}, chance=0.04, disagreement=0.05, count=9
    )
    assert not row.measurable
    assert dataclasses.replace(row, ceilings={"a": 0.91}).measurable
    assert row.to_row()["measurable"] is False


def test_colours_under_a_mask() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, :5], picture[:, 5:] = (44, 104, 224), (218, 38, 40)
    everywhere = np.ones((8, 8), bool)
    assert COLOURS[dominant_colour(picture, everywhere, COLOURS)] == "blue"
    assert COLOURS[dominant_colour(picture, np.arange(8) >= everywhere * 5, COLOURS)] == "red"
    assert dominant_colour(picture * 0, everywhere, COLOURS) == UNANSWERABLE
    assert dominant_colour(picture, ~everywhere, COLOURS) == UNANSWERABLE


def test_strange_pictures_stand_out() -> None:
    oracle = np.linspace(0, 1, 1001)
    assert strange(oracle, oracle).mean() == pytest.approx(0.01, abs=0.002)
    figure = strange_figure("base", np.array([0.5, 2, 2, 2]), oracle, np.array(list("aabb")))
    assert (figure.value, figure.low, figure.high) == (0.75, 0.5, 1)
    assert figure.at_most
    torch.manual_seed(0)
    probe = Probe(ProbeConfig(values={"a": ("x", "y")}, size=16, widths=(8, 8)))
    picture = np.zeros((3, 16, 16, 3), np.uint8)
    energies = probe.energy(picture, batch_size=2)
    assert energies.shape == (3,)
    with torch.no_grad():
        logits = probe(torch.full((1, 3, 16, 16), -1.0))["a"]
    assert energies == pytest.approx(-logits.logsumexp(1).item() * np.ones(3), rel=1e-5)


def test_strangeness_is_tried_on_other_renders_and_on_blends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = base_trials(20)
    vae = PatchAutoencoder(latent_channels=48, sample_size=SIZE)  # keeps all of a picture
    reader = Knowing()
    whole = {reader.draw(trial.target).tobytes() for trial in (*adapter_trials(20), *others)}

    def energy(pictures: np.ndarray) -> np.ndarray:
        return np.array([picture.tobytes() not in whole for picture in pictures], float)

    monkeypatch.setattr(reader, "energy", energy)
    oracle, usual = (decoded(vae, renders(each, SIZE)) for each in (adapter_trials(20), others))
    assert calibrate_strangeness(reader, oracle, usual) == (0, 1)
