"""Where the miniature that comes with the package is."""

from __future__ import annotations

from pathlib import Path

NAME = "miniature"


def miniature_folder() -> Path:
    """The bundle below the working folder, or else in the checkout that this package is part of."""
    here = Path("models") / NAME
    return here if here.is_dir() else Path(__file__).parents[3] / here


def shipped_adapters(bundle: Path) -> dict[str, Path]:
    """The adapters that lie in a bundle by name: the method's own, `full`, then the ablation's."""
    own = bundle / "adapter"
    others = sorted(path for path in (bundle / "variants").glob("*") if path.is_dir())
    named = {"full": own} if own.is_dir() else {}
    return named | {path.name: path for path in others}
