"""Details without a probe, and designs trained again."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
from experimenting import laboratory
from knowing import SIZE, Knowing

from dynaip.evaluation.experiments import EXPERIMENTS
from dynaip.evaluation.experiments.ablation import design_of
from dynaip.evaluation.factors import probed_values
from dynaip.evaluation.probe import Probe, ProbeConfig
from dynaip.evaluation.truth.references import SINGLE


def test_details_tell_known_systems_apart(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an autoencoder that loses nothing."""
    monkeypatch.setattr("dynaip.evaluation.experiments.details.decoded", lambda vae, drawn: drawn)
    config = ProbeConfig(values=probed_values(), size=64, widths=(4, 4))
    lab = laboratory(model, tmp_path, Probe(config), 16)
    known = list(itertools.islice(EXPERIMENTS["details"](lab), len(SINGLE) + 2))
    measures = {
        row["name"]: {name: value for name, (value, *_) in row["details"].items()} for row in known
    }
    bands = {
        name: [value for measure, value in each.items() if measure.startswith("BRF")]
        for name, each in measures.items()
    }
    assert bands["B2 oracle"] == pytest.approx([1] * 4)
    assert bands["B3 blurred"][0] < 0.9 < bands["B3 blurred"][-1]
    assert bands["B6 wrong concept"][0] < 0.5
    assert bands["B7 blank"][0] < 0.5
    for factor in ("main_colour", "second_colour", "glyph"):
        right, wrong = (
            measures[name][f"2AFC {factor}"] for name in ("B2 oracle", "B6 wrong concept")
        )
        assert right > 0.85
        assert wrong < 0.75


def test_other_seeds_need_designs_that_were_trained_again(model: Path, tmp_path: Path) -> None:
    lab = laboratory(model, tmp_path, Knowing(), 2)
    once = dataclasses.replace(lab, variants={"full": model / "adapter", "add": model / "add"})
    with pytest.raises(ValueError, match="trained more than once"):
        next(EXPERIMENTS["seeds"](once))


def test_of_each_design_the_ablation_asks_one_training(model: Path, tmp_path: Path) -> None:
    lab = laboratory(model, tmp_path, Probe(ProbeConfig(values=probed_values(), size=SIZE)), 2)
    again = {"add-seed1": model / "add", "full": model / "adapter", "full-seed1": model / "adapter"}
    rows = EXPERIMENTS["ablation"](dataclasses.replace(lab, variants=again))
    told = [row["variant"] for row in itertools.islice(rows, 3) if "variant" in row]
    assert told == ["add-seed1", "full"]
    assert [design_of(name) for name in ("add-seed12", "big-seedling")] == ["add", "big-seedling"]
