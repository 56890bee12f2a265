"""The loss as an instrument: what is shown, and that each measure answers its own cause."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from einops import rearrange
from experimenting import laboratory
from knowing import SIZE, Knowing

from dynaip.adapter.config import BRANCHES
from dynaip.evaluation.experiments import denoising
from dynaip.evaluation.experiments.denoising import MEASURES, NoisyTrials, measures
from dynaip.evaluation.experiments.laboratory import Laboratory
from dynaip.evaluation.factors import labels, probed_values
from dynaip.evaluation.truth.references import copy_source, with_concepts
from dynaip.hosts.flow import flow_matching_error, pack
from dynaip.miniature.toyland import Spec, render, segment


@pytest.fixture
def lab(model: Path, tmp_path: Path) -> Laboratory:
    return laboratory(model, tmp_path, Knowing(), 12)


def test_each_measure_answers_its_own_cause(lab: Laboratory) -> None:
    asked = NoisyTrials.of(lab)
    rng = np.random.default_rng(0)
    base = {name: rng.uniform(1, 2, asked.inside.shape) for name in ("said", "unsaid")}

    def shares(**taken: tuple[float, float]) -> dict[str, float]:
        """From the share of the base's error that each reference takes away, inside and outside."""
        shown = {}
        for name in ("null", "subject", "twin", "stranger", "unsaid twin", "unsaid posed twin"):
            inside, outside = taken.get(name.replace(" ", "_"), (0.0, 0.0))
            kept = np.where(asked.outside, 1 - outside, 1 - inside)
            shown[name] = kept * base["unsaid" if name.startswith("unsaid") else "said"]
        found = measures(base, shown, asked)
        return {name: columns[:, 0].sum() / columns[:, 1].sum() for name, columns in found.items()}

    def only(**values: float) -> Any:
        return pytest.approx(dict.fromkeys(MEASURES, 0.0) | values)

    assert shares() == only()
    # What an adapter mends, whoever is in the reference, counts for nothing.
    mended = dict.fromkeys(("null", "subject", "twin", "stranger"), (0.3, 0.3))
    assert shares(**mended) == only()
    assert shares(null=(-0.2, 0)) == only(help=0.2)
    assert shares(subject=(0.4, 0)) == only(help=0.4, look=0.4)
    assert shares(subject=(0.4, 0), twin=(0.4, 0)) == only(help=0.4, category=0.4)
    # A harmful stranger is no help.
    assert shares(stranger=(-0.5, 0)) == only(category=0.5)
    assert shares(unsaid_posed_twin=(0.2, 0)) == only(view=0.2)
    assert shares(unsaid_posed_twin=(0, 0.2)) == only(spill=0.2)


def test_references_differ_in_one_thing(lab: Laboratory) -> None:
    asked = NoisyTrials.of(lab)
    values = probed_values()

    def seen(name: str, index: int, spec: Spec) -> dict[str, int]:
        """The labels of the trial's subject that a reference shows in a view."""
        trials = [trial.target for trial in lab.trials]
        picture = asked.references[name][index].permute(1, 2, 0).numpy()
        own = trials[index].actors[0].concept
        for other in trials:
            stranger = other.actors[0].concept
            twin = dataclasses.replace(stranger, kind=own.kind, category=own.category)
            for concept in (stranger, twin):
                shown = with_concepts(spec, [concept])
                if np.array_equal(picture, segment(shown, size=lab.reference_size)):
                    return {key: int(value[0]) for key, value in labels([shown], values).items()}
        raise AssertionError(f"{name} of {index} shows nobody")

    def differing(one: dict[str, int], other: dict[str, int]) -> set[str]:
        return {name for name in one if one[name] != other[name]}

    for index, trial in enumerate(lab.trials):
        source = copy_source(trial)
        subject, twin, stranger = (
            seen(name, index, source) for name in ("subject", "twin", "stranger")
        )
        posed = seen("posed twin", index, trial.target)
        looks = {"main_colour", "second_colour", "pattern", "glyph", "mark"}
        assert subject == {k: int(v[0]) for k, v in labels([source], values).items()}
        assert differing(twin, stranger) == {"category"}
        assert differing(subject, twin) <= looks
        assert differing(subject, twin)
        assert {"scene", "light", "posture"} <= differing(twin, posed)
        assert not differing(twin, posed) & {"category", *looks}


