"""Rendered benchmarks: what a picture shows, read by the probe and held against the truth.

The probe reads one subject at a time. So each subject of a case is looked at in a crop around its
box: places decide whose turn it is, never likeness, and a subject that is not there counts as
wrong. What the probe can tell in such crops is measured first, on perfect answers to the same
cases; a factor that it reads right too seldom there is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dynaip.evaluation.benchmarks.manifest import Case, Manifest, ManifestError
from dynaip.evaluation.benchmarks.results import Results, Wanted
from dynaip.evaluation.benchmarks.toyland import perfect_answer, truth_of
from dynaip.evaluation.crops import Box, crop
from dynaip.evaluation.factors import CONCEPT_FACTORS
from dynaip.evaluation.figures import MEASURABLE
from dynaip.evaluation.probe import Probe
from dynaip.evaluation.scores import ScoreRow
from dynaip.miniature.toyland import render
from dynaip.miniature.toyland.spec import ABSENT
from dynaip.pictures import on_white, open_picture, square

PROTOCOL = "truth"


class Question(NamedTuple):
    """One thing to read off a picture.

    Attributes:
        factor: Which of the probe's factors.
        answer: Its true value.
        subject: Index of the subject; none for the whole picture.
        setting: How it is seen, such as "upwearing, worn": what a ceiling is measured for.
    """

    factor: str
    answer: str
    subject: int | None
    setting: str


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """How often the probe is right on perfect answers.

    Attributes:
        accuracy: By factor and setting.
        least: What it takes for an answer to say something of the picture.
    """

    accuracy: Mapping[tuple[str, str], float]
    least: float = MEASURABLE

    def of(self, question: Question) -> float:
        """The accuracy for a question."""
        return self.accuracy[question.factor, question.setting]

    def measurable(self, question: Question) -> bool:
        """Whether the probe reads well enough for this question."""
        return self.of(question) >= self.least

    @property
    def protocol(self) -> str:
        """Scores that leave out other factors cannot be compared, so they have another protocol."""
        return PROTOCOL if self.least == MEASURABLE else f"{PROTOCOL}-{self.least:g}"

    @property
    def left_out(self) -> dict[tuple[str, str], float]:
        """What cannot be measured with this probe, and how often it is right."""
        return {key: share for key, share in self.accuracy.items() if share < self.least}


def questions(case: Case, probe: Probe) -> list[Question]:
    """What the probe is asked of a case's picture.

    Of each subject its concept, and of the whole picture the scene that the prompt names. Details
    that are not there, and values that the probe does not know, are not asked for.

    Raises:
        ManifestError: The case is not of a rendered benchmark.
    """
    concepts, scene = truth_of(case)
    worn = any(concept.kind.endswith("wearing") for concept in concepts)
    asked = [
        Question(factor, getattr(concept, factor), index, f"{concept.kind}, {how}")
        for index, concept in enumerate(concepts)
        for factor in CONCEPT_FACTORS
        for how in ["worn" if worn else f"one of {len(concepts)}"]
    ]
    if scene is not None:
        asked.append(Question("scene", scene, None, "the picture"))
    values = probe.config.values
    return [
        each
        for each in asked
        if each.answer in values.get(each.factor, ()) and each.answer != ABSENT.get(each.factor)
    ]


def windows(picture: Image.Image, case: Case, size: int) -> UInt8[np.ndarray, "b size size 3"]:
    """The whole picture, then a window around each subject's box, as the probe takes them.

    Raises:
        ManifestError: A subject has no box.
    """
    pixels = np.asarray(on_white(picture))
    height, width, _ = pixels.shape
    views = [np.asarray(square(picture, size))]
    for subject in case.subjects:
        if subject.box is None:
            raise ManifestError(f"Case {case.id} has no boxes; make its manifest with boxes.")
        left, top, right, bottom = subject.box
        box = Box(left * width, top * height, right * width, bottom * height)
        views.append(crop(pixels, box, size))
    return np.stack(views)


def measure_ceilings(
    manifest: Manifest,
    probe: Probe,
    size: int,
    least: float = MEASURABLE,
    on_case: Callable[[], Any] | None = None,
) -> Ceilings:
    """Reads perfect answers to all cases.

    Args:
        manifest: Of a rendered benchmark.
        probe: The reader.
        size: Side of the pictures in pixels, as the method's.
        least: Share of right answers that makes a factor measurable.
        on_case: Called after each case.
    """
    found: dict[tuple[str, str], list[bool]] = {}
    for case in manifest.cases:
        picture = Image.fromarray(render(perfect_answer(case, case.seeds[0]), size).image)
        for question, right in read_picture(picture, case, probe):
            found.setdefault((question.factor, question.setting), []).append(right)
        if on_case is not None:
            on_case()
    return Ceilings({key: float(np.mean(rights)) for key, rights in found.items()}, least)


def read_picture(picture: Image.Image, case: Case, probe: Probe) -> list[tuple[Question, bool]]:
    """Each question about a picture, and whether the probe reads the true value."""
    read = probe.read(windows(picture, case, probe.config.size))
    values = probe.config.values
    return [
        (each, values[each.factor][read[each.factor][_place(each)]] == each.answer)
        for each in questions(case, probe)
    ]


def score_truth(
    results: Results,
    probe: Probe,
    scorer: str,
    ceilings: Ceilings,
    on_picture: Callable[[], Any] | None = None,
) -> Iterator[ScoreRow]:
    """Scores each picture, from 0 to 1, by the share of what the probe reads right.

    Under the ceilings' protocol, so that reports make Table 1's rows of them: `cp`, for each
    subject, over its concept; `pf`, for each picture, over what the prompt says, which is the
    category of each subject in its place, and the scene if it is named. Where nothing of that is
    measurable, the row says so. Each factor by itself is a metric, `truth-<factor>`.

    Args:
        results: Pictures of a rendered benchmark.
        probe: The reader.
        scorer: Its name.
        ceilings: Decide what is measurable.
        on_picture: Called after each picture.
    """
    for wanted in results.pictures():
        read = [
            (question, right)
            for question, right in read_picture(open_picture(wanted.path), wanted.case, probe)
            if ceilings.measurable(question)
        ]
        for question, right in read:
            details = {"ceiling": ceilings.of(question), "true": question.answer}
            measure = f"truth-{question.factor}"
            yield _row(wanted, measure, [right], scorer, "metric", question.subject, details)
        for index in range(len(wanted.case.subjects)):
            concept = [pair for pair in read if pair[0].subject == index]
            yield _judgement(wanted, "cp", concept, scorer, ceilings.protocol, index)
        prompted = [pair for pair in read if pair[0].factor in ("category", "scene")]
        yield _judgement(wanted, "pf", prompted, scorer, ceilings.protocol, None)
        if on_picture is not None:
            on_picture()


def _place(question: Question) -> int:
    """Index of the view that a question is about, among `windows`."""
    return 0 if question.subject is None else 1 + question.subject


def _judgement(
    wanted: Wanted,
    measure: str,
    read: list[tuple[Question, bool]],
    scorer: str,
    protocol: str,
    subject: int | None,
) -> ScoreRow:
    """A row over several questions, without a score where nothing could be asked."""
    details = {"factors": [question.factor for question, _ in read]}
    rights = [right for _, right in read]
    return _row(wanted, measure, rights, scorer, protocol, subject, details)


def _row(
    wanted: Wanted,
    measure: str,
    rights: list[bool],
    scorer: str,
    protocol: str,
    subject: int | None,
    details: Mapping[str, Any],
) -> ScoreRow:
    return ScoreRow(
        case=wanted.case.id,
        picture=wanted.picture,
        measure=measure,
        scorer=scorer,
        protocol=protocol,
        status="ok" if rights else "not_asked",
        score=float(np.mean(rights)) if rights else None,
        scale=(0.0, 1.0),
        subject=subject,
        details=details,
    )
