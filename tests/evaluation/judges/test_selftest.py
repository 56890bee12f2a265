import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from judged import picture
from PIL import Image

from dynaip.evaluation.benchmarks.manifest import Case, CaseSubject, Manifest
from dynaip.evaluation.benchmarks.results import Method, Results
from dynaip.evaluation.judges.protocols import PROTOCOLS
from dynaip.evaluation.judges.questions import Judge, Question
from dynaip.evaluation.judges.rubrics import OURS
from dynaip.evaluation.judges.selftest import Summary, self_test_questions, summarise
from dynaip.pictures import open_picture

JUDGE, PROTOCOL = Judge(model="m"), PROTOCOLS["dynaip"]
GOOD = {
    "identical": 4.0,
    "other view": 3.0,
    "same class": 2.0,
    "unrelated": 0.0,
    "blank": 0.0,
    "named": 4.0,
    "misnamed": 0.0,
    "blur 1%": 4.0,
    "blur 2%": 3.0,
    "blur 4%": 2.0,
    "blur 8%": 1.0,
    "in order": 3.0,
    "swapped": 3.0,
    "prompt": 3.0,
    "shuffled": 1.0,
}


def judged(questions: list[Question], scores: dict[str, float]) -> Summary:
    """What a judge who gives every kind its score looks like."""
    rows = [
        question.row(JUDGE, PROTOCOL, "ok", scores[kind], attempt=0, key="")
        for question in questions
        if (kind := question.case.partition("/")[0]) in scores
    ]
    return summarise(questions, rows)


@pytest.fixture
def zoo(tmp_path: Path) -> Results:
    """Two mugs, one of two views, and a dog."""
    subjects = []
    for number, noun in enumerate(("mug", "mug", "dog")):
        views = tuple(tmp_path / f"{number}-{view}.png" for view in range(2 - number % 2))
        for view, path in enumerate(views):
            picture(10 * number + view).save(path)
        subjects.append(CaseSubject(name=noun, category=noun, kind="object", references=views))
    cases = tuple(
        Case(id=f"c{number}", prompt=f"prompt {number}", seeds=(0,), subjects=(subject,))
        for number, subject in enumerate(subjects)
    )
    made = Results.create(
        tmp_path / "out", Manifest(name="", settings={}, cases=cases), Method(name="")
    )
    for number, wanted in enumerate(made.missing()):
        wanted.path.parent.mkdir(parents=True)
        picture(50 + number).save(wanted.path)
    return made


def test_a_transparent_reference_is_blurred_on_white(zoo: Results) -> None:
    subject = zoo.manifest.cases[0].subjects[0]
    Image.new("RGBA", (32, 24), (0, 0, 0, 0)).save(subject.references[0])
    shown = {question.case: question.pictures for question in self_test_questions(zoo, OURS)}
    assert open_picture(shown["blur 8%/0"][1]).getextrema() == ((255, 255),) * 3


def test_every_kind_is_asked_and_shows_what_it_says(zoo: Results) -> None:
    questions = self_test_questions(zoo, OURS)
    kinds = Counter(question.case.partition("/")[0] for question in questions)
    assert kinds == {**dict.fromkeys(GOOD, 3), "other view": 2, "same class": 2}
    shown = {question.case: question.pictures for question in questions}
    assert shown["identical/0"][0] == shown["identical/0"][1]
    assert [Path(str(p)).name for p in shown["same class/0"]] == ["0-0.png", "1-0.png"]
    assert [Path(str(p)).name for p in shown["unrelated/0"]] == ["0-0.png", "2-0.png"]
    assert [Path(str(p)).name for p in shown["other view/2"]] == ["2-0.png", "2-1.png"]
    assert shown["swapped/1"] == shown["in order/1"][::-1]
    assert open_picture(shown["blank/0"][1]).getextrema() == ((255, 255),) * 3
    spread = [_contrast(shown[f"blur {share}%/0"]) for share in (1, 2, 4, 8)]
    assert spread == sorted(spread, reverse=True)
    texts = {question.case: question.text for question in questions}
    assert "<<<prompt 1>>>" in texts["prompt/1"]
    assert "<<<prompt 1>>>" not in texts["shuffled/1"]
    assert shown["shuffled/1"] == shown["prompt/1"]
    assert shown["named/0"] == shown["misnamed/0"] == shown["identical/0"][:1]
    assert "<<<a mug>>>" in texts["named/0"]
    assert "<<<a dog>>>" in texts["misnamed/0"]


