"""Sweeps over lambda and over the levels: areas and slopes of their rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from experimenting import laboratory
from knowing import SIZE, Knowing

from dynaip.evaluation.evidence_tables import TABLES
from dynaip.evaluation.experiments import EXPERIMENTS
from dynaip.evaluation.experiments.laboratory import Laboratory
from dynaip.evaluation.factors import labels
from dynaip.evaluation.miniature import decoded, renders
from dynaip.evaluation.tables import markdown
from dynaip.evaluation.truth.granularity import frontier_area, isotonic_slope


class Guessing(Knowing):
    """Guesses what it does not know, and of one picture always the same."""

    def read(self, pictures: np.ndarray, batch_size: int = 256) -> dict[str, np.ndarray]:
        read = [self._read(picture) for picture in pictures]
        return {name: np.array([each[name] for each in read]) for name in self.config.values}

    def _read(self, picture: np.ndarray) -> dict[str, int]:
        values = self.config.values
        if picture.tobytes() in self.known:
            known = labels([self.known[picture.tobytes()]], values)
            return {name: int(known[name][0]) for name in values}
        guess = np.random.default_rng(list(picture.tobytes()))
        return {name: int(guess.integers(len(options))) for name, options in values.items()}


@pytest.fixture
def lab(model: Path, tmp_path: Path) -> Laboratory:
    probe = Guessing()
    made = laboratory(model, tmp_path, probe, 7)
    perfect = decoded(made.pipe.vae, renders(made.trials, SIZE))
    for picture, trial in zip(perfect, made.trials, strict=True):
        probe.known[picture.tobytes()] = trial.target
    return made


def low_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who guesses reads nothing well."""
    monkeypatch.setattr("dynaip.evaluation.experiments.laboratory.MEASURABLE", 0.0)


def test_areas_are_those_of_the_rows(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    low_bar(monkeypatch)
    _, *ways, last = EXPERIMENTS["strength"](lab)
    areas = {}
    for way, (area, low, high) in last["areas"].items():
        points = [row for row in ways if row["name"].startswith(f"{way}, ")]
        assert len(points) == 4
        scores = ([row[name][0] for row in points] for name in ("cp", "retention"))
        assert area == pytest.approx(frontier_area(*scores))
        assert low <= high
        areas[way] = area
    assert list(areas) == ["image", "both", "own words", "guided", "both guided"]
    for way in list(areas)[1:]:
        less = last["image_less"][way]
        assert less["difference"][0] == pytest.approx(areas["image"] - areas[way])
        assert 0 < less["p"] <= 1
    assert last["adapter"] == ways[0]["adapter"]


def test_slopes_are_those_of_the_rows(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    low_bar(monkeypatch)
    rows = list(EXPERIMENTS["granularity"](lab))
    _, *manual, last = rows
    for tier, slopes in last["slopes"].items():
        for level, name in enumerate(("low", "mid", "high")):
            points = (
                [row["granularity"][level] for row in manual],
                [row[f"cp_{tier}"][0] for row in manual],
            )
            assert slopes[name][0] == pytest.approx(np.polyfit(*points, 1)[0])
            isotonic = last["isotonic"][tier][name]
            assert isotonic == pytest.approx(isotonic_slope(*points))
    assert last["adapter"] == manual[0]["adapter"]
    less = last["slopes"]["fine"]["low"][0] - last["slopes"]["coarse"]["low"][0]
    assert last["low_on_fine_less_coarse"][0] == pytest.approx(less)
    page = "".join(markdown(table) for table in TABLES["granularity"](rows))
    assert "less the coarse tier's" in page


def test_what_cannot_be_read_has_no_area_and_no_slope(lab: Laboratory) -> None:
    for name in ("strength", "granularity"):
        rows = list(EXPERIMENTS[name](lab))
        assert not {"areas", "slopes"} & {row["name"] for row in rows}
        assert [table.title for table in TABLES[name](rows)]
