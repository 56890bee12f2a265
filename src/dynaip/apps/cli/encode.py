"""`dynaip encode`: a reference picture to a subject card, which needs no image encoder again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dynaip.adapter.choices import LEVELS
from dynaip.apps.cli.loading import Adapter, Model, adapter_location, load_adapter, load_model
from dynaip.apps.cli.subjects import parse_granularity


def encode(
    picture: Annotated[list[Path], typer.Argument(help="A picture of the subject, or more views.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The card, a .safetensors file.")],
    fused: Annotated[
        bool, typer.Option("--fused", help="A third of the size; its granularity is then fixed.")
    ] = False,
    granularity: Annotated[
        str | None, typer.Option(help="With --fused: weights low,mid,high that sum to 1.")
    ] = None,
    model: Model = None,
    adapter: Adapter = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make a card of a subject: give it where a reference goes, in place of the picture."""
    if out.suffix != ".safetensors":
        raise ValueError(f"A card is a .safetensors file; got {out}.")
    weights = parse_granularity(granularity)
    if weights is not None and not fused:
        raise ValueError(
            "--granularity is for --fused: other cards leave it open, so give it to `dynaip "
            "generate`, or make a fused one."
        )
    _check_replaceable(out)
    from dynaip.pictures import open_picture
    from dynaip.pipeline.subject import Subject

    subject = Subject([open_picture(path) for path in picture], granularity=weights)
    out.parent.mkdir(parents=True, exist_ok=True)
    pipe = load_model(model)
    loaded = load_adapter(adapter_location(adapter, model))
    with loaded.to(pipe.device, pipe.dtype).attach(pipe) as personal:
        card = personal.encode_card(subject, fused=fused)
    card.save(out)
    coefficients = [round(value, 4) for value in card.coefficients.mean(0).tolist()]
    if as_json:
        result = {"path": str(out), "bytes": out.stat().st_size, "fused": card.fused}
        typer.echo(json.dumps({**result, "coefficients": coefficients}, indent=2))
        return
    told = f"{out}  {out.stat().st_size / 1e6:.1f} MB"
    if len(coefficients) == len(LEVELS):
        told += f"  {', '.join(LEVELS)}: {', '.join(f'{value:.2f}' for value in coefficients)}"
    typer.echo(told)


def _check_replaceable(out: Path) -> None:
    """Raises where the card would be written over something that is no card."""
    from dynaip.adapter.card import SubjectCard

    if not out.exists():
        return
    try:
        SubjectCard.load(out)
    except ValueError as error:
        raise ValueError(
            f"{out} is there already, and is no card; give another name as --out."
        ) from error
