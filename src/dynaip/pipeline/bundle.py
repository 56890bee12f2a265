"""Where the miniature that comes with the package is."""

from __future__ import annotations

from pathlib import Path

NAME = "miniature"


def miniature_folder() -> Path:
    """The bundle below the working folder, or else in the checkout that this package is part of."""
    here = Path("models") / NAME
    return here if here.is_dir() else Path(__file__).parents[3] / here