def test_tokens_are_where_the_subject_is(lab: Laboratory) -> None:
    asked = NoisyTrials.of(lab)
    tokens = asked.inside.shape[1]
    side = round(tokens**0.5)
    # The same order as the latents': `pack` puts two by two latents into a token.
    places = rearrange(torch.arange(tokens).float(), "(y x) -> y x", y=side)
    doubled = places.repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert pack(doubled[None, None])[0].mean(-1).tolist() == list(range(tokens))
    for index, trial in enumerate(lab.trials):
        mask = render(trial.target, SIZE).masks[0]
        step = SIZE // side
        for place in range(tokens):
            y, x = divmod(place, side)
            square = mask[y * step : (y + 1) * step, x * step : (x + 1) * step]
            assert asked.inside[index, place] == square.mean()
        assert not (asked.outside[index] & (asked.inside[index] > 0)).any()
    assert asked.outside.any()


def test_prompts_say_the_view_or_nothing_of_it_at_one_length(lab: Laboratory) -> None:
    asked = NoisyTrials.of(lab)
    said, unsaid = asked.said[0], asked.unsaid[0]
    assert said.shape == unsaid.shape
    assert not said.equal(unsaid)
    # Of toys it says nothing at all, so that all are alike.
    toys = [index for index, trial in enumerate(lab.trials) if not trial.named]
    assert all(unsaid[index].equal(unsaid[toys[0]]) for index in toys)
    again = NoisyTrials.of(lab)
    assert asked.noise.equal(again.noise)
    assert not asked.noise[0, 0].equal(asked.noise[0, 1])
    assert not asked.noise[0, 0].equal(asked.noise[1, 0])


def test_errors_are_those_of_the_attached_adapter(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = []

    def note(base: Any, shown: Any, asked: NoisyTrials) -> Any:
        calls.append((base, shown))
        return measures(base, shown, asked)

    monkeypatch.setattr(denoising, "measures", note)
    rows = list(denoising.run(lab))
    assert [row["branches"] for row in rows] == list(BRANCHES)
    assert not {"steps", "guidance"} & rows[0].keys()
    asked = NoisyTrials.of(lab)
    with torch.no_grad():
        plain = [
            flow_matching_error(
                lab.pipe.transformer,
                asked.latents,
                noise,
                torch.full((len(asked.latents),), sigma),
                asked.said,
            )
            for sigma, noise in zip(denoising.SIGMAS, asked.noise, strict=True)
        ]
    expected = torch.stack(plain).mean(0).double().numpy()
    (base, image), (_, text), (_, both) = calls
    np.testing.assert_allclose(base["said"], expected, rtol=1e-4)
    for one, other in ((image, text), (image, both), (text, both)):
        assert all(not np.allclose(one[name], other[name]) for name in one)
    assert len({value.tobytes() for value in image.values()}) == len(image)

    calls.clear()
    smaller = list(denoising.run(dataclasses.replace(lab, batch_size=5)))
    for name, values in image.items():
        np.testing.assert_allclose(calls[0][1][name], values, rtol=1e-3)
    assert smaller[0]["look"] == pytest.approx(rows[0]["look"], abs=1e-3)


def test_variants_are_compared_on_the_rows_that_they_were_trained_on(
    lab: Laboratory, model: Path
) -> None:
    tiny.adapter(train_branches="image").save_pretrained(model / "image-branch")
    folders = {"full": "adapter", "add": "add", "image-branch": "image-branch"}
    named = {name: model / folder for name, folder in folders.items()}
    *rows, other = denoising.run(dataclasses.replace(lab, adapters=named))
    own, added = rows[: len(BRANCHES)], rows[len(BRANCHES) :]
    assert all("against_method" not in row for row in own)
    assert all("against_method" in row for row in added)
    assert (other["variant"], other["name"]) == ("image-branch", "image")
    for name in MEASURES:
        difference = other["against_method"][name]["difference"][0]
        assert difference == pytest.approx(other[name][0] - own[0][name][0])
