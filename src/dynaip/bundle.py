"""Where the miniature that comes with the package is, and what a bundle like it is made of."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

NAME = "miniature"
# Folders of adapters in a bundle: the method's own, the same after stage 1, the ablation's.
ADAPTER, INTRA, VARIANTS = "adapter", "intra", "variants"
ADAPTERS = (ADAPTER, INTRA, VARIANTS)


def miniature_folder() -> Path:
    """The bundle below the working folder, or else in the checkout that this package is part of."""
    here = Path("models") / NAME
    return here if here.is_dir() else Path(__file__).parents[2] / here


def shipped_adapters(bundle: Path) -> dict[str, Path]:
    """The method's own adapter in a bundle, by the name of `full`; nothing where there is none."""
    own = bundle / ADAPTER
    return {"full": own} if own.is_dir() else {}


def shipped_intra(bundle: Path) -> Path | None:
    """The method's own adapter as it was after stage 1; `None` where a bundle has none."""
    intra = bundle / INTRA
    return intra if intra.is_dir() else None


def shipped_variants(bundle: Path) -> dict[str, Path]:
    """The ablation's adapters in a bundle by name, all trained alike; the method's, `full`, first.

    Raises:
        ValueError: There are some, and no `full`.
    """
    found = {path.name: path for path in (bundle / VARIANTS).glob("*") if path.is_dir()}
    if found and "full" not in found:
        raise ValueError(
            f"{bundle / VARIANTS} has no adapter `full` that the others could be compared with."
        )
    return {name: found[name] for name in sorted(found, key=lambda name: (name != "full", name))}


def import_own_parts(index: Path) -> None:
    """Imports the classes of ours that a bundle names; diffusers itself imports no stranger's."""
    if index.is_file():
        for part in json.loads(index.read_text()).values():
            if isinstance(part, list) and str(part[0]).startswith("dynaip."):
                importlib.import_module(part[0])
