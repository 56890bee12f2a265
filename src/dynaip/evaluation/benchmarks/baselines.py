"""Answers that every table needs beside it: the ends of every scale.

A metric that a copy of the reference wins measures copying; a method above what two photographs of
one subject reach against each other is not better than real, it is nearer to the reference's
pixels. In a rendered world there is also a perfect answer, which says what the instruments can see.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from dynaip.evaluation.benchmarks.manifest import Case, Manifest
from dynaip.evaluation.benchmarks.results import Method, Results
from dynaip.evaluation.benchmarks.toyland import perfect_answer
from dynaip.miniature.toyland import render
from dynaip.pictures import on_white, open_picture
from dynaip.pipeline.provenance import write_png

BASELINES = {
    "copy": "copy of the reference",
    "real": "another photograph",
    "perfect": "perfect answer",
}


def make_baseline(
    name: str,
    manifest: Manifest,
    folder: Path,
    on_picture: Callable[[], Any] | None = None,
) -> Results:
    """Writes a baseline's answers as a result folder, to be scored like any method's.

    A reference that answers several cases is written once and linked.

    Args:
        name: `"copy"` answers with the first subject's first reference. `"real"` answers with the
            last photograph of the subject, which is then no reference any more; only cases of one
            subject with several photographs are asked. `"perfect"` renders what is asked for, at
            the size of the references, where the manifest says what is true.
        manifest: What is asked.
        folder: The result folder.
        on_picture: Called after each picture.

    Raises:
        ValueError: The name is unknown, a reference cannot be read, no case has two photographs,
            or a perfect answer cannot be known.
    """
    if name not in BASELINES:
        raise ValueError(f"The baselines are {', '.join(BASELINES)}; got {name!r}.")
    if name == "real":
        manifest = _with_spare_photographs(manifest)
    answers = {case.id: case.subjects[0].references for case in manifest.cases}
    if name == "real":
        manifest = dataclasses.replace(manifest, cases=tuple(map(_without_last, manifest.cases)))
    results = Results.create(folder, manifest, Method(name=BASELINES[name]))
    written: dict[Path, Path] = {}
    for case, number, path in results.missing():
        if name == "perfect":
            write_png(_render(case, case.seeds[number]), path)
        else:
            reference = answers[case.id][-1 if name == "real" else 0]
            _write_once(reference, path, written)
        if on_picture is not None:
            on_picture()
    return results


def _write_once(reference: Path, path: Path, written: dict[Path, Path]) -> None:
    """Writes a reference as an answer, or links to the answer that it already is."""
    if reference not in written:
        write_png(on_white(open_picture(reference)), path)
        written[reference] = path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.hardlink_to(written[reference])
    except OSError:  # a file system without links
        shutil.copyfile(written[reference], path)


def _with_spare_photographs(manifest: Manifest) -> Manifest:
    cases = tuple(
        case
        for case in manifest.cases
        if len(case.subjects) == 1 and len(case.subjects[0].references) > 1
    )
    if not cases:
        raise ValueError("No case has one subject with two photographs, so there is no ceiling.")
    return dataclasses.replace(manifest, cases=cases)


def _render(case: Case, seed: int) -> Image.Image:
    size = max(open_picture(case.subjects[0].references[0]).size)
    return Image.fromarray(render(perfect_answer(case, seed), size).image)


def _without_last(case: Case) -> Case:
    (subject,) = case.subjects
    kept = dataclasses.replace(subject, references=subject.references[:-1])
    return dataclasses.replace(case, subjects=(kept,))
