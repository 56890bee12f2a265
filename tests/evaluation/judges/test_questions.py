import base64
import dataclasses
import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from judged import picture
from PIL import Image

from dynaip.evaluation.benchmarks.dynaip_bench import COMBINATIONS, Combination
from dynaip.evaluation.benchmarks.dynaip_bench import _boxes as preset_boxes
from dynaip.evaluation.benchmarks.results import Results
from dynaip.evaluation.judges.protocols import PROTOCOLS, encode_picture, get_protocol
from dynaip.evaluation.judges.questions import Judge, Question, ask_about
from dynaip.evaluation.judges.rubrics import OURS, official_rubrics

DYNAIP, STRICT = PROTOCOLS["dynaip"], PROTOCOLS["strict"]
JUDGE = Judge(model="judge")


def shown(question: Question) -> list[str]:
    return [Path(each).name if isinstance(each, Path) else "" for each in question.pictures]


def test_every_subject_and_prompt_is_asked_about(results: Results) -> None:
    questions = list(ask_about(results, DYNAIP, OURS))
    asked = [(q.case, q.picture, q.measure, q.subject, shown(q)) for q in questions]
    assert asked[:6] == [
        ("one", 0, "cp", 0, ["a.png", "0.png"]),
        ("one", 1, "cp", 0, ["a.png", "1.png"]),
        ("two", 0, "cp", 0, ["b.png", "0.png"]),
        ("two", 0, "cp", 1, ["c.png", "0.png"]),
        ("two", 1, "cp", 0, ["b.png", "1.png"]),
        ("two", 1, "cp", 1, ["c.png", "1.png"]),
    ]
    assert [q.measure for q in questions[8:]] == ["pf"] * 6
    rubrics = {(q.case, q.measure): q.rubric.name for q in questions}
    assert rubrics["one", "cp"] == "cp"
    assert rubrics["two", "cp"] == "cp-several"
    assert rubrics["ink", "cp"] == "cp-style"
    assert len({q.unit(JUDGE, DYNAIP) for q in questions}) == len(questions) == 14


def test_the_rubric_names_subject_place_and_prompt(results: Results) -> None:
    questions = list(ask_about(results, DYNAIP, OURS))
    cat = next(q for q in questions if (q.case, q.subject) == ("two", 1))
    assert "this cat, on the right, and judge no other" in cat.text
    prompt = next(q for q in questions if (q.case, q.measure) == ("two", "pf"))
    assert "<<<a dog and a cat>>>" in prompt.text
    for question in questions:
        assert "{" not in question.text


@pytest.mark.parametrize(
    ("lefts", "places"),
    [
        ((0.0, 0.5), ["left", "right"]),
        ((0.0, 1 / 3, 2 / 3), ["left", "middle", "right"]),
        ((0.5, 0.0), [None] * 2),  # not in the order of the prompt
        ((0.2, 0.2), [None] * 2),  # worn
        ((0.0, None), [None] * 2),
    ],
)
def test_a_place_is_named_only_where_subjects_stand_side_by_side(
    results: Results, lefts: tuple[float | None, ...], places: list[str | None]
) -> None:
    case = next(case for case in results.manifest.cases if case.id == "two")
    subjects = tuple(
        dataclasses.replace(
            case.subjects[0], box=None if left is None else (left, 0.0, left + 0.3, 1.0)
        )
        for left in lefts
    )
    manifest = dataclasses.replace(
        results.manifest, cases=(dataclasses.replace(case, subjects=subjects),)
    )
    asked = ask_about(dataclasses.replace(results, manifest=manifest), DYNAIP, OURS)
    texts = [question.text for question in asked if question.picture == 0][: len(lefts)]
    for text, place in zip(texts, places, strict=True):
        assert f"this dog{f', on the {place}' if place else ''}, and judge no other" in text


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda each: each.name)
def test_the_judge_is_told_no_place_of_clothes_that_are_worn(
    results: Results, combination: Combination
) -> None:
    case = next(case for case in results.manifest.cases if case.id == "two")
    boxes = preset_boxes(combination)
    subjects = tuple(dataclasses.replace(case.subjects[0], box=box) for box in boxes)
    cases = (dataclasses.replace(case, subjects=subjects),)
    manifest = dataclasses.replace(results.manifest, cases=cases)
    asked = list(ask_about(dataclasses.replace(results, manifest=manifest), DYNAIP, OURS))
    placed = {", on the " in question.text for question in asked if question.measure == "cp"}
    assert placed == {not combination.wears}


def test_repeats_are_questions_of_their_own(results: Results) -> None:
    protocol = dataclasses.replace(DYNAIP, repeats=3)
    questions = list(ask_about(results, protocol, OURS))
    assert len({q.unit(JUDGE, protocol) for q in questions}) == 3 * 14
    keys = {q.key(JUDGE, protocol, q.messages(protocol)) for q in questions}
    assert len(keys) == 3 * 14


def test_what_is_sent_is_the_reference_and_then_the_picture(results: Results) -> None:
    question = next(ask_about(results, STRICT, OURS))
    (message,) = question.messages(STRICT)
    text, reference, answer = message["content"]
    assert text == {"type": "text", "text": question.text}
    for part, seed in ((reference, 0), (answer, 10)):
        data = part["image_url"]["url"].removeprefix("data:image/png;base64,")
        sent = Image.open(BytesIO(base64.b64decode(data)))
        assert np.array_equal(sent, picture(seed))


