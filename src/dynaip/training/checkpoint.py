"""Checkpoints: a folder per checkpoint, complete or absent, safetensors and JSON only."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dynaip.pipeline.provenance import file_sha256

FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or belongs to another run."""


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> Path:
    """Writes `folder/step-XXXXXXXX` so that it exists whole or not at all.

    Args:
        folder: The run's checkpoint folder.
        step: Steps done.
        tensors: One safetensors file per entry, e.g. `{"model": {...}, "ema": {...}}`.
        state: JSON values kept beside them.

    Raises:
        OSError, SafetensorError: Nothing was written (a full disk, say); earlier checkpoints are
            untouched.
    """
    target = folder / _name(step)
    partial = folder / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for name, group in tensors.items():
            save_file(
                {key: tensor.detach().cpu().contiguous() for key, tensor in group.items()},
                partial / f"{name}.safetensors",
            )
        about = {"format": FORMAT, "step": step, "sha256": _digests(partial), **state}
        (partial / "state.json").write_text(json.dumps(about))
        for file in partial.iterdir():
            _flush(file)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
        _flush(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target


def _flush(path: Path) -> None:
    """Waits until the disk has the file: a rename must not overtake the data it names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prune_checkpoints(folder: Path, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints."""
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())


def load_checkpoint(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Reads what `save_checkpoint` wrote.

    Raises:
        CheckpointError: A file is missing, truncated, changed, or of an unknown format.
    """
    try:
        state = json.loads((path / "state.json").read_text())
        tensors = {file.stem: load_file(file) for file in sorted(path.glob("*.safetensors"))}
        found = _digests(path)
    except (OSError, json.JSONDecodeError, SafetensorError) as error:
        raise CheckpointError(
            f"The checkpoint {path} cannot be read ({error}); delete that folder to resume from "
            "the one before it."
        ) from error
    if state.get("format") != FORMAT:
        raise CheckpointError(
            f"The checkpoint {path} has format {state.get('format')}, this version reads {FORMAT}."
        )
    # Checkpoints that are older than the digests have none.
    if state.get("sha256", found) != found or path.name != _name(state.get("step")):
        raise CheckpointError(
            f"The checkpoint {path} is not what was written: a file is gone or was changed, or the "
            "disk made a mistake; delete that folder to resume from the one before it."
        )
    return tensors, state


def _name(step: Any) -> str:
    return f"step-{step:08d}" if isinstance(step, int) else ""


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of tensors."""
    return {file.stem: file_sha256(file) for file in sorted(folder.glob("*.safetensors"))}


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as flat tensors, `"<parameter index>.<name>"`."""
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, flat: Mapping[str, Tensor]) -> None:
    """Inverse of `flatten_optimizer`, into an optimiser over the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
