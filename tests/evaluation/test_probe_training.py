"""Training a probe: it learns from renders, and one seed gives one probe."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from dynaip.evaluation.factors import UNANSWERABLE, probed_values
from dynaip.evaluation.fitting import Checkpoint, Fitting, _optimizers
from dynaip.evaluation.probe import Probe, ProbeConfig
from dynaip.evaluation.probe_training import (
    LabelledRenders,
    factor_loss,
    render_lessons,
    train_probe,
)
from dynaip.miniature.autoencoder import PatchAutoencoder
from dynaip.miniature.toyland import render, sample_spec

SIZE = 32


def config(*factors: str) -> ProbeConfig:
    values = {name: probed_values()[name] for name in factors}
    return ProbeConfig(values=values, size=SIZE, widths=(16, 16, 24, 24))


def test_it_learns_to_see_scenes() -> None:
    losses: list[float] = []
    training = Fitting(renders=320, epochs=6, batch_size=16, learning_rate=4e-3, workers=0)
    lessons = render_lessons(config("scene"), training)
    probe = train_probe(
        config("scene"), training, lessons, on_step=lambda _, loss: losses.append(loss)
    )
    assert len(losses) == training.steps == 120
    assert np.mean(losses[-20:]) < 0.7 * losses[0]
    specs = [sample_spec(np.random.default_rng([9, i]), split="test") for i in range(60)]
    answers = probe.read(np.stack([render(spec, SIZE).image for spec in specs]))["scene"]
    scenes = probe.config.values["scene"]
    right = [scenes[answer] == spec.scene for answer, spec in zip(answers, specs, strict=True)]
    assert np.mean(right) > 0.5  # chance is 1 in 6


def test_one_seed_one_probe() -> None:
    shape = config("scene", "glyph")
    training = Fitting(renders=8, epochs=2, batch_size=4, workers=0)
    lessons = render_lessons(shape, training)
    first, second = (train_probe(shape, training, lessons) for _ in range(2))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_items_are_drawn_from_their_own_index() -> None:
    values = probed_values()
    renders = LabelledRenders(0, 4, SIZE, values)
    picture, answers = renders[3]
    again, _ = LabelledRenders(0, 100, SIZE, values)[3]
    assert (picture == again).all()
    assert (picture != LabelledRenders(1, 4, SIZE, values)[3][0]).any()
    assert answers.shape == (len(values),)
    assert len(list(renders)) == 4


def test_workers_render_the_same_lessons() -> None:
    shape, done = config("category"), []
    lessons = [
        render_lessons(shape, Fitting(renders=130, workers=workers), done.append)
        for workers in (0, 1)
    ]
    assert (lessons[0].pictures == lessons[1].pictures).all()
    assert (lessons[0].answers == lessons[1].answers).all()
    assert lessons[0].pictures.shape == (130, SIZE, SIZE, 3)
    assert done == [64, 64, 2] * 2


def test_questions_without_an_answer_do_not_pull() -> None:
    logits = {"a": torch.randn(3, 4, requires_grad=True)}
    answers = torch.tensor([[1], [UNANSWERABLE], [2]])
    factor_loss(logits, answers).backward()
    assert logits["a"].grad[1].abs().max() == 0
    assert logits["a"].grad[[0, 2]].abs().min() > 0
    nothing = factor_loss(logits, torch.full((3, 1), UNANSWERABLE))
    assert nothing == 0


def test_muon_turns_the_matrices_of_attention_and_nothing_else() -> None:
    fitting = Fitting(renders=8, batch_size=4)
    probe = Probe(config("scene"))
    adamw, muon = _optimizers(probe, fitting, bf16=True)
    names = {id(parameter): name for name, parameter in probe.named_parameters()}
    turned, rest = (
        {names[id(p)] for group in optimizer.param_groups for p in group["params"]}
        for optimizer in (muon, adamw)
    )
    parts = ("self_attn.in_proj_weight", "self_attn.out_proj.weight")
    parts += ("linear1.weight", "linear2.weight")
    assert turned == {f"looking.layers.{layer}.{part}" for layer in range(3) for part in parts}
    assert turned | rest == set(names.values())
    assert not turned & rest
    gazing = Probe(dataclasses.replace(config("scene"), layers=0))
    assert [type(each) for each in _optimizers(gazing, fitting, bf16=True)] == [torch.optim.AdamW]


def test_a_network_is_compiled_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Probe] = []
    monkeypatch.setattr(Probe, "compile", lambda self: compiled.append(self))
    shape, fitting = config("scene"), Fitting(renders=8, epochs=1, batch_size=4, workers=0)
    lessons = render_lessons(shape, fitting)
    train_probe(shape, fitting, lessons)
    assert not compiled
    probe = train_probe(shape, dataclasses.replace(fitting, compile=True), lessons)
    assert compiled == [probe]


def test_too_few_renders_are_refused() -> None:
    with pytest.raises(ValueError, match="ask for 64 or more"):
        Fitting(renders=50, batch_size=32)


def test_a_run_that_was_stopped_goes_on_exactly(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(step: int, loss: float) -> None:
        if step == 3:
            raise Stopped

    shape, fitting = config("scene"), Fitting(renders=8, epochs=3, batch_size=4, workers=0)
    lessons = render_lessons(shape, fitting)
    whole = train_probe(shape, fitting, lessons)
    keep = Checkpoint(path=tmp_path / "state.pt", seconds=0)
    with pytest.raises(Stopped):
        train_probe(shape, fitting, lessons, on_step=stop, checkpoint=keep)
    with pytest.raises(ValueError, match="other settings"):
        train_probe(shape, Fitting(renders=12, batch_size=4), lessons, checkpoint=keep)
    for other in (PatchAutoencoder(latent_channels=48), PatchAutoencoder(latent_channels=64)):
        with pytest.raises(ValueError, match="or autoencoder"):
            train_probe(shape, fitting, lessons, other, checkpoint=keep)
    half = lessons._replace(pictures=lessons.pictures[:, ::2, ::2])
    with pytest.raises(ValueError, match="other settings, pictures"):
        train_probe(shape, fitting, half, checkpoint=keep)
    broken = Checkpoint(path=tmp_path / "broken.pt")
    broken.path.write_bytes(keep.path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"broken\.pt is broken"):
        train_probe(shape, fitting, lessons, checkpoint=broken)
    steps: list[int] = []
    again = train_probe(
        shape, fitting, lessons, on_step=lambda step, _: steps.append(step), checkpoint=keep
    )
    assert steps == [4, 5, 6]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert not keep.path.exists()


def test_crops_show_one_subject_and_not_where_it_stood() -> None:
    values = {name: probed_values()[name] for name in ("category", "position")}
    lessons = LabelledRenders(0, 8, SIZE, values)
    assert [lessons[i][1][1] == UNANSWERABLE for i in range(8)] == [False, False, False, True] * 2
    assert lessons[3][0].shape == (SIZE, SIZE, 3)
