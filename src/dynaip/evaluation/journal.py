"""Lines that are only ever added to a file, and are on the disk before anybody counts on them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Appends lines and waits until they are on the disk; a torn last line is cut off first.

    A line is torn when the program that wrote it was killed, or the disk was full; whoever asked
    for it was not told that it was kept.

    Args:
        path: The file; it and its folder are made if they are not there.
        lines: Without their newlines.

    Raises:
        OSError: The file cannot be written.
    """
    text = "".join(f"{line}\n" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        _mend(file)
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _mend(file: BinaryIO) -> None:
    """Cuts off a last line that a killed run left unfinished."""
    if not file.seek(0, os.SEEK_END):
        return
    file.seek(-1, os.SEEK_END)
    if file.read() != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
