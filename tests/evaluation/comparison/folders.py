"""Result folders with scores that are known, for reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from dynaip.evaluation.benchmarks.manifest import Case, CaseSubject, Manifest
from dynaip.evaluation.benchmarks.results import Method, Results
from dynaip.evaluation.comparison.sources import Source, open_source
from dynaip.evaluation.scores import ScoreRow, append_scores

SUBJECTS = 12
JUDGES = ("strict-eye", "kind-eye")
# A judge's score from 0 to 4 of a case's picture, its measure and its subject.
Opinion = Callable[[str, str, int], int | None]


def subject(index: int) -> CaseSubject:
    kind = "animal" if index % 3 else "object"
    return CaseSubject(
        name=f"toy {index}", category="toy", kind=kind, references=(Path(f"/toys/{index}.png"),)
    )


def manifest() -> Manifest:
    """Two prompts for each subject alone, one for each two neighbours."""
    alone = [
        Case(
            id=f"one-{index}-{kind}",
            prompt="a toy",
            seeds=(0,),
            subjects=(subject(index),),
            prompt_kind=kind,
        )
        for index in range(SUBJECTS)
        for kind in ("plain", "style")
    ]
    together = [
        Case(
            id=f"two-{index}",
            prompt="two toys",
            seeds=(0,),
            subjects=(subject(index), subject(index + 1)),
            prompt_kind="plain",
            combination="toy+toy",
        )
        for index in range(SUBJECTS)
    ]
    return Manifest(name="toys", settings={}, cases=(*alone, *together))


def rows(opinion: Opinion, judge: str, protocol: str = "dynaip") -> Iterator[ScoreRow]:
    for case in manifest().cases:
        asked = [("cp", index) for index in range(len(case.subjects))] + [("pf", None)]
        for measure, index in asked:
            score = opinion(case.id, measure, index or 0)
            yield ScoreRow(
                case=case.id,
                picture=0,
                measure=measure,
                scorer=judge,
                protocol=protocol,
                status="refused" if score is None else "ok",
                score=score,
                scale=(0, 4),
                subject=index,
            )


def source(folder: Path, name: str, *attempts: Iterator[ScoreRow]) -> Source:
    results = Results.create(folder / name, manifest(), Method(name=name))
    for index, found in enumerate(attempts):
        append_scores(results.scores_path(f"scorer-{index}"), found)
    return open_source(folder / name)


def random_opinion(mean: float, seed: int) -> Opinion:
    rng = np.random.default_rng(seed)
    return lambda case, measure, index: int(np.clip(np.round(rng.normal(mean, 0.7)), 0, 4))
