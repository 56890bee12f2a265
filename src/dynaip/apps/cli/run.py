"""`dynaip run`: a picture made again from its own settings."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynaip.apps.cli.loading import Offload, adapter_location, miniature_folder
from dynaip.apps.cli.subjects import read_subjects
from dynaip.apps.cli.targets import prepare_target, target
from dynaip.apps.cli.verify import is_changed, read_credential_of

if TYPE_CHECKING:
    from PIL import Image

    from dynaip.pipeline.provenance import Settings, SubjectRecord
    from dynaip.pipeline.subject import Subject

# Whether the pixels are the same, in words; nothing where there are none to compare with.
TOLD = {
    True: ", pixel for pixel the same",
    False: ", not pixel for pixel the same: unless the picture was edited, another processor or "
    "another version of a library rounds otherwise",
    None: "",
}


def run(
    picture: Annotated[Path, typer.Argument(help="A PNG made here, or the JSON beside it.")],
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            help="A file of a reference or mask, or a folder; else looked for beside PICTURE."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model, where it is a folder of another name.")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(help="The adapter, where it is not the model's own.")
    ] = None,
    offload: Offload = False,
    out: Annotated[Path, typer.Option(help="A folder, or a PNG file.")] = Path("out"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make a picture again, with the prompt, seed, references and places written into it.

    A picture tells the names and hashes of its references, not their pixels: have them at hand.
    """
    from dynaip.pipeline.provenance import read_settings, save_picture

    settings = read_settings(picture)
    before = _pixels_of(picture, settings)
    if is_changed(read_credential_of(picture)):
        typer.echo(f"{picture} was changed since it was signed; so may be its settings.", err=True)
    if not settings.subjects and (reference or adapter):
        raise ValueError(
            "--reference and --adapter are about references, and this picture has none; leave "
            "them out."
        )
    given = reference or []
    for place in given:
        if not place.exists():
            raise ValueError(f"There is nothing at {place}; check --reference.")
    beside = [picture.parent] if given else [picture.parent, Path()]
    references = find_references(settings.subjects, given, beside)
    masks = _find_masks(settings.subjects, given, beside)
    _check_used(settings.subjects, given)
    subjects = _subjects(settings.subjects, references, masks)
    model = _model(settings, model)
    location = adapter_location(adapter, model) if references else None
    _check_adapter(settings, location)
    drawn = [Path(m) for m, s in zip(masks, settings.subjects, strict=True) if s.mask_sha256]
    prepare_target(out, inputs=[picture, *itertools.chain(*references), *drawn])
    from dynaip.apps.cli.drawing import Job, draw_pictures

    job = Job(
        prompt=settings.prompt,
        references=references,
        subjects=subjects,
        masks=masks,
        overlap=settings.overlap,
        branches=None if settings.branches == "published" else settings.branches,
        seeds=(settings.seed,),
        steps=settings.steps,
        guidance=settings.guidance,
        image_guidance=settings.image_guidance,
        size={"height": settings.height, "width": settings.width},
        model=model,
        adapter=location,
        offload=offload,
    )
    with contextlib.closing(draw_pictures(job)) as pictures:
        made, described = next(pictures)
    path = target(out, settings.prompt, settings.seed)
    save_picture(made, path, described)
    same = None if before is None else _same(before, made.convert("RGBA"))
    if as_json:
        found = {"path": str(path), "same_pixels": same, **described.to_dict()}
        typer.echo(json.dumps(found, indent=2))
    else:
        typer.echo(f"{path}  seed {described.seed}{TOLD[same]}")


def _pixels_of(source: Path, settings: Settings) -> Image.Image | None:
    """The picture that is made again; nothing where all there is of it is its JSON."""
    from dynaip.pictures import open_picture
    from dynaip.pipeline.provenance import read_settings

    if source.suffix != ".json":
        return open_picture(source).convert("RGBA")
    beside = source.with_suffix(".png")
    try:
        return open_picture(beside).convert("RGBA") if read_settings(beside) == settings else None
    except ValueError:  # none, or none that can be read
        return None


def _same(first: Image.Image, second: Image.Image) -> bool:
    """Of their pixels; texts beside them may differ."""
    return first.size == second.size and first.tobytes() == second.tobytes()


