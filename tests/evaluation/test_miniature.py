"""The figures as an instrument: each reference system gets what it deserves, and only that.

Pictures are real renders; the reader knows all of them by heart, so every number is exact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from knowing import SIZE, Knowing

from dynaip.evaluation.factors import CONCEPT_FACTORS, probed_values
from dynaip.evaluation.figures import Figure
from dynaip.evaluation.generation import Request
from dynaip.evaluation.miniature import (
    BASE_PROMPTED,
    KEPT_TARGETS,
    PROMPTED,
    Trial,
    adapter_trials,
    autoencoder_figure,
    base_trials,
)
from dynaip.evaluation.suite import Suite, Systems
from dynaip.miniature.autoencoder import PatchAutoencoder
from dynaip.miniature.toyland import Spec, is_held_out

DDS = "adapter, image rows (DDS)"
COUNT = 48
LOSSLESS = PatchAutoencoder(latent_channels=48, sample_size=SIZE)


class Renderer:
    """Makes what `choose` says the picture of a trial is."""

    def __init__(
        self, probe: Knowing, trials: Sequence[Trial], choose: Callable[[Trial, Request], Spec]
    ) -> None:
        self.probe, self.choose = probe, choose
        self.identity = {"renderer": choose.__name__}
        self.trials = {(trial.prompt, trial.seed): trial for trial in trials}
        self.made = 0

    def __call__(self, requests: Sequence[Request]) -> np.ndarray:
        self.made += len(requests)
        trials = [self.trials[request.prompt, request.seed] for request in requests]
        specs = [self.choose(*pair) for pair in zip(trials, requests, strict=True)]
        return np.stack([self.probe.draw(spec) for spec in specs])


def oracle(trial: Trial, request: Request) -> Spec:
    return trial.target


def copied_picture(trial: Trial, request: Request) -> Spec:
    """Follows the prompt's scene no more than the reference's light."""
    assert len(request.references) == 1
    assert trial.source is not None
    return trial.source


def of_another(trials: Sequence[Trial]) -> Callable[[Trial, Request], Spec]:
    following = {id(trial): trials[i - 1] for i, trial in enumerate(trials)}

    def wrong_concept(trial: Trial, request: Request) -> Spec:
        (actor,) = trial.target.actors
        (other,) = following[id(trial)].target.actors
        actor = dataclasses.replace(actor, concept=other.concept)
        return dataclasses.replace(trial.target, actors=(actor,))

    return wrong_concept


@pytest.fixture(scope="module")
def trials() -> tuple[list[Trial], list[Trial]]:
    return base_trials(COUNT), adapter_trials(COUNT)


@pytest.fixture(scope="module")
def probe(trials: tuple[list[Trial], list[Trial]]) -> Knowing:
    reader = Knowing()
    for trial in (*trials[0], *trials[1]):
        reader.draw(trial.target)
    return reader


def measure(
    probe: Knowing, base: Renderer, adapter: Renderer | None, folder: Path
) -> dict[tuple[str, str], Figure]:
    suite = Suite(probe=probe, autoencoder=LOSSLESS, folder=folder, count=COUNT, batch_size=16)
    adapters = {} if adapter is None else {DDS: adapter}
    figures = suite.run(Systems(base=base, adapters=adapters, reference_size=16))
    return {(figure.group, figure.name): figure for figure in figures}


@pytest.fixture
def base(probe: Knowing, trials: tuple[list[Trial], list[Trial]]) -> Renderer:
    return Renderer(probe, [*trials[0], *trials[1]], oracle)


def test_the_oracle_reaches_every_target(
    probe: Knowing, base: Renderer, trials: tuple[list[Trial], list[Trial]], tmp_path: Path
) -> None:
    figures = measure(probe, base, Renderer(probe, trials[1], oracle), tmp_path)
    assert {group for group, _ in figures} == {"autoencoder", "probe", "base", DDS}
    assert all(figure.reached is not False for figure in figures.values())
    assert all(figures["base", f].value == 1 for f in BASE_PROMPTED)
    assert all(figures[DDS, f].value == 1 for f in CONCEPT_FACTORS)
    assert sum(figure.target is not None for figure in figures.values()) == 1 + 7 + 5 + 3


def test_a_wrong_concept_falls_to_the_floor_and_keeps_the_prompt(
    probe: Knowing, base: Renderer, trials: tuple[list[Trial], list[Trial]], tmp_path: Path
) -> None:
    figures = measure(probe, base, Renderer(probe, trials[1], of_another(trials[1])), tmp_path)
    for factor in KEPT_TARGETS:
        figure = figures[DDS, factor]
        assert abs(figure.above_chance) < 0.25, factor
        assert figure.high < 0.6
    assert all(figures[DDS, f"prompted {f}"].value == 1 for f in PROMPTED)


def test_a_copied_picture_keeps_the_concept_and_fails_the_prompt(
    probe: Knowing, base: Renderer, trials: tuple[list[Trial], list[Trial]], tmp_path: Path
) -> None:
    figures = measure(probe, base, Renderer(probe, trials[1], copied_picture), tmp_path)
    assert all(figures[DDS, f].value == 1 for f in CONCEPT_FACTORS)
    for factor in PROMPTED:
        figure = figures[DDS, f"prompted {factor}"]
        assert figure.reached is False
        assert abs(figure.above_chance) < 0.3, factor


def test_pictures_unlike_the_renders_that_were_asked_for_are_called_strange(
    probe: Knowing,
    base: Renderer,
    trials: tuple[list[Trial], list[Trial]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sources = [trial.source for trial in trials[1]]

    def energy(pictures: np.ndarray) -> np.ndarray:
        return np.array([probe.known[picture.tobytes()] in sources for picture in pictures], float)

    monkeypatch.setattr(probe, "energy", energy)
    figures = measure(probe, base, Renderer(probe, trials[1], copied_picture), tmp_path)
    assert figures["base", "strange pictures"].value == 0
    assert figures[DDS, "strange pictures"].value == 1
    assert figures[DDS, "strange pictures"].reached is None


def test_what_the_base_cannot_do_is_not_held_against_the_adapter(
    probe: Knowing, trials: tuple[list[Trial], list[Trial]], tmp_path: Path
) -> None:
    deaf = Renderer(probe, [*trials[0], *trials[1]], lambda trial, _: trial.source or trial.target)
    adapter = Renderer(probe, trials[1], lambda trial, _: trial.source)
    figures = measure(probe, deaf, adapter, tmp_path)
    for factor in PROMPTED:
        figure = figures[DDS, f"prompted {factor}"]
        assert figure.value == 1
        assert figure.yardstick < 0.6
        assert figure.measurable


def test_nothing_is_made_twice_and_more_subjects_only_add(
    probe: Knowing, base: Renderer, trials: tuple[list[Trial], list[Trial]], tmp_path: Path
) -> None:
    first = measure(probe, base, None, tmp_path)
    assert base.made == COUNT
    assert measure(probe, base, None, tmp_path) == first
    assert base.made == COUNT
    assert base_trials(COUNT + 1)[:COUNT] == trials[0]


def test_trials_are_held_out_and_prompts_keep_the_subject_to_the_reference(
    trials: tuple[list[Trial], list[Trial]],
) -> None:
    assert all(is_held_out(trial.target.actors[0].concept) for part in trials for trial in part)
    values = probed_values()
    for trial in trials[1]:
        (actor,), (source,) = trial.target.actors, trial.source.actors
        assert actor.concept == source.concept
        words = set(trial.prompt.replace(",", " ").split())
        assert (actor.concept.category in words) == trial.named
        assert ("toy" in words) != trial.named
        assert not words & {*values["main_colour"], *values["pattern"], "letter"}
    assert sum(trial.named for trial in trials[1]) == COUNT // 2


def test_psnr_is_the_textbook_one() -> None:
    pictures = np.full((3, 8, 8, 3), 100, dtype=np.uint8)
    figure = autoencoder_figure(pictures, pictures + np.uint8(5))
    assert figure.value == pytest.approx(20 * np.log10(255 / 5))
    mixed = np.stack([pictures[0] + np.uint8(5), pictures[0] + np.uint8(9), pictures[0]])
    figure = autoencoder_figure(pictures, mixed)
    assert figure.low < figure.value < figure.high
