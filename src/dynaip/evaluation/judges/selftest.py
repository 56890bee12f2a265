"""Is the judge any good? A few questions whose answers are known, before every run.

A judge that finds two unequal things equal, or one picture unlike itself, makes numbers all the
same. Its answers to these stand in the report, beside what it was trusted with.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageFilter

from dynaip.evaluation.benchmarks.manifest import CaseSubject
from dynaip.evaluation.benchmarks.results import Results, Wanted
from dynaip.evaluation.judges.questions import Question, prompt_question
from dynaip.evaluation.judges.rubrics import Rubrics
from dynaip.evaluation.scores import ScoreRow, final_scores
from dynaip.pictures import on_white, open_picture

# Radius of the blur in shares of the longer side.
BLURS = (0.01, 0.02, 0.04, 0.08)
# In shares of the scale: what a judge must give a picture beside itself and a true text, and may
# give a stranger or an untrue text.
IDENTICAL, TRUE, STRANGER = 3.5 / 4, 3 / 4, 1 / 4
SLACK = 0.05
# A judge that leaves more questions without a score than this is not one.
MOST_UNSCORED = 0.1
# Of questions, in the order of a report; see `self_test_questions`.
KINDS = (
    *("identical", "other view", "same class", "unrelated", "blank"),
    *(f"blur {share:.0%}" for share in BLURS),
    *("named", "misnamed", "in order", "swapped", "prompt", "shuffled"),
)

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What a judge answered.

    Attributes:
        means: Mean share of the scale by kind of question.
        counts: Answers with a score, and questions, by kind.
        failed: What it got wrong, in words; nothing for a judge that may be trusted.
    """

    means: Mapping[str, float]
    counts: Mapping[str, tuple[int, int]]
    failed: tuple[str, ...]


def self_test_questions(results: Results, rubrics: Rubrics, count: int = 8) -> list[Question]:
    """Questions with known answers, made from a benchmark's own references and pictures.

    | kind | pictures | a good judge says |
    |---|---|---|
    | identical | a reference twice | 4 |
    | other view | two views of one subject | more than a stranger |
    | same class | another subject of its class | less than identical |
    | unrelated | a subject of another class | 0 or 1 |
    | blank | a white picture | 0 |
    | blur 1 % to 8 % | a reference, and itself blurred | less and less |
    | named, misnamed | a reference with its noun, and with another subject's | 4, and 0 or 1 |
    | in order, swapped | a generated picture, and the order turned round | the same |
    | prompt, shuffled | a generated picture with its prompt, and another's | less |

    Args:
        results: The benchmark and the pictures that are to be judged.
        rubrics: What the judge is told.
        count: Subjects, and pictures, that are taken, spread evenly.
    """
    subjects = _spread(list(_single_subjects(results)), count)
    pictures = _spread(results.pictures(), count)
    questions = [
        question
        for number, subject in enumerate(subjects)
        for question in _about_subject(number, subject, subjects, rubrics)
    ]
    for number, wanted in enumerate(pictures):
        questions += _about_picture(number, wanted, pictures, rubrics)
    return questions


def summarise(questions: Iterable[Question | ScoreRow], rows: Iterable[ScoreRow]) -> Summary:
    """What the rows say of the judge that wrote them.

    Args:
        questions: What it was asked, or a row of each question.
        rows: All its attempts.
    """
    asked = collections.Counter(_kind(question.case) for question in questions)
    shares = collections.defaultdict[str, list[float]](list)
    for row in final_scores(rows).values():
        if row.status == "ok":
            shares[_kind(row.case)].append(row.share)
    means = {kind: float(np.mean(shares[kind])) for kind in asked if shares[kind]}
    counts = {kind: (len(shares[kind]), number) for kind, number in asked.items()}
    return Summary(means=means, counts=counts, failed=tuple(_failures(means, counts)))


