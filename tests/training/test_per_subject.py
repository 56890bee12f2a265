"""Training per subject, on a tiny FLUX: what is trained, what stays, and that it helps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from diffusers import FluxPipeline

from dynaip.training.checkpoint import CheckpointError
from dynaip.training.per_subject import METHODS, WORD, Method, SubjectFit, View, fit_subject
from dynaip.training.task import Task

VIEWS = [
    View(np.full((tiny.SIZE, tiny.SIZE, 3), shade, np.uint8), f"a {WORD} dog")
    for shade in (180, 200, 220)
]


def parameters(pipe: object) -> dict[str, torch.Tensor]:
    found = {}
    for part in ("transformer", "text_encoder", "text_encoder_2", "vae"):
        state = getattr(pipe, part).state_dict()
        found |= {f"{part}.{name}": value.clone() for name, value in state.items()}
    return found


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_trains_what_its_method_says_and_leaves_the_base(
    method: Method, tmp_path: Path
) -> None:
    base = tiny.pipeline()
    before, words = parameters(base), len(base.tokenizer)
    fit = SubjectFit(
        method=method, steps=3, batch_size=2, learning_rate=1e-2, rank=2, precision="no"
    )
    fitted = fit_subject(base, fit, VIEWS, tmp_path / method)
    after = parameters(base)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert len(base.tokenizer) == words
    mine = parameters(fitted)
    differs = {name for name in mine if not torch.equal(mine[name], before.get(name, mine[name]))}
    added = mine.keys() - before.keys()
    if method == "dreambooth":
        assert {name.partition(".")[0] for name in differs} == {"transformer"}
        assert not added
    elif method == "dreambooth-lora":
        assert not {name for name in differs if "lora" not in name}
        assert added
        assert all("lora" in name or "base_layer" in name for name in added)
    else:
        assert {name.partition(".")[0] for name in differs} <= {"text_encoder", "text_encoder_2"}


def test_textual_inversion_moves_one_word(tmp_path: Path) -> None:
    base = tiny.pipeline()
    fit = SubjectFit(
        method="textual-inversion", steps=3, batch_size=2, learning_rate=1e-2, precision="no"
    )
    fitted = fit_subject(base, fit, VIEWS, tmp_path)
    for tokenizer, part in (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2")):
        known = len(getattr(base, tokenizer))
        old = getattr(base, part).get_input_embeddings().weight
        new = getattr(fitted, part).get_input_embeddings().weight
        place = getattr(fitted, tokenizer).convert_tokens_to_ids(WORD)
        assert place >= known
        rows = min(len(old), place)
        assert torch.equal(new[:rows], old[:rows])
        # The tiny CLIP reads its vector off the first token, which sees no later one.
        assert torch.allclose(new[place], new[:place].mean(0)) == (part == "text_encoder")


def test_the_class_is_kept_in_mind_every_other_sample() -> None:
    from dynaip.training.per_subject import SubjectTask

    others = [View(np.zeros((tiny.SIZE, tiny.SIZE, 3), np.uint8), "a dog")]
    task = SubjectTask(tiny.pipeline(), SubjectFit(method="dreambooth"), VIEWS, others)
    assert isinstance(task, Task)
    prompts = [task.dataset(0)[index]["prompt"] for index in range(6)]
    assert prompts == [VIEWS[0].prompt, "a dog"] * 3


def test_a_fit_learns_its_pictures(tmp_path: Path) -> None:
    fit = SubjectFit(
        method="dreambooth", steps=60, batch_size=4, learning_rate=3e-3, precision="no"
    )
    fit_subject(tiny.pipeline(), fit, VIEWS, tmp_path)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    losses = [float(line.partition('"loss": ')[2].partition(",")[0]) for line in lines]
    assert losses[-1] < 0.7 * losses[0]


def test_what_cannot_be_fitted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        fit_subject(tiny.pipeline(), SubjectFit(method="dreambooth"), [], tmp_path)


def test_a_fit_goes_on_over_its_own_pictures_and_base_only(tmp_path: Path) -> None:
    def refit(base: FluxPipeline, views: list[View], others: list[View]) -> None:
        fit = SubjectFit(method="dreambooth", steps=1, batch_size=1, precision="no")
        fit_subject(base, fit, views, tmp_path, others)

    base, other = tiny.pipeline(), tiny.pipeline()
    torch.nn.init.normal_(other.text_encoder.get_input_embeddings().weight)
    dogs = [View(np.zeros((tiny.SIZE, tiny.SIZE, 3), np.uint8), "a dog")]
    refit(base, VIEWS, dogs)
    refit(base, VIEWS, dogs)
    repainted = [VIEWS[0]._replace(picture=255 - VIEWS[0].picture), *VIEWS[1:]]
    renamed = [VIEWS[0]._replace(prompt=f"a {WORD} cat"), *VIEWS[1:]]
    for asked, changed in (
        ((base, repainted, dogs), "views"),
        ((base, renamed, dogs), "views"),
        ((base, VIEWS, []), "others"),
        ((other, VIEWS, dogs), "base"),
    ):
        with pytest.raises(CheckpointError, match=f"another run: {changed} was [^;]*$"):
            refit(*asked)
