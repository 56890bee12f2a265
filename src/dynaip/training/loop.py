"""The one training loop: every stage of the miniature and of the adapter goes through it.

A run is a folder: `run.json` (what it is), `log.jsonl` (a row every `log_every` steps),
`checkpoints/`, `samples/`, and at the end `export/`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from dynaip.adapter import storage
from dynaip.numerics import process_state, quick_in_bf16
from dynaip.training import checkpoint as ckpt
from dynaip.training.batches import batches
from dynaip.training.config import FREE_ON_RESUME, TrainingConfig
from dynaip.training.optimization import (
    Average,
    build_optimizers,
    set_learning_rate,
    trainable_parameters,
)
from dynaip.training.processes import on_any
from dynaip.training.task import Task


class TrainingError(ValueError):
    """Training cannot go on; the last good state is on disk."""


def train(  # noqa: PLR0915 (a story, told in one piece)
    task: Task,
    config: TrainingConfig,
    folder: Path,
    *,
    identity: dict[str, Any] | None = None,
    on_log: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Trains `task` to `config.steps`, resuming from the newest checkpoint in `folder`.

    Resuming is exact: parameters, optimiser, average and step come from the checkpoint, and every
    sample is a function of `(config.seed, index)`, so a run that was killed continues bit for bit
    as if it had not been (on the same machine and number of processes).

    Args:
        task: The module to train; see `Task`.
        config: Settings of the stage.
        folder: The run's folder, made when absent.
        identity: JSON values that say what is trained (stage, architecture, data). A folder that
            holds another identity is refused.
        on_log: Called with each row of the log.

    Returns:
        The folder with the exported weights (the average where there is one).

    Raises:
        TrainingError: The loss or a gradient is not finite, or a step's samples cannot be made.
        CheckpointError: The folder belongs to another run, or its checkpoint cannot be read.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after a checkpoint has been written.
    """
    process_state()
    # accelerate knows one precision a process, and stages that follow one another differ in it.
    accelerator = Accelerator(mixed_precision="no")
    config = with_precision(config, folder, accelerator.device)
    if config.batch_size % accelerator.num_processes:
        raise ValueError(
            f"batch_size {config.batch_size} cannot be split over {accelerator.num_processes} "
            "processes; choose a multiple."
        )
    module = cast(nn.Module, task)
    parameters = trainable_parameters(module)
    optimizers = build_optimizers(parameters, config)
    average = Average(parameters, config.ema_decay) if config.ema_decay else None

    folder.mkdir(parents=True, exist_ok=True)
    checkpoints = folder / "checkpoints"
    claim = _checked_claim(folder, config, identity or {})
    if accelerator.is_main_process:
        storage.replace(folder / "run.json", lambda partial: partial.write_text(claim))
    accelerator.wait_for_everyone()
    start = _restore(checkpoints, parameters, optimizers, average)
    if average:
        average.shadow = {k: v.to(accelerator.device) for k, v in average.shadow.items()}

    prepared = accelerator.prepare(module, *optimizers)
    model, optimizers = prepared[0], list(prepared[1:])
    if config.compile:
        # A graph for each length of text, with gradients and without.
        torch._dynamo.config.recompile_limit = 32
        # The task's own way, which a wrapper for several processes does not know.
        module.compile(dynamic=False)
    log = _Log(folder / "log.jsonl", start, on_log) if accelerator.is_main_process else None

    def save(step: int) -> None:
        if accelerator.is_main_process:
            groups: dict[str, Mapping[str, Tensor]] = {"model": parameters}
            for index, optimizer in enumerate(optimizers):
                groups[f"optimizer-{index}"] = ckpt.flatten_optimizer(optimizer)
            if average:
                groups["ema"] = average.shadow
            ckpt.save_checkpoint(checkpoints, step, groups, {})
            ckpt.prune_checkpoints(checkpoints, config.checkpoints_kept)

    step, saved_at, saved_step = start, time.monotonic(), start
    bar = tqdm(total=config.steps, initial=start, disable=None, unit="step", dynamic_ncols=True)
    with _StopSignal() as stop, bar, _attention(accelerator.device):
        for batch in batches(task, config, start, accelerator):
            if not isinstance(batch, dict):
                if step != saved_step:
                    save(step)
                accelerator.wait_for_everyone()
                raise TrainingError(
                    f"The samples of step {step + 1} cannot be made. {_last_good(checkpoints)} "
                    f"The reason: {batch}"
                ) from batch
            set_learning_rate(optimizers, config.learning_rate_at(step))
            with _autocast(accelerator.device, config):
                output = model(batch)
            accelerator.backward(output["loss"])
            largest = config.max_grad_norm or math.inf
            norm = accelerator.clip_grad_norm_(list(parameters.values()), largest)
            finite = bool(torch.isfinite(output["loss"].detach() + norm))
            if on_any(accelerator, not finite):
                whole = all(bool(torch.isfinite(p).all()) for p in parameters.values())
                if step != saved_step and whole:
                    save(step)
                accelerator.wait_for_everyone()
                raise TrainingError(
                    f"The loss or its gradient is not a finite number at step {step + 1}. "
                    f"{_last_good(checkpoints)} {_way_out(config, step)}"
                )
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            step += 1
            if average:
                average.update(parameters, step)
            bar.update()

            last = step == config.steps
            due = bool(config.diagnose_every) and (step % config.diagnose_every == 0 or last)
            if log and (step % config.log_every == 0 or due or last):
                row = {name: value.detach() for name, value in output.items()}
                if due:
                    with _autocast(accelerator.device, config):
                        row |= task.diagnose(batch)
                log.write(step, {**row, "gradient_norm": norm}, config)
                bar.set_postfix(loss=f"{float(row['loss']):.4f}")
            if config.sample_every and step % config.sample_every == 0:
                _sample(task, average, parameters, folder, step, accelerator)
            stopping = on_any(accelerator, stop.requested)
            if time.monotonic() - saved_at > 60 * config.checkpoint_minutes or stopping:
                save(step)
                saved_at, saved_step = time.monotonic(), step
            if stopping:
                accelerator.wait_for_everyone()
                raise KeyboardInterrupt(f"stopped after step {step}; the state is saved")

    if saved_step != step or not ckpt.list_checkpoints(checkpoints):
        save(step)
    if average:
        average.swap(parameters)
    if accelerator.is_main_process:
        task.export(folder / "export")
    accelerator.wait_for_everyone()
    return folder / "export"


