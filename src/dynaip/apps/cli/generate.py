"""`dynaip generate`: reference pictures and a prompt in, new pictures out."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dynaip.adapter.choices import LEVELS, OVERLAPS
from dynaip.adapter.config import BRANCHES
from dynaip.apps.cli.loading import (
    Adapter,
    Guidance,
    ImageGuidance,
    Model,
    Offload,
    adapter_location,
    one_of,
)
from dynaip.apps.cli.subjects import read_subjects, split_subjects
from dynaip.apps.cli.targets import prepare_target, target

if TYPE_CHECKING:
    from dynaip.pipeline.provenance import Settings

LARGEST_SEED = 2**32 - 1


def generate(
    prompt: Annotated[str, typer.Option(help="What the picture shows.")],
    subject: Annotated[
        list[str] | None,
        typer.Option(
            help="A picture or card and where it goes, such as dog.png@left; once for each. "
            "Places are those of --mask."
        ),
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            help="A picture of a subject, or its card; once for each subject. Several views of one "
            "subject make a card first: `dynaip encode`."
        ),
    ] = None,
    scale: Annotated[
        list[float] | None,
        typer.Option(help="Strength of the reference: 0 off, 1 as trained; one, or one each."),
    ] = None,
    granularity: Annotated[
        list[str] | None,
        typer.Option(help="Weights low,mid,high that sum to 1; without it the router decides."),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            help="Where a reference goes: left, middle, right, a box left,top,right,bottom in "
            "fractions, or a picture, once for each; or halves or thirds, once for all."
        ),
    ] = None,
    start: Annotated[
        list[float] | None,
        typer.Option(help="Share of the steps before the reference comes in; one, or one each."),
    ] = None,
    end: Annotated[
        list[float] | None,
        typer.Option(help="Share of the steps after which it is gone; one, or one each."),
    ] = None,
    phrase: Annotated[
        list[str] | None,
        typer.Option(
            help="Words of the prompt that name a reference. The tokens of these words attend to "
            'it, and no other words do. Once for each reference, "" for none; not with --branches '
            "image."
        ),
    ] = None,
    overlap: Annotated[
        str | None, typer.Option(help="Where masks meet: sum (default), normalise, priority.")
    ] = None,
    branches: Annotated[
        str | None,
        typer.Option(
            help="Tokens that attend to the reference: image, text or both. Else both where there "
            "is a phrase, and what the adapter was made for where not: of ours image (the paper's "
            "DDS), of others' what they published."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=LARGEST_SEED, help="A random one if not given.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = 20,
    guidance: Guidance = None,
    image_guidance: ImageGuidance = 1.0,
    width: Annotated[
        int | None, typer.Option(min=1, help="Pixels; the model's if not given.")
    ] = None,
    height: Annotated[
        int | None, typer.Option(min=1, help="Pixels; the model's if not given.")
    ] = None,
    model: Model = None,
    adapter: Adapter = None,
    offload: Offload = False,
    number: Annotated[
        int, typer.Option("-n", min=1, help="Pictures to make, their seeds counting up.")
    ] = 1,
    out: Annotated[Path, typer.Option(help="A folder, or a PNG file.")] = Path("out"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make pictures of the referenced subjects, as the prompt describes."""
    references, masks = reference or [], mask or []
    if subject:
        if references or masks:
            raise ValueError("--subject says what and where; leave out --reference and --mask.")
        references, masks = split_subjects(subject)
    about = (scale, granularity, mask, start, end, phrase, overlap, branches, adapter)
    if not references and (any(about) or image_guidance != 1):
        raise ValueError(
            "--scale, --granularity, --mask, --start, --end, --phrase, --overlap, --branches, "
            "--image-guidance and --adapter are about references; give a --subject or a "
            "--reference."
        )
    attended = None if branches is None else one_of("--branches", branches, BRANCHES)
    meeting = one_of("--overlap", overlap or "sum", OVERLAPS)
    seeds = _seeds(seed, number)
    subjects = read_subjects(
        references,
        scale or [],
        granularity or [],
        masks,
        start or [],
        end or [],
        phrase or [],
    )
    prepare_target(out, number, [*references, *map(Path, masks)])
    from dynaip.apps.cli.drawing import Job, draw_pictures
    from dynaip.pipeline.provenance import save_picture

    job = Job(
        prompt=prompt,
        references=[[file] for file in references],
        subjects=subjects,
        masks=masks,
        overlap=meeting,
        branches=attended,
        seeds=seeds,
        steps=steps,
        guidance=guidance,
        image_guidance=image_guidance,
        size={k: v for k, v in (("height", height), ("width", width)) if v is not None},
        model=model,
        adapter=adapter_location(adapter, model) if references else None,
        offload=offload,
    )
    made = []
    with contextlib.closing(draw_pictures(job)) as pictures:
        for picture, settings in pictures:
            path = target(out, prompt, settings.seed)
            save_picture(picture, path, settings)
            made.append((path, settings))
    if as_json:
        rows = [{"path": str(path), **settings.to_dict()} for path, settings in made]
        typer.echo(json.dumps(rows, indent=2))
    else:
        _report(made)


def _seeds(seed: int | None, number: int) -> range:
    first = secrets.randbelow(LARGEST_SEED - number) if seed is None else seed
    if first + number - 1 > LARGEST_SEED:
        raise ValueError(
            f"{number} seeds from {seed} on pass the largest, {LARGEST_SEED}; begin lower."
        )
    return range(first, first + number)


def _report(made: Sequence[tuple[Path, Settings]]) -> None:
    console = Console()
    for path, settings in made:
        console.print(f"{path}  seed {settings.seed}", highlight=False, soft_wrap=True)
    subjects = made[0][1].subjects
    if not subjects or len(subjects[0].coefficients) != len(LEVELS):
        return
    phrased = any(subject.phrase is not None for subject in subjects)
    table = Table("reference", *(["phrase"] if phrased else []), "weights", *LEVELS, box=None)
    for subject in subjects:
        source = "router" if subject.granularity is None else "by hand"
        named = [escape(subject.phrase or "")] if phrased else []
        weights = (f"{value:.2f}" for value in subject.coefficients)
        table.add_row(escape(subject.name), *named, source, *weights)
    console.print(table)