def _contrast(pictures: tuple[object, ...]) -> int:
    low, high = open_picture(pictures[1]).convert("L").getextrema()  # pyright: ignore
    return int(high) - int(low)  # pyright: ignore


def test_few_are_taken_and_spread_evenly(zoo: Results) -> None:
    questions = self_test_questions(zoo, OURS, count=2)
    assert {q.case for q in questions if q.case.startswith("identical")} == {
        "identical/0",
        "identical/1",
    }
    dog = next(q for q in questions if q.case == "identical/1")
    assert "the same dog" in dog.text


def test_a_good_judge_passes(zoo: Results) -> None:
    summary = judged(self_test_questions(zoo, OURS), GOOD)
    assert summary.failed == ()
    assert summary.means["blur 4%"] == 0.5
    assert summary.counts["identical"] == (3, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"identical": 3.0, "blur 1%": 3.0}, "identical pictures get 3.00 of 4"),
        ({"unrelated": 2.0}, "unrelated pictures get 2.00"),
        ({"blank": 4.0}, "blank pictures get 4.00"),
        ({"same class": 4.0}, "as good as the same"),
        ({"blur 8%": 4.0}, "more blur gets more points"),
        ({"swapped": 1.0}, "order of the pictures"),
        ({"named": 2.0}, "with their own noun get 2.00"),
        ({"misnamed": 2.0}, "misnamed pictures get 2.00"),
        ({"shuffled": 3.0}, "another prompt fits as well"),
        ({"prompt": 0.0}, "another prompt fits as well"),
    ],
)
def test_each_fault_is_named_alone(zoo: Results, changes: dict[str, float], words: str) -> None:
    summary = judged(self_test_questions(zoo, OURS), GOOD | changes)
    assert len(summary.failed) == 1, summary.failed
    assert words in summary.failed[0]


def test_pictures_that_fit_no_prompt_are_not_the_judge_s_fault(zoo: Results) -> None:
    assert (
        judged(self_test_questions(zoo, OURS), GOOD | {"prompt": 1.0, "shuffled": 1.0}).failed == ()
    )


def test_another_prompt_is_one_of_other_subjects(zoo: Results) -> None:
    """The second case's subject is given to the first, under another prompt."""
    first, *others = zoo.manifest.cases
    twin = dataclasses.replace(first, id="twin", prompt="prompt of the twin")
    manifest = dataclasses.replace(zoo.manifest, cases=(first, twin, *others))
    answers = dataclasses.replace(zoo, manifest=manifest)
    for wanted in answers.missing():
        wanted.path.parent.mkdir(parents=True)
        picture(60).save(wanted.path)
    texts = {q.case: q.text for q in self_test_questions(answers, OURS)}
    for number in (0, 1):
        assert "twin" not in texts[f"shuffled/{number}"]
        assert "prompt 0" not in texts[f"shuffled/{number}"]


def test_styles_have_no_noun_to_ask_for(zoo: Results) -> None:
    cases = tuple(
        dataclasses.replace(c, subjects=(dataclasses.replace(c.subjects[0], kind="style"),))
        for c in zoo.manifest.cases
    )
    styles = dataclasses.replace(zoo, manifest=dataclasses.replace(zoo.manifest, cases=cases))
    kinds = {q.case.partition("/")[0] for q in self_test_questions(styles, OURS)}
    assert not kinds & {"named", "misnamed"}


def test_scores_that_lack_now_and_then_are_a_fault(zoo: Results) -> None:
    questions = self_test_questions(zoo, OURS)
    rows = [
        q.row(JUDGE, PROTOCOL, "ok", GOOD[q.case.partition("/")[0]], attempt=0, key="")
        for q in questions
    ]
    most = len(rows) // 10
    assert summarise(questions, rows[:-most]).failed == ()
    found = summarise(questions, rows[: -most - 1]).failed
    assert found == (f"{most + 1} of {len(rows)} questions have no score",)


def test_silence_is_a_fault(zoo: Results) -> None:
    questions = self_test_questions(zoo, OURS)
    rows = [q.row(JUDGE, PROTOCOL, "parse_error", None, attempt=0, key="") for q in questions]
    summary = summarise(questions, rows)
    assert summary.means == {}
    assert "no score at all for identical" in summary.failed[0]


def test_questions_are_no_scores_of_the_benchmark(zoo: Results) -> None:
    ids = {case.id for case in zoo.manifest.cases}
    assert all(dataclasses.asdict(q)["case"] not in ids for q in self_test_questions(zoo, OURS))
