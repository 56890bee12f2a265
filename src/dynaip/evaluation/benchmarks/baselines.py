"""Answers that every table needs beside it: the copied reference, and another real photograph.

A metric that a copy wins measures copying; a method above what two photographs of one subject
reach against each other is not better than real, it is nearer to the reference's pixels.
"""

from __future__ import annotations

import dataclasses
from io import BytesIO
from pathlib import Path

from dynaip.evaluation.benchmarks.manifest import Case, Manifest
from dynaip.evaluation.benchmarks.results import Method, Results
from dynaip.pictures import on_white, open_picture
from dynaip.pipeline.provenance import write_whole

BASELINES = ("copy", "real")


def make_baseline(name: str, manifest: Manifest, folder: Path) -> Results:
    """Writes a baseline's answers as a result folder, to be scored like any method's.

    Args:
        name: `"copy"` answers with the first subject's first reference. `"real"` answers with the
            last photograph of the subject, which is then no reference any more; only cases of one
            subject with several photographs are asked.
        manifest: What is asked.
        folder: The result folder.

    Raises:
        ValueError: The name is unknown, a reference cannot be read, or no case has two photographs.
    """
    if name not in BASELINES:
        raise ValueError(f"The baselines are {' and '.join(BASELINES)}; got {name!r}.")
    if name == "real":
        manifest = _with_spare_photographs(manifest)
        method = Method(name="another photograph")
    else:
        method = Method(name="copy of the reference")
    answers = {case.id: _answer(name, case) for case in manifest.cases}
    if name == "real":
        manifest = dataclasses.replace(manifest, cases=tuple(map(_without_last, manifest.cases)))
    results = Results.create(folder, manifest, method)
    for case, _, path in results.missing():
        content = BytesIO()
        on_white(open_picture(answers[case.id])).save(content, "PNG")
        write_whole(path, content.getvalue())
    return results


def _with_spare_photographs(manifest: Manifest) -> Manifest:
    cases = tuple(
        case
        for case in manifest.cases
        if len(case.subjects) == 1 and len(case.subjects[0].references) > 1
    )
    if not cases:
        raise ValueError("No case has one subject with two photographs, so there is no ceiling.")
    return dataclasses.replace(manifest, cases=cases)


def _answer(name: str, case: Case) -> Path:
    return case.subjects[0].references[0 if name == "copy" else -1]


def _without_last(case: Case) -> Case:
    (subject,) = case.subjects
    kept = dataclasses.replace(subject, references=subject.references[:-1])
    return dataclasses.replace(case, subjects=(kept,))
