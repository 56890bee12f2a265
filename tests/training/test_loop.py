"""The loop: exact resume, refusals, and what a run leaves behind."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from regressing import CONFIG, Regression, exported, in_two_processes
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from dynaip.training.checkpoint import (
    CheckpointError,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from dynaip.training.config import TrainingConfig
from dynaip.training.loop import TrainingError, train
from dynaip.training.task import Task


def test_a_task_satisfies_the_protocol() -> None:
    assert isinstance(Regression(), Task)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_interrupted_equals_uninterrupted(tmp_path: Path, optimizer: str) -> None:
    config = dataclasses.replace(CONFIG, optimizer=optimizer, schedule="cosine")
    train(Regression(), config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Regression(kill=3), config, tmp_path / "cut")
    assert list_checkpoints(tmp_path / "cut" / "checkpoints")[-1].name == "step-00000003"
    train(Regression(), config, tmp_path / "cut")

    whole, cut = exported(tmp_path / "whole"), exported(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    rows = [
        [json.loads(row) for row in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        for run in ("whole", "cut")
    ]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]
    assert [row["step"] for row in rows[1]] == list(range(1, 9))


@pytest.mark.skipif(torch.accelerator.is_available(), reason="of a CPU")
@pytest.mark.parametrize("before", [False, True])
def test_attention_goes_by_the_plain_formula_in_its_inputs_precision(
    tmp_path: Path, before: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 1, 2, 50, 16, generator=generator).bfloat16().unbind()
    backend = torch.backends.cuda
    seen: list[Tensor] = []

    class Attending(Regression):
        def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
            seen.append(F.scaled_dot_product_attention(*inputs))
            return super().forward(batch)

    try:
        with sdpa_kernel(SDPBackend.MATH):
            by_fp32 = F.scaled_dot_product_attention(*inputs)
            backend.allow_fp16_bf16_reduction_math_sdp(True)
            plain = F.scaled_dot_product_attention(*inputs)
        backend.allow_fp16_bf16_reduction_math_sdp(before)
        train(Attending(), CONFIG, tmp_path / "whole")
        with pytest.raises(TrainingError):
            train(Attending(poison=2), CONFIG, tmp_path / "poisoned")
        assert backend.fp16_bf16_reduction_math_sdp_allowed() == before
    finally:
        backend.allow_fp16_bf16_reduction_math_sdp(False)
    assert seen
    assert all(torch.equal(each, plain) for each in seen)
    # Neither by fp32 nor by the fused kernel would it be the same.
    assert not torch.equal(by_fp32, plain)
    assert not torch.equal(F.scaled_dot_product_attention(*inputs), plain)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Each takes half of every batch; one of them writes."""
    said = in_two_processes(
        tmp_path,
        "import dataclasses\n"
        "from dynaip.training.loop import train\n"
        f"folder = Path({str(tmp_path / 'two')!r})\n"
        "train(Regression(), dataclasses.replace(CONFIG, compile=True), folder)\n"
        "from accelerate import PartialState\n"
        "print(f'one of {PartialState().num_processes}')\n",
    )
    assert said == ["one of 2"] * 2
    train(Regression(), CONFIG, tmp_path / "one")
    one, two = exported(tmp_path / "one"), exported(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(two[name], one[name])
    rows = (tmp_path / "two" / "log.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == list(range(1, 9))


def test_all_processes_stop_after_the_same_step(tmp_path: Path) -> None:
    """Also where the signal reaches but one of them, and not the one that writes."""
    said = in_two_processes(
        tmp_path,
        "from dynaip.training.loop import train\n"
        "try:\n"
        "    task = Regression(kill=3 if os.environ['RANK'] == '1' else None)\n"
        f"    train(task, CONFIG, Path({str(tmp_path / 'two')!r}))\n"
        "except KeyboardInterrupt as stopped:\n"
        "    print(stopped)\n",
    )
    assert said == ["stopped after step 3; the state is saved"] * 2
    (checkpoint,) = list_checkpoints(tmp_path / "two" / "checkpoints")
    assert checkpoint.name == "step-00000003"


def test_killed_without_warning_equals_uninterrupted(tmp_path: Path) -> None:
    """Kill -9 between two checkpoints: the steps since the last one are done again, alike."""
    config = dataclasses.replace(CONFIG, checkpoint_minutes=0)
    killed = (
        "from regressing import *; from dynaip.training.loop import train;"
        f"train(Regression(kill=6, by=signal.SIGKILL), {config!r}, Path({str(tmp_path)!r}) / 'cut')"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", killed], env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert list_checkpoints(tmp_path / "cut" / "checkpoints")[-1].name == "step-00000005"
    (tmp_path / "cut" / "checkpoints" / ".step-00000006.partial").mkdir()
    train(Regression(), config, tmp_path / "cut")
    train(Regression(), config, tmp_path / "whole")
    whole, cut = exported(tmp_path / "whole"), exported(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_export_is_the_average_and_the_frozen_part_is_untouched(tmp_path: Path) -> None:
    task = Regression()
    frozen = task.frozen.weight.clone()
    train(task, CONFIG, tmp_path / "averaged")
    train(Regression(), dataclasses.replace(CONFIG, ema_decay=0.0), tmp_path / "plain")
    assert torch.equal(task.frozen.weight, frozen)
    averaged, plain = exported(tmp_path / "averaged"), exported(tmp_path / "plain")
    assert not torch.equal(averaged["0.weight"], plain["0.weight"])


def test_a_loss_that_is_not_a_number_keeps_the_last_good_state(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"step 5.*step-00000004.*learning_rate below 0.01\."):
        train(Regression(poison=5), CONFIG, tmp_path)
    weights = load_file(tmp_path / "checkpoints" / "step-00000004" / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())


@pytest.mark.parametrize(
    ("precision", "way"),
    [("no", r"samples\."), ("bf16", r'or begin again with precision = "no"\.')],
)
def test_a_first_loss_that_is_not_a_number_is_no_matter_of_the_rate(
    tmp_path: Path, precision: str, way: str
) -> None:
    """Nothing is saved, so the folder is free for another precision."""
    config = dataclasses.replace(CONFIG, precision=precision)
    message = f"step 1. No state had been saved yet. .* no learning_rate mends it: .*{way}"
    with pytest.raises(TrainingError, match=message):
        train(Regression(poison=1), config, tmp_path)
    assert list_checkpoints(tmp_path / "checkpoints") == []
    train(Regression(), CONFIG, tmp_path)


def test_the_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    train(Regression(), CONFIG, tmp_path)
    other = dataclasses.replace(CONFIG, learning_rate=3e-3)
    with pytest.raises(CheckpointError, match=r"config.learning_rate was 0.01 and is now 0.003"):
        train(Regression(), other, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["config"]["learning_rate"] == 1e-2


def test_a_finished_run_can_be_made_longer(tmp_path: Path) -> None:
    train(Regression(), CONFIG, tmp_path / "two-goes")
    longer = dataclasses.replace(CONFIG, steps=10)
    (tmp_path / "two-goes" / "export" / "weights.safetensors").unlink()
    (tmp_path / "two-goes" / "export").rmdir()
    train(Regression(), longer, tmp_path / "two-goes")
    train(Regression(), longer, tmp_path / "one-go")
    two, one = exported(tmp_path / "two-goes"), exported(tmp_path / "one-go")
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(CheckpointError, match="at step 10 already, past the 8"):
        train(Regression(), CONFIG, tmp_path / "two-goes")
    assert json.loads((tmp_path / "two-goes" / "run.json").read_text())["config"]["steps"] == 10


def test_a_cooldown_falls_to_zero_over_its_share_of_the_steps() -> None:
    config = TrainingConfig(steps=10, batch_size=1, learning_rate=1.0, cooldown=0.4)
    rates = [config.learning_rate_at(step) for step in range(10)]
    assert rates == pytest.approx([1.0] * 7 + [0.75, 0.5, 0.25])
    with pytest.raises(ValueError, match="cooldown must lie"):
        TrainingConfig(steps=10, batch_size=1, cooldown=2.0)
    with pytest.raises(ValueError, match="falls by itself"):
        TrainingConfig(steps=10, batch_size=1, schedule="cosine", cooldown=0.1)


def test_a_run_can_be_made_longer_until_its_rate_falls(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, cooldown=0.5)
    longer = dataclasses.replace(config, steps=16)
    with pytest.raises(KeyboardInterrupt):
        train(Regression(kill=4), config, tmp_path / "early")
    train(Regression(), longer, tmp_path / "early")
    train(Regression(), longer, tmp_path / "whole")
    early, whole = exported(tmp_path / "early"), exported(tmp_path / "whole")
    assert all(torch.equal(early[name], whole[name]) for name in whole)
    with pytest.raises(KeyboardInterrupt):
        train(Regression(kill=5), config, tmp_path / "late")
    with pytest.raises(CheckpointError, match=r"config.steps was 8 and is now 16"):
        train(Regression(), longer, tmp_path / "late")


def test_a_run_from_before_a_setting_existed_goes_on(tmp_path: Path) -> None:
    train(Regression(), CONFIG, tmp_path)
    path = tmp_path / "run.json"
    known = json.loads(path.read_text())
    del known["config"]["cooldown"]
    path.write_text(json.dumps(known))
    with pytest.raises(CheckpointError, match=r"another run: config.seed was 0 and is now 1\."):
        train(Regression(), dataclasses.replace(CONFIG, seed=1), tmp_path)


def test_a_run_keeps_the_precision_that_its_machine_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `auto` came to is recorded, and another machine goes on in it, if it must slowly."""
    config = dataclasses.replace(CONFIG, precision="auto")
    train(Regression(), dataclasses.replace(config, precision="no"), tmp_path / "plain")
    for quick, chosen in ((False, "no"), (True, "bf16")):
        monkeypatch.setattr("dynaip.training.loop.quick_in_bf16", lambda device, q=quick: q)
        train(Regression(), config, tmp_path / chosen)
        run = json.loads((tmp_path / chosen / "run.json").read_text())
        assert run["config"]["precision"] == chosen
    plain, slow, quick = (exported(tmp_path / name)["0.weight"] for name in ("plain", "no", "bf16"))
    assert torch.equal(slow, plain)
    assert not torch.equal(quick, plain)
    with pytest.raises(CheckpointError, match=r"config.precision was 'no' and is now 'bf16'"):
        train(Regression(), dataclasses.replace(config, precision="bf16"), tmp_path / "no")
    longer = dataclasses.replace(config, steps=9)
    train(Regression(), longer, tmp_path / "no")
    monkeypatch.setattr("dynaip.training.loop.quick_in_bf16", lambda device: False)
    with pytest.warns(UserWarning, match="begun in bf16, which this machine is slow in"):
        train(Regression(), longer, tmp_path / "bf16")
    for name in ("no", "bf16"):
        run = json.loads((tmp_path / name / "run.json").read_text())
        assert (run["config"]["precision"], run["config"]["steps"]) == (name, 9)


def test_a_truncated_checkpoint_is_named(tmp_path: Path) -> None:
    train(Regression(), CONFIG, tmp_path)
    file = tmp_path / "checkpoints" / "step-00000008" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match=r"step-00000008 cannot be read"):
        train(Regression(), dataclasses.replace(CONFIG, steps=9), tmp_path)


def test_a_flipped_bit_in_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    train(Regression(), CONFIG, tmp_path)
    folder = tmp_path / "checkpoints" / "step-00000008"
    file, state = folder / "ema.safetensors", folder / "state.json"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    longer = dataclasses.replace(CONFIG, steps=9)
    with pytest.raises(CheckpointError, match=r"step-00000008 is not what was written"):
        train(Regression(), longer, tmp_path)
    # One that was written before there were digests is still read.
    state.write_text(json.dumps({"format": 1, "step": 8}))
    assert load_checkpoint(folder)[1]["step"] == 8


def test_a_checkpoint_without_one_of_its_parts_is_named(tmp_path: Path) -> None:
    train(Regression(), CONFIG, tmp_path)
    folder = tmp_path / "checkpoints" / "step-00000008"
    (folder / "optimizer-0.safetensors").unlink()
    longer = dataclasses.replace(CONFIG, steps=9)
    with pytest.raises(CheckpointError, match=r"step-00000008 is not what was written"):
        train(Regression(), longer, tmp_path)
    # Older checkpoints have no digests.
    (folder / "state.json").write_text(json.dumps({"format": 1, "step": 8}))
    with pytest.raises(CheckpointError, match=r"step-00000008 lacks optimizer-0"):
        train(Regression(), longer, tmp_path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, 1, {"model": {"w": torch.zeros(3)}}, {})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path, 2, {"model": {"w": torch.ones(3)}}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_samples_are_drawn_with_the_average_and_put_back(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, sample_every=4)
    train(Regression(), config, tmp_path / "sampled")
    train(Regression(), CONFIG, tmp_path / "plain")
    first, last = sorted((tmp_path / "sampled" / "samples").iterdir())
    assert [file.stem for file in (first, last)] == ["step-00000004", "step-00000008"]
    sampled, plain = exported(tmp_path / "sampled"), exported(tmp_path / "plain")
    assert torch.equal(sampled["0.weight"], plain["0.weight"])
    # What is exported is the average, too.
    assert torch.equal(load_file(last)["0.weight"], sampled["0.weight"])


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="learningrate"):
        TrainingConfig.from_dict({"steps": 1, "batch_size": 1, "learningrate": 1.0})
    with pytest.raises(ValueError, match="batch_size"):
        TrainingConfig.from_dict({"steps": 1})
    with pytest.raises(ValueError, match="schedule"):
        TrainingConfig(steps=1, batch_size=1, schedule="linear")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": "100"}, "steps in the training settings is a whole number; got '100'"),
        ({"steps": 1.5}, "steps in the training settings is a whole number"),
        ({"learning_rate": "1e-3"}, "learning_rate in the training settings is a number"),
        ({"learning_rate": float("nan")}, "learning_rate must be at least 0"),
        ({"compile": 1}, "true or false"),
        ({"warmup_steps": -1}, "warmup_steps must be at least 0"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig.from_dict({"steps": 1, "batch_size": 1} | change)


def test_what_is_compiled_is_the_tasks_own_choice(tmp_path: Path) -> None:
    task, asked = Regression(), []
    task.compile = lambda **settings: asked.append(settings)
    train(task, dataclasses.replace(CONFIG, compile=True), tmp_path)
    assert asked == [{"dynamic": False}]


def test_a_run_is_diagnosed_at_its_intervals_and_at_its_end(tmp_path: Path) -> None:
    """Whatever the log's own interval is."""
    task = Regression()
    task.diagnose = lambda batch: {"dear": float(len(batch["x"]))}
    train(task, dataclasses.replace(CONFIG, log_every=5, diagnose_every=3), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 5, 6, 8]
    assert [row["step"] for row in rows if "dear" in row] == [3, 6, 8]


def test_no_largest_norm_clips_nothing(tmp_path: Path) -> None:
    for name, largest in (("none", 0.0), ("wide", 1e9), ("narrow", 1e-9)):
        train(Regression(), dataclasses.replace(CONFIG, max_grad_norm=largest), tmp_path / name)
    none, wide, narrow = (
        exported(tmp_path / name)["0.weight"] for name in ("none", "wide", "narrow")
    )
    assert torch.equal(none, wide)
    assert not torch.equal(none, narrow)


def test_a_log_that_cannot_be_written_anew_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(Regression(), CONFIG, tmp_path)
    log, put = tmp_path / "log.jsonl", os.replace

    def full(source: Path, target: Path) -> None:
        if target == log:
            raise OSError(28, "No space left on device")
        put(source, target)

    before = log.read_text()
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        train(Regression(), dataclasses.replace(CONFIG, steps=9), tmp_path)
    assert log.read_text() == before != ""