def find_references(
    records: Sequence[SubjectRecord], given: Sequence[Path], beside: Sequence[Path]
) -> list[list[Path]]:
    """The files that each of a picture's subjects was read from, told by their hashes.

    Args:
        records: The picture's subjects.
        given: Files, and folders in which a file of the recorded name is looked for.
        beside: More folders.

    Raises:
        ValueError: One is missing, or there under its name with other content.
    """
    return [
        [_find("reference", view.name, view.sha256, given, beside) for view in record.views]
        for record in records
    ]


def _find(kind: str, name: str, sha256: str, given: Sequence[Path], beside: Sequence[Path]) -> Path:
    from dynaip.pipeline.provenance import file_sha256

    # A picture may come from anybody: what it calls a name is not followed through folders.
    name = Path(name).name
    named = [place / name if place.is_dir() else place for place in (*given, *beside)]
    files = [file for file in named if file.is_file()]
    match = next((file for file in files if file_sha256(file) == sha256), None)
    if match is not None:
        return match
    changed = next((file for file in files if file.name == name), None)
    if changed is not None:
        raise ValueError(
            f"{changed} is not the file that the picture was made from: its content has changed; "
            f"give the original {kind} as --reference."
        )
    told = [str(place) for place in given if place.is_file()]
    absent = [f"none of the files given ({', '.join(told)})"] if told else []
    absent += [f"not in {place}" for place in given if place.is_dir()]
    absent.append(f"{'and ' if absent else ''}not beside the picture")
    raise ValueError(
        f"The {kind} {name} is {', '.join(absent)}; give it, or its folder, as --reference."
    )


def _check_used(records: Sequence[SubjectRecord], given: Sequence[Path]) -> None:
    """Refuses a file that the picture was not made from; it would have no effect."""
    from dynaip.pipeline.provenance import file_sha256

    known = {view.sha256 for record in records for view in record.views}
    known |= {record.mask_sha256 for record in records if record.mask_sha256}
    if idle := [file for file in given if file.is_file() and file_sha256(file) not in known]:
        raise ValueError(f"The picture was not made from {idle[0]}; leave it out.")


def _find_masks(
    records: Sequence[SubjectRecord], given: Sequence[Path], beside: Sequence[Path]
) -> list[str]:
    """Where each subject was, as it is said on the command line; files are found by their hash."""
    return [
        record.mask or ""
        if record.mask_sha256 is None
        else str(_find("mask", record.mask or "", record.mask_sha256, given, beside))
        for record in records
    ]


def _subjects(
    records: Sequence[SubjectRecord], references: Sequence[Sequence[Path]], masks: Sequence[str]
) -> list[Subject]:
    """Subjects as they were; masks painted in the browser are in the record itself."""
    from dynaip.pipeline.placing import LAYOUTS
    from dynaip.pipeline.provenance import PAINTED

    painted = [mask.startswith(PAINTED) for mask in masks]
    said = ["" if own else mask for own, mask in zip(painted, masks, strict=True)]
    subjects = read_subjects(
        [first for first, *_ in references],
        [record.scale for record in records],
        [],
        said[:1] if said and said[0] in LAYOUTS else said,
        [record.start for record in records],
        [record.end for record in records],
        [record.phrase or "" for record in records],
    )
    return [
        dataclasses.replace(
            subject,
            image=[view for each in (subject, *read_subjects(more, [], [])) for view in each.views],
            granularity=record.granularity,
            mask=_read_painted(mask) if own else subject.mask,
        )
        for subject, (_, *more), record, own, mask in zip(
            subjects, references, records, painted, masks, strict=True
        )
    ]


def _read_painted(mask: str) -> Image.Image:
    from dynaip.pictures import decode_picture
    from dynaip.pipeline.provenance import PAINTED

    content = base64.b64decode(mask.removeprefix(PAINTED))
    return decode_picture(content, "The picture's painted mask")


def _model(settings: Settings, model: str | None) -> str | None:
    """The model that is meant; nothing for the miniature."""
    if model is not None:
        return model
    if settings.model == miniature_folder().name:
        return None
    if "/" in settings.model:
        return settings.model
    raise ValueError(
        f"The picture was made with a model in a folder named {settings.model}; give it as --model."
    )


def _check_adapter(settings: Settings, location: str | None) -> None:
    from dynaip.pipeline.provenance import adapter_sha256

    if location is not None and adapter_sha256(location) != settings.adapter_sha256:
        raise ValueError(
            f"The adapter in {location} has other weights than the one that made the picture; "
            "give that one as --adapter."
        )