def test_dreambenchpp_s_pictures_are_asked_for_in_high_detail(results: Results) -> None:
    for protocol in PROTOCOLS.values():
        (message,) = next(ask_about(results, protocol, OURS)).messages(protocol)
        details = {part["image_url"].get("detail") for part in message["content"][1:]}
        assert details == ({"high"} if protocol.name == "dreambenchpp" else {None})


def test_dreambenchpp_s_pictures_are_squeezed_to_512() -> None:
    data = encode_picture(picture(0), "jpeg-512").removeprefix("data:image/jpeg;base64,")
    expected = BytesIO()
    # Its own code leaves the quality to Pillow, which takes 75.
    picture(0).resize((512, 512)).save(expected, "JPEG")
    assert base64.b64decode(data) == expected.getvalue()


def test_what_is_transparent_is_sent_as_white() -> None:
    for encoding in ("jpeg-512", "png-native"):
        data = encode_picture(Image.new("RGBA", (8, 8), (9, 9, 9, 0)), encoding).partition(",")[2]
        sent = Image.open(BytesIO(base64.b64decode(data)))
        assert sent.convert("RGB").getextrema() == ((255, 255),) * 3


def test_the_presets_are_what_the_documentation_says() -> None:
    theirs, paper = (
        PROTOCOLS["dreambenchpp"],
        ("OpenGVLab/InternVL3-78B", "Qwen/Qwen3-VL-32B-Instruct"),
    )
    assert (theirs.official, theirs.encoding, theirs.reading) == (True, "jpeg-512", "faithful")
    assert (theirs.temperature, theirs.repeats, theirs.judges) == (1, 3, ("gpt-4o-2024-05-13",))
    assert (DYNAIP.judges, DYNAIP.encoding, DYNAIP.reading) == (paper, "jpeg-512", "tolerant")
    assert (STRICT.judges, STRICT.encoding, STRICT.expected) == (paper, "png-native", True)
    for ours in (DYNAIP, STRICT):
        assert (ours.official, ours.temperature, ours.repeats) == (False, 0, 1)


def test_the_key_is_of_everything_that_matters(results: Results) -> None:
    question = next(ask_about(results, STRICT, OURS))
    messages = question.messages(STRICT)
    keys = [
        question.key(JUDGE, STRICT, messages),
        question.key(Judge(model="other"), STRICT, messages),
        question.key(Judge(model="judge", revision="2"), STRICT, messages),
        question.key(JUDGE, dataclasses.replace(STRICT, temperature=1.0), messages),
        dataclasses.replace(question, repeat=1).key(JUDGE, STRICT, messages),
        dataclasses.replace(question, rubric=OURS["pf"]).key(JUDGE, STRICT, messages),
    ]
    assert isinstance(question.pictures[1], Path)
    picture(99).save(question.pictures[1])
    keys.append(question.key(JUDGE, STRICT, question.messages(STRICT)))
    assert len(set(keys)) == len(keys)
    picture(10).save(question.pictures[1])
    assert question.key(JUDGE, STRICT, question.messages(STRICT)) == keys[0]


def test_official_rubrics_are_the_published_ones_or_none(results: Results, tmp_path: Path) -> None:
    folder = tmp_path / "checkout" / "dreambench_plus" / "prompts"
    folder.mkdir(parents=True)
    hashes = {}
    for name, stem in (("cp", "subject"), ("cp-style", "style"), ("pf", "text")):
        ends = []
        for who in ("user", "gpt"):
            text = f"{who} on {stem}"
            (folder / f"{who}_{stem}_full.txt").write_text(text)
            ends.append(hashlib.sha256(text.encode()).hexdigest()[:16])
        hashes[name] = (stem, *ends)
    rubrics = official_rubrics(tmp_path / "checkout", hashes)
    asked = list(ask_about(results, DYNAIP, rubrics))
    first, last = asked[0].messages(DYNAIP), asked[-1].messages(DYNAIP)
    assert [message["role"] for message in first] == ["user", "assistant", "user"]
    assert [m["content"][0]["text"] for m in first[:2]] == ["user on subject", "gpt on subject"]
    assert [part["type"] for part in first[2]["content"]] == ["image_url", "image_url"]
    assert [part["type"] for part in last[2]["content"]] == ["text", "image_url"]
    assert last[2]["content"][0]["text"] == "a boat"
    with pytest.raises(ValueError, match="not the published rubric"):
        official_rubrics(tmp_path / "checkout")
    (folder / "user_text_full.txt").unlink()
    with pytest.raises(ValueError, match=r"user_text_full\.txt is missing"):
        official_rubrics(tmp_path / "checkout", hashes)


def test_another_revision_is_another_judge(results: Results) -> None:
    question = next(ask_about(results, DYNAIP, OURS))
    units = {question.unit(Judge(model="m", revision=r), DYNAIP).scorer for r in ("", "1", "2")}
    assert units == {"m", "m@1", "m@2"}


def test_unknown_protocols_are_refused() -> None:
    with pytest.raises(ValueError, match="dynaip, dreambenchpp, strict"):
        get_protocol("lenient")
