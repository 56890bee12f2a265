"""DreamBench++: 150 subjects, each under nine prompts (1350 cases), from the user's checkout.

In the checkout a picture lies in `data/images/<category>/NN.jpg` and its captions in
`data/captions/<category>/NN.txt`: the subject's noun on the first line, then nine prompts. What
kind a prompt is follows from its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dynaip.evaluation.benchmarks.manifest import Case, CaseSubject, Manifest
from dynaip.evaluation.benchmarks.results import Method, Results, ResultsError
from dynaip.pictures import ENDINGS, on_white, open_picture
from dynaip.pipeline.provenance import write_png

# Folder of a category, and what its ids begin with.
CATEGORIES = {
    "animal": "live_subject/animal",
    "human": "live_subject/human",
    "object": "object",
    "style": "style",
}
PROMPT_KINDS = ("photorealistic",) * 4 + ("style",) * 3 + ("imaginative",) * 2
SUBJECTS = 150


class _Entry(NamedTuple):
    kind: str
    collection: str
    noun: str
    picture: Path
    prompts: list[str]


def read_dreambenchpp(folder: Path, *, seed: int = 0) -> Manifest:
    """Reads a checkout; one picture a prompt, as only the first is judged.

    Args:
        folder: The checkout, or its `data` folder. The pictures are no part of the repository and
            must have been downloaded into it.
        seed: The first picture's seed.

    Raises:
        ValueError: The folder holds no pictures in DreamBench++'s layout, or captions are missing
            or short.
    """
    data = folder / "data" if (folder / "data").is_dir() else folder
    entries = list(_entries(data))
    if not entries:
        raise ValueError(
            f"{folder} holds no pictures in DreamBench++'s layout (data/images/object/00.jpg and "
            "so on); give its checkout with the data downloaded."
        )
    cases = []
    for entry in entries:
        subject = CaseSubject(
            name=entry.noun, category=entry.noun, kind=entry.kind, references=(entry.picture,)
        )
        for index, prompt in enumerate(entry.prompts):
            cases.append(
                Case(
                    id=f"{_safe(entry.collection)}-{index}",
                    prompt=prompt,
                    prompt_kind=PROMPT_KINDS[index],
                    seeds=(seed + len(cases),),
                    subjects=(subject,),
                )
            )
    settings = {"seed": seed, "subjects": len(entries), "of": SUBJECTS}
    return Manifest(name="dreambench++", settings=settings, cases=tuple(cases))


def import_samples(
    samples: Path,
    manifest: Manifest,
    out: Path,
    name: str,
    on_picture: Callable[[], Any] | None = None,
) -> Results:
    """Takes over pictures in DreamBench++'s own layout as a result folder.

    Args:
        samples: A method's folder, with `tgt_image/<collection>/<prompt>_<sample>.jpg`.
        manifest: As `read_dreambenchpp` made it.
        out: The result folder; pictures that are there already stay.
        name: The method's, for tables.
        on_picture: Called after each picture.

    Raises:
        ValueError: None of the pictures is there; or one is broken.
    """
    root = samples / "tgt_image" if (samples / "tgt_image").is_dir() else samples
    folders = {_safe(entry.name): entry for entry in root.iterdir() if entry.is_dir()}
    results = Results.create(out, manifest, Method(name=name, settings={"imported": samples.name}))
    for case, number, path in results.missing():
        collection, _, prompt = case.id.rpartition("-")
        if collection not in folders:
            continue
        sources = folders[collection].glob(f"{prompt}_{number}.*")
        for source in sorted(file for file in sources if file.suffix.lower() in ENDINGS)[:1]:
            write_png(on_white(open_picture(source)), path)
            if on_picture is not None:
                on_picture()
    if not results.pictures():
        raise ResultsError(
            f"{samples} has none of the manifest's pictures; it should hold "
            "tgt_image/<collection>/<prompt>_0.jpg."
        )
    return results


def _entries(data: Path) -> Iterator[_Entry]:
    for kind, place in CATEGORIES.items():
        for picture in sorted((data / "images" / place).glob("*")):
            if picture.suffix.lower() not in ENDINGS:
                continue
            noun, *prompts = _captions(data / "captions" / place / f"{picture.stem}.txt")
            name = f"{place.replace('/', '_')}_{picture.stem}_{noun.lower().replace(' ', '_')}"
            yield _Entry(kind, name, noun, picture, prompts)


def _captions(path: Path) -> list[str]:
    wanted = 1 + len(PROMPT_KINDS)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    lines = [line.strip() for line in lines if line.strip()]
    if len(lines) != wanted:
        raise ValueError(
            f"{path} should hold the subject's noun and nine prompts, a line each, and has "
            f"{len(lines)} lines."
        )
    return lines


def _safe(name: str) -> str:
    """A collection's name as part of a case's id."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)