def _failures(means: Mapping[str, float], counts: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    scored, asked = (sum(count[place] for count in counts.values()) for place in (0, 1))
    if unanswered := [kind for kind, count in counts.items() if not count[0]]:
        yield f"no score at all for {', '.join(unanswered)}"
    elif asked - scored > MOST_UNSCORED * asked:
        yield f"{asked - scored} of {asked} questions have no score"
    if means.get("identical", 1) < IDENTICAL:
        yield f"identical pictures get {4 * means['identical']:.2f} of 4"
    if means.get("named", 1) < TRUE:
        yield f"pictures with their own noun get {4 * means['named']:.2f} of 4"
    for kind in ("unrelated", "blank", "misnamed"):
        if means.get(kind, 0) > STRANGER:
            yield f"{kind} pictures get {4 * means[kind]:.2f} of 4"
    if means.get("same class", 0) > means.get("identical", 1) - SLACK:
        yield "another subject of the same class is as good as the same"
    ladder = [means[kind] for kind in ("identical", *map(_blur, BLURS)) if kind in means]
    if any(later > earlier + SLACK for earlier, later in itertools.pairwise(ladder)):
        yield "more blur gets more points"
    if abs(means.get("in order", 0) - means.get("swapped", means.get("in order", 0))) > 0.25:
        yield "the order of the pictures moves the score by more than one point"
    own = means.get("prompt", 1)
    # Pictures that fit no prompt at all cannot show it.
    if means.get("shuffled", 0) > own - (SLACK if own > STRANGER else 0):
        yield "another prompt fits as well as the picture's own"


def _about_subject(
    number: int, subject: CaseSubject, others: list[CaseSubject], rubrics: Rubrics
) -> Iterator[Question]:
    reference = subject.references[0]
    shown: dict[str, Path | Image.Image] = {"identical": reference}
    if len(subject.references) > 1:
        shown["other view"] = subject.references[1]
    for other in others:
        kind = "same class" if other.category == subject.category else "unrelated"
        if other.references != subject.references:
            shown.setdefault(kind, other.references[0])
    picture = on_white(open_picture(reference))
    shown["blank"] = Image.new("RGB", picture.size, "white")
    for share in BLURS:
        blur = ImageFilter.GaussianBlur(share * max(picture.size))
        shown[_blur(share)] = picture.filter(blur)
    for kind, answer in shown.items():
        yield _concept(kind, number, subject, (reference, answer), rubrics)
    if subject.kind == "style":
        return
    strangers = [each for each in others if each.category != subject.category]
    for kind, named in (("named", subject), ("misnamed", next(iter(strangers), None))):
        if named is not None and named.kind != "style":
            yield _prompted(kind, number, f"a {named.name}", reference, rubrics)


def _about_picture(
    number: int, wanted: Wanted, pictures: list[Wanted], rubrics: Rubrics
) -> Iterator[Question]:
    subject = wanted.case.subjects[0]
    pair = (subject.references[0], wanted.path)
    yield _concept("in order", number, subject, pair, rubrics)
    yield _concept("swapped", number, subject, pair[::-1], rubrics)
    others = [each.case for each in pictures if each.case.prompt != wanted.case.prompt]
    # Rather a prompt for other subjects: one for the same in another place is half right.
    apart = [case for case in others if case.subjects != wanted.case.subjects] or others
    if apart:
        other = apart[number % len(apart)]
        yield _prompted("prompt", number, wanted.case.prompt, wanted.path, rubrics)
        yield _prompted("shuffled", number, other.prompt, wanted.path, rubrics)


def _concept(
    kind: str,
    number: int,
    subject: CaseSubject,
    pictures: tuple[Path | Image.Image, ...],
    rubrics: Rubrics,
) -> Question:
    rubric = rubrics["cp-style" if subject.kind == "style" else "cp"]
    return Question(
        case=f"{kind}/{number}",
        picture=0,
        measure="cp",
        rubric=rubric,
        text=rubric.fill(name=subject.name),
        pictures=pictures,
    )


def _prompted(kind: str, number: int, prompt: str, picture: Path, rubrics: Rubrics) -> Question:
    return prompt_question(f"{kind}/{number}", 0, prompt, picture, rubrics["pf"])


def _single_subjects(results: Results) -> Iterator[CaseSubject]:
    """Every subject once."""
    seen = set()
    for case in results.manifest.cases:
        for subject in case.subjects:
            if subject.references not in seen:
                seen.add(subject.references)
                yield subject


def _spread(values: list[T], count: int) -> list[T]:
    places = np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int)
    return [values[place] for place in places]


def _kind(case: str) -> str:
    return case.partition("/")[0]


def _blur(share: float) -> str:
    return f"blur {share:.0%}"