def with_precision(config: TrainingConfig, folder: Path, device: torch.device) -> TrainingConfig:
    """The config with what `auto` comes to: a run goes on as it began, whatever the machine."""
    if config.precision != "auto":
        return config
    begun = folder / "run.json"
    if begun.is_file() and ckpt.list_checkpoints(folder / "checkpoints"):
        precision = json.loads(begun.read_text())["config"]["precision"]
    else:
        precision = "bf16" if quick_in_bf16(device) else "no"
    if precision == "bf16" and not quick_in_bf16(device):
        warnings.warn(
            f"{folder} was begun in bf16, which this machine is slow in; start another run to "
            "train in fp32.",
            stacklevel=3,
        )
    return dataclasses.replace(config, precision=precision)


def _checked_claim(folder: Path, config: TrainingConfig, identity: dict[str, Any]) -> str:
    """What the run is, as JSON; the folder holds nothing, or the same run and no more of it."""
    path = folder / "run.json"
    asked = json.loads(json.dumps({"config": dataclasses.asdict(config), **identity}))
    found = ckpt.list_checkpoints(folder / "checkpoints")
    if path.is_file() and found:
        known = json.loads(path.read_text())
        # A setting that is younger than the run had its default.
        former = TrainingConfig.from_dict(known["config"])
        known["config"] = dataclasses.asdict(former)
        free = set(FREE_ON_RESUME)
        step = _step_of(found[-1])
        if step > min(former.decay_begins, config.decay_begins):
            free -= {"steps", "cooldown"}
        if differing := _differences(known, asked, free):
            raise ckpt.CheckpointError(
                f"{folder} holds another run: {'; '.join(differing)}. Choose another folder, or "
                "delete this one to start over."
            )
        if step > config.steps:
            raise ckpt.CheckpointError(
                f"{folder} is at step {step} already, past the {config.steps} that "
                "are asked for; ask for as many, or choose another folder."
            )
    return json.dumps(asked, indent=2)


def _differences(
    known: dict[str, Any], asked: dict[str, Any], free: set[str], prefix: str = ""
) -> list[str]:
    found: list[str] = []
    for key in sorted(known.keys() | asked.keys()):
        old, new = known.get(key), asked.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, free, f"{prefix}{key}.")
        elif old != new and not (prefix == "config." and key in free):
            found.append(f"{prefix}{key} was {old!r} and is now {new!r}")
    return found


def _step_of(checkpoint: Path) -> int:
    return int(json.loads((checkpoint / "state.json").read_text())["step"])


