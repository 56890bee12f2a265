"""Linear probes on the frozen encoders: they find what is there, and nothing else."""

from __future__ import annotations

import math

import numpy as np

import dynaip
from dynaip.evaluation.factors import UNANSWERABLE, blind_guess, probed_values
from dynaip.evaluation.knowledge import (
    ENCODERS,
    answers,
    knowledge_figures,
    linear_accuracies,
)
from dynaip.miniature.toyland import sample_spec


def test_a_linear_probe_finds_what_is_there_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    known, wanted = (rng.integers(0, 4, count) for count in (400, 100))
    noise, other = rng.normal(size=(400, 6)), rng.normal(size=(100, 6))
    fit, trial = np.eye(4)[known] + 0.1 * noise[:, :4], np.eye(4)[wanted] + 0.1 * other[:, :4]
    wanted[:10], blank = -1, rng.integers(0, 4, 100)
    found = linear_accuracies(
        np.hstack([fit, noise]),
        {"there": known, "not there": rng.integers(0, 4, 400), "not asked": known},
        np.hstack([trial, other]),
        {"there": wanted, "not there": blank, "not asked": np.full(100, -1)},
    )
    assert found["there"] == 1
    assert abs(found["not there"] - 0.25) < 0.15
    assert math.isnan(found["not asked"])


def test_details_that_are_not_there_are_not_asked_for() -> None:
    specs = [sample_spec(np.random.default_rng(seed)) for seed in range(40)]
    concepts = [spec.actors[0].concept for spec in specs]
    found = answers(specs, ("category", "glyph", "mark"))
    assert (found["category"] >= 0).all()
    silent = [concept.glyph == "" for concept in concepts]
    assert any(silent)
    assert ((found["glyph"] == UNANSWERABLE) == np.array(silent)).all()
    assert ((found["mark"] == UNANSWERABLE) == [each.mark == "none" for each in concepts]).all()
    assert blind_guess("glyph", probed_values()["glyph"]) == 1 / 25
    assert blind_guess("scene", probed_values()["scene"]) == 1 / 6


def test_the_miniature_s_encoders_know_the_scene() -> None:
    shares = []
    figures = knowledge_figures(dynaip.load(), 40, 0, lambda: shares.append(1))
    known = {(figure.group, figure.name): figure for figure in figures}
    assert {group for group, _ in known} == set(ENCODERS)
    assert len(shares) == 4
    for group in ("T5's tokens", "CLIP's pooled vector"):
        assert known[group, "scene"].value > 0.5
        assert known[group, "category"].value > 0.5
    assert known["image encoder", "main_colour"].value > 0.3
    assert ("image encoder", "scene") not in known
    assert known[ENCODERS[0], "glyph"].count < known[ENCODERS[0], "scene"].count == 40
