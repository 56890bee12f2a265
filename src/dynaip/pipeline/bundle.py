"""Where the miniature that comes with the package is, and the classes that it is made of."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

NAME = "miniature"


def miniature_folder() -> Path:
    """The bundle below the working folder, or else in the checkout that this package is part of."""
    here = Path("models") / NAME
    return here if here.is_dir() else Path(__file__).parents[3] / here


def shipped_adapters(bundle: Path) -> dict[str, Path]:
    """The method's own adapter in a bundle, by the name of `full`; nothing where there is none."""
    own = bundle / "adapter"
    return {"full": own} if own.is_dir() else {}


def shipped_intra(bundle: Path) -> Path | None:
    """What the method's own adapter was after stage 1, on intra-pairs alone; not all have it."""
    intra = bundle / "intra"
    return intra if intra.is_dir() else None


def shipped_variants(bundle: Path) -> dict[str, Path]:
    """The ablation's adapters in a bundle by name, all trained alike; the method's, `full`, first.

    Raises:
        ValueError: There are some, and no `full`.
    """
    found = {path.name: path for path in (bundle / "variants").glob("*") if path.is_dir()}
    if found and "full" not in found:
        raise ValueError(
            f"{bundle / 'variants'} has no adapter `full` that the others could be compared with."
        )
    return {name: found[name] for name in sorted(found, key=lambda name: (name != "full", name))}


def import_own_parts(index: Path) -> None:
    """Imports the classes of ours that a bundle names; diffusers itself imports no stranger's."""
    if index.is_file():
        for part in json.loads(index.read_text()).values():
            if isinstance(part, list) and str(part[0]).startswith("dynaip."):
                importlib.import_module(part[0])