def _restore(
    checkpoints: Path,
    parameters: dict[str, nn.Parameter],
    optimizers: list[torch.optim.Optimizer],
    average: Average | None,
) -> int:
    """Loads the newest checkpoint in place; returns its step, 0 when there is none."""
    found = ckpt.list_checkpoints(checkpoints)
    if not found:
        return 0
    groups, state = ckpt.load_checkpoint(found[-1])
    wanted = {"model", *(f"optimizer-{index}" for index in range(len(optimizers)))}
    if missing := sorted((wanted | ({"ema"} if average else set())) - groups.keys()):
        raise ckpt.CheckpointError(
            f"The checkpoint {found[-1]} lacks {', '.join(missing)}; delete that folder to resume "
            "from the one before it."
        )
    expected = {name: tuple(p.shape) for name, p in parameters.items()}
    stored = {name: tuple(t.shape) for name, t in groups["model"].items()}
    if expected != stored:
        raise ckpt.CheckpointError(
            f"The checkpoint {found[-1]} holds other parameters than this run trains; it belongs "
            "to another architecture."
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(groups["model"][name])
    for index, optimizer in enumerate(optimizers):
        ckpt.restore_optimizer(optimizer, groups[f"optimizer-{index}"])
    if average:
        average.shadow = groups["ema"]
    return int(state["step"])


def _last_good(checkpoints: Path) -> str:
    found = ckpt.list_checkpoints(checkpoints)
    return f"The last good state is {found[-1]}." if found else "No state had been saved yet."


def _way_out(config: TrainingConfig, step: int) -> str:
    """What to do about a loss that is not finite after so many steps."""
    plain = config.precision == "no"
    if step == 0:
        again = "" if plain else ', or begin again with precision = "no"'
        return (
            "Nothing had been learnt yet, so no learning_rate mends it: check the weights that it "
            f"starts from and its samples{again}."
        )
    plainer = "" if plain else ', or with precision = "no"'
    return (
        "A run keeps its settings: begin another one, in another folder, with a learning_rate "
        f"below {config.learning_rate:g}{plainer}."
    )


@torch.no_grad()
def _sample(
    task: Task,
    average: Average | None,
    parameters: dict[str, nn.Parameter],
    folder: Path,
    step: int,
    accelerator: Accelerator,
) -> None:
    """Draws sample pictures with the averaged weights."""
    if not accelerator.is_main_process:
        return
    (folder / "samples").mkdir(exist_ok=True)
    if average:
        average.swap(parameters)
    try:
        task.sample(folder / "samples" / f"step-{step:08d}.png")
    finally:
        if average:
            average.swap(parameters)


class _Log:
    """Rows of JSON; a resumed run drops the rows after its checkpoint."""

    def __init__(
        self, path: Path, start: int, on_log: Callable[[dict[str, Any]], None] | None
    ) -> None:
        self.path, self.on_log = path, on_log
        rows = path.read_text().splitlines() if path.is_file() else []
        kept = [row for row in rows if row.endswith("}") and json.loads(row)["step"] <= start]
        text = "".join(f"{row}\n" for row in kept)
        storage.replace(path, lambda partial: partial.write_text(text))
        self._step, self._time = start, time.monotonic()

    def write(self, step: int, values: dict[str, Any], config: TrainingConfig) -> None:
        now = time.monotonic()
        rate = (step - self._step) * config.batch_size / max(now - self._time, 1e-9)
        self._step, self._time = step, now
        row: dict[str, Any] = {
            "step": step,
            "samples": step * config.batch_size,
            "learning_rate": config.learning_rate_at(step - 1),
            "samples_per_second": round(rate, 2),
            **{name: float(value) for name, value in values.items()},
        }
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if self.on_log:
            self.on_log(row)


def _autocast(device: torch.device, config: TrainingConfig) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")


@contextlib.contextmanager
def _attention(device: torch.device) -> Iterator[None]:
    """On a CPU, attention by the plain formula, in the precision of its inputs.

    The fused kernel's backward pass takes five times as long there on short sequences: a step of
    the miniature's base, compiled, ran 1.28 times as fast without it. torch's plain formula takes
    bf16 through fp32 unless it is told not to; told so, a step ran 1.24 times as fast on another
    machine. Graphs that Inductor compiled and kept before may go on by fp32 (docs/log.md).
    """
    if device.type != "cpu":
        yield
        return
    backend = torch.backends.cuda  # where torch keeps it, of CPUs too
    before = backend.fp16_bf16_reduction_math_sdp_allowed()
    backend.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        backend.allow_fp16_bf16_reduction_math_sdp(before)


class _StopSignal:
    """Turns Ctrl-C and SIGTERM into a request, so that a step is finished and saved first."""

    requested = False

    def __enter__(self) -> _StopSignal:
        self._previous = {
            number: signal.signal(number, self._request)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def _request(self, number: int, frame: object) -> None:
        self.requested = True

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
