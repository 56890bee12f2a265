"""Samples are prepared by other processes, and a bad one is told."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from multiprocessing import get_start_method, set_start_method
from pathlib import Path
from typing import Any

import pytest
import torch
from regressing import CONFIG, Noise, Regression, exported, in_two_processes
from torch.utils.data import Dataset

from dynaip.training.loop import TrainingError, train


class Known(Dataset[dict[str, Any]]):
    """`Noise` that says which process drew a row, or what is wrong with the row `bad`.

    It holds a closure, as the adapter's task does, which no process can be sent.
    """

    def __init__(
        self, seed: int, bad: int | None = None, kind: type[Exception] = ValueError
    ) -> None:
        def refuse() -> None:
            raise kind("Line 3 is not JSON.")

        self.noise, self.bad, self.refuse = Noise(seed), bad, refuse

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == self.bad:
            self.refuse()
        return {**self.noise[index], "process": os.getpid()}


def known(made_by: set[int], **about: Any) -> Regression:
    """A task of `Known` rows that notes which processes made them."""
    task = Regression()
    stack = task.collate

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {**stack(samples), "processes": [sample["process"] for sample in samples]}

    task.dataset = lambda seed: Known(seed, **about)
    task.collate = collate
    task.register_forward_pre_hook(lambda module, given: made_by.update(given[0]["processes"]))
    return task


@pytest.fixture
def spawning() -> Iterator[None]:
    """Processes are spawned where nothing else is asked for, as on most systems."""
    before = get_start_method(allow_none=True)
    set_start_method("spawn", force=True)
    yield
    set_start_method(before, force=True)


@pytest.mark.usefixtures("spawning")
def test_a_worker_prepares_the_same_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever way this system begins processes by itself."""
    one = dataclasses.replace(CONFIG, workers=1)
    makers: dict[str, set[int]] = {"alone": set(), "worker": set(), "no fork": set()}
    train(known(makers["alone"]), CONFIG, tmp_path / "alone")
    train(known(makers["worker"]), one, tmp_path / "worker")
    monkeypatch.setattr("dynaip.training.batches.get_all_start_methods", lambda: ["spawn"])
    train(known(makers["no fork"]), one, tmp_path / "no fork")
    assert makers["alone"] == makers["no fork"] == {os.getpid()}
    assert len(makers["worker"]) == 1
    assert makers["worker"].isdisjoint(makers["alone"])
    alone, worker = exported(tmp_path / "alone"), exported(tmp_path / "worker")
    assert all(torch.equal(alone[name], worker[name]) for name in alone)


@pytest.mark.parametrize(("workers", "kind"), [(0, ValueError), (1, OSError)])
def test_a_bad_sample_is_told_after_the_steps_before_it_are_saved(
    tmp_path: Path, workers: int, kind: type[Exception]
) -> None:
    config = dataclasses.replace(CONFIG, workers=workers)
    with pytest.raises(TrainingError) as raised:
        train(known(set(), bad=13, kind=kind), config, tmp_path / "cut")
    checkpoint = tmp_path / "cut" / "checkpoints" / "step-00000003"
    assert str(raised.value) == (
        f"The samples of step 4 cannot be made. The last good state is {checkpoint}. The reason: "
        "Line 3 is not JSON."
    )
    assert raised.value.__cause__ is not None
    assert "refuse()" in "".join(raised.value.__cause__.__notes__)
    train(known(set()), config, tmp_path / "cut")
    train(known(set()), config, tmp_path / "whole")
    cut, whole = exported(tmp_path / "cut"), exported(tmp_path / "whole")
    assert all(torch.equal(cut[name], whole[name]) for name in whole)


def test_a_bad_sample_of_another_process_is_told_by_all(tmp_path: Path) -> None:
    """Row 14 is in the second process's half of step 4; the first one saves."""
    said = in_two_processes(
        tmp_path,
        "from dynaip.training.loop import TrainingError, train\n"
        "class Bad(Noise):\n"
        "    def __getitem__(self, index):\n"
        "        if index == 14: raise ValueError('Line 3 is not JSON.')\n"
        "        return super().__getitem__(index)\n"
        "task = Regression()\n"
        "task.dataset = Bad\n"
        "try:\n"
        f"    train(task, CONFIG, Path({str(tmp_path / 'two')!r}))\n"
        "except TrainingError as error:\n"
        "    print(error)\n",
    )
    checkpoint = tmp_path / "two" / "checkpoints" / "step-00000003"
    assert checkpoint.is_dir()
    assert said == 2 * [
        f"The samples of step 4 cannot be made. The last good state is {checkpoint}. The reason: "
        "Line 3 is not JSON."
    ]


def test_a_run_whose_first_sample_is_bad_leaves_no_state(tmp_path: Path) -> None:
    """So that its folder is free for a better recipe."""
    with pytest.raises(TrainingError, match=r"step 1 cannot be made\. No state had been saved"):
        train(known(set(), bad=0), CONFIG, tmp_path)
    train(Regression(), dataclasses.replace(CONFIG, seed=1), tmp_path)
