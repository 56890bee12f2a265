"""`dynaip convert`: a pickle of published weights, as safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynaip.apps.cli.checkpoints import PICKLES


def convert(
    source: Annotated[Path, typer.Argument(help="Published weights, such as ip-adapter.bin.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file; by default beside the source.")
    ] = None,
) -> None:
    """Write a pickle's tensors as safetensors, which can be opened without trusting them."""
    from dynaip.adapter import foreign

    if source.suffix not in PICKLES:
        raise ValueError(f"{source} is no pickle of weights; these end in {', '.join(PICKLES)}.")
    target = out or source.with_suffix(".safetensors")
    if target.suffix != ".safetensors":
        raise ValueError(f"{target} does not end in .safetensors; name the file so.")
    if target.exists():
        raise ValueError(f"{target} is there already; give another name as --out.")
    foreign.convert(source, target)
    typer.echo(str(target))
