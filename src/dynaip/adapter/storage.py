"""An adapter's two files, written atomically and checked when read."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dynaip.adapter.config import DynaIPConfig

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
DIGEST = "sha256"


def save(folder: Path, config: DynaIPConfig, state: Mapping[str, Tensor]) -> None:
    """Writes both files; each appears whole or not at all.

    Raises:
        ValueError: A weight is not a finite number.
        OSError: Nothing is replaced that could not be written in full.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    _check_finite(tensors, f"saving to {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt", DIGEST: digest(tensors)}
    replace(folder / WEIGHTS, lambda path: save_file(tensors, path, metadata=metadata))
    replace(folder / CONFIG, lambda path: path.write_text(config.to_json()))


def locate(folder: str | Path) -> Path:
    """The folder itself, or a snapshot of the hub repository that it names.

    Raises:
        ValueError: There is neither.
    """
    path = Path(folder)
    if path.is_dir():
        return path
    if path.exists():
        raise ValueError(
            f"{path} is a file; give the adapter's folder, with its {CONFIG}. Weights of InstantX "
            "and XLabs are files, which `ForeignAdapter.from_file` reads: docs/flux.md."
        )
    if not _is_hub_id(str(folder)):
        raise ValueError(f"There is no adapter folder {folder}; check the path.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(folder), allow_patterns=[CONFIG, WEIGHTS]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise ValueError(
            f"{folder} is neither a folder here nor a repository that the hub would give "
            f"({type(error).__name__}); check the name and the connection."
        ) from error


def load_config(folder: Path) -> DynaIPConfig:
    """Reads `config.json`.

    Raises:
        ValueError: It is missing or not of this format.
    """
    path = folder / CONFIG
    try:
        text = path.read_text()
    except FileNotFoundError as error:
        raise ValueError(f"{folder} holds no adapter: {CONFIG} is missing.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text; copy the adapter again.") from error
    try:
        return DynaIPConfig.from_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_weights(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Reads `model.safetensors` and proves that it is what was written.

    Args:
        folder: The adapter's folder.
        shapes: The names and shapes that the config asks for.

    Raises:
        ValueError: The file is missing, truncated, changed, does not fit, or is not finite.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise ValueError(f"{folder} holds no adapter: {WEIGHTS} is missing.")
    tensors, metadata = read(path)
    _check_shapes(path, {name: tuple(t.shape) for name, t in tensors.items()}, shapes)
    if metadata.get(DIGEST) != digest(tensors):
        raise ValueError(
            f"{path} is not as it was written: its checksum does not match; copy it again."
        )
    _check_finite(tensors, str(path))
    return tensors


def read(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor of a safetensors file, and its metadata.

    Args:
        path: The file.
        device: Where to put the tensors; `"meta"` reads names and shapes alone.

    Raises:
        ValueError: It is truncated, or no such file.
    """
    try:
        with safe_open(path, framework="pt", device=device) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is truncated or no safetensors file ({error}); copy it again."
        ) from error


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _check_shapes(
    path: Path, found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    if missing := sorted(wanted.keys() - found.keys()):
        raise ValueError(f"{path} lacks {_some(missing)}, which {CONFIG} asks for.")
    if unknown := sorted(found.keys() - wanted.keys()):
        raise ValueError(f"{path} holds {_some(unknown)}, which {CONFIG} does not know.")
    for name, shape in wanted.items():
        if found[name] != shape:
            raise ValueError(
                f"{path}: {name} has shape {found[name]}, and {CONFIG} asks for {shape}; the two "
                "files are not of one adapter."
            )


def _check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(
                f"{where}: the weight {name} holds values that are not finite numbers; go back to "
                "an earlier checkpoint."
            )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and "\\" not in name


def replace(path: Path, write: Callable[[Path], object], mode: int = 0o666) -> None:
    """Writes beside the target, flushes, then renames over it.

    Args:
        path: The target.
        write: Writes the file that it is given.
        mode: Who may read and write it, less the umask; nobody else can meanwhile.

    Raises:
        OSError: It cannot be written; what was there before still is.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    granted = stat.S_IMODE(os.fstat(descriptor).st_mode)
    os.close(descriptor)
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.chmod(granted)  # safetensors writes a file of its own, and renames it
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
