"""Two methods' pictures of the same cases, told apart by their colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from dynaip.evaluation.benchmarks.manifest import Case, CaseSubject, Manifest
from dynaip.evaluation.benchmarks.results import Method, Results
from dynaip.evaluation.study.design import Study, StudySettings

COLOURS = {"ours": (20, 160, 20), "rival": (200, 30, 30), "third": (30, 30, 200)}
SETTINGS = StudySettings(pool=5, items=4, repeats=1, checks=1)


def manifest(folder: Path, cases: int = 6) -> Manifest:
    """Every other case has five subjects."""

    def subject(case: int, number: int) -> CaseSubject:
        path = folder / f"reference-{case}-{number}.png"
        Image.new("RGB", (24, 24), (250, 250, 10 * case + number)).save(path)
        return CaseSubject(name="toy", category="toy", kind="object", references=(path,))

    return Manifest(
        name="tiny",
        settings={},
        cases=tuple(
            Case(
                id=f"case-{index}",
                prompt=f'a toy, number {index}, </script><b>"bold"</b> & @data@',
                seeds=(index,),
                subjects=tuple(subject(index, number) for number in range(5 if index % 2 else 1)),
            )
            for index in range(cases)
        ),
    )


def make_results(folder: Path, name: str, questions: Manifest) -> Results:
    results = Results.create(folder / name, questions, Method(name=name))
    # As pictures of `dynaip generate` do, these say inside who made them.
    said = PngImagePlugin.PngInfo()
    said.add_text("dynaip", f"made by {name}")
    for _, number, path in results.wanted():
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32 + number), COLOURS[name]).save(path, pnginfo=said)
    return results


def vote(study: Study, /, **changes: Any) -> dict[str, Any]:
    """A row as the page writes it: the first pair of the first group, left was better."""
    pair = next(iter(study.groups.values()))[0]
    left = next(iter(pair.pictures))
    row = {
        "study": study.id,
        "voter": "a1",
        "pair": pair.id,
        "showing": 0,
        "question": "cp",
        "choice": left,
        "left": left,
        "position": 0,
        "seconds": 3.5,
        "time": "2026-01-01T12:00:00.000Z",
    }
    return {**row, **changes}
