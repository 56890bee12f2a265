"""Where pictures go, and what is never written over."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path


def prepare_target(out: Path, number: int = 1, inputs: Iterable[Path] = ()) -> None:
    """Refuses a bad target and makes the folder, before any time is spent on the pictures.

    A named file may be written over where dynaip made it, for a second try at a picture. Nothing
    else is: neither what the picture is made from, nor somebody's file of that name.

    Args:
        out: A folder or a PNG file.
        number: Pictures to come.
        inputs: Files that they are made from.

    Raises:
        ValueError: `out` is a file of another kind, one file is meant for several pictures, or
            what would be written over is not ours.
        OSError: The folder cannot be made.
    """
    if not _is_file_name(out):
        _check_folder(out)
        out.mkdir(parents=True, exist_ok=True)
        return
    if number > 1:
        raise ValueError("One file cannot hold several pictures; give a folder as --out.")
    for path in (out, out.with_suffix(".json")):
        if path.exists():
            _check_ours(path, inputs)
    out.parent.mkdir(parents=True, exist_ok=True)


def target(out: Path, prompt: str, seed: int) -> Path:
    """Where a picture goes: the named PNG file, or a new file in the folder."""
    if _is_file_name(out):
        return out
    words = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:48].strip("-") or "picture"
    stem, count = f"{words}-{seed}", 1
    path = out / f"{stem}.png"
    while path.exists() or path.with_suffix(".json").exists():
        count += 1
        path = out / f"{stem}-{count}.png"
    return path


def _is_file_name(out: Path) -> bool:
    return out.suffix.lower() == ".png"


def _check_folder(out: Path) -> None:
    from dynaip.pictures import ENDINGS

    if out.is_dir():
        return
    if out.exists():
        raise ValueError(f"--out {out} is neither a folder nor a PNG file; give one of them.")
    if out.suffix.lower() in ENDINGS:
        raise ValueError(
            f"Pictures are written as PNG, so --out {out} would be a folder; end its name in .png."
        )


def _check_ours(path: Path, inputs: Iterable[Path]) -> None:
    from dynaip.pipeline.provenance import read_settings

    if any(each.exists() and each.samefile(path) for each in inputs):
        raise ValueError(f"{path} is what the picture is made from; give another name as --out.")
    try:
        read_settings(path)
    except ValueError as error:
        raise ValueError(
            f"{path} is there already, and dynaip did not make it; give another name as --out."
        ) from error
