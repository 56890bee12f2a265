import math

import pytest

from dynaip.evaluation.judges.answers import Candidate, Reply, expected_score, read_answer

SCALE = (0.0, 4.0)


@pytest.mark.parametrize(
    ("text", "tolerant", "faithful"),
    [
        ("Score: 3", 3, 3),
        ("It fits.\n\nScore: Good 4", 4, 4),
        ("**Score:** 3", 3, None),
        ("Score: **3**", 3, None),
        ("Score: [3]", 3, None),
        ("Score: Good (3)", 3, None),
        ("Score: Very Poor 0", 0, None),
        ("SCORE: 3", 3, None),
        ("### Score\n2", 2, None),
        ("Score：1", 1, None),
        ("Score: 3. On second thought, Score: 2", 2, None),
        ("A score: 0 would be for nothing. Score: 4", 4, None),
        ("__Score__: 3", 3, None),
        ("Score: 3 - most of it is right", 3, 3),
        ("Score: 3, two ears are missing", 3, 3),
        ("Score: 3 (scores go from 0 to 4)", 3, 3),
        # A number that is not the score stands nearer to the end, or to the word.
        ("Score (out of 4): 3", 3, None),
        ("**Score (0–4):** 3", 3, None),
        ("It fits. Score (0-4): 3", 3, None),
        ("Final score: 3", 3, 3),
        ("Score: 2\nA perfect score is 4", 2, 2),
        ("Score: 3 (a score of 4 would need both ears)", 3, 3),
        ("Score: 2\n\nThe score reflects 3 faults.", 2, 2),
        ("Score: 2\nScore lowered for 3 faults.", 2, 2),
        ("Score: 2, as a Score 4 would need both ears.", 2, 2),
        ("Score: 3 (score: 4 would need both ears)", 3, None),
    ],
)
def test_scores_are_found(text: str, tolerant: int, faithful: int | None) -> None:
    """The list holds what DreamBench++'s own expression is known to reject."""
    assert read_answer(Reply(text), SCALE, "tolerant") == ("ok", tolerant)
    status = "parse_error" if faithful is None else "ok"
    assert read_answer(Reply(text), SCALE, "faithful") == (status, faithful)


@pytest.mark.parametrize(
    "text",
    [
        *("Score: 10", "Score: -1", "Score: 5"),
        *("Score: 3.5", "Score: 3,5", "Score: 3/4", "Score: 3 out of 4", "Score: 3 of 4"),
        *("Score: 3-4", "Score: 3–4", "Score: 3 to 4", "Score: 3 or 4", "Score (3 to 4)"),
        "Score (3-4) 2 ears are missing",
    ],
)
def test_what_is_off_the_scale_is_not_guessed(text: str) -> None:
    assert read_answer(Reply(text), SCALE, "tolerant") == ("out_of_range", None)


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply("The dog is the same."), "parse_error"),
        (Reply(""), "parse_error"),
        (Reply("Score: three"), "parse_error"),
        (Reply("A perfect score is 4, and this is none."), "parse_error"),
        (Reply("The score follows from 3 faults."), "parse_error"),
        (Reply("I'm sorry, but I can't help with that."), "refused"),
        (Reply("I cannot assist with pictures of people."), "refused"),
        (Reply("I’m sorry, this shows a person."), "refused"),
        (Reply("I can’t compare faces."), "refused"),
        (Reply("Score: 3", finish="content_filter"), "refused"),
        (Reply("The dog is", finish="length"), "truncated"),
    ],
)
@pytest.mark.parametrize("reading", ["tolerant", "faithful"])
def test_why_there_is_no_score_is_kept(reply: Reply, status: str, reading: str) -> None:
    judgement = read_answer(reply, SCALE, reading)  # pyright: ignore[reportArgumentType]
    assert judgement == (status, None)


def test_an_answer_cut_after_its_score_counts_and_one_cut_inside_it_does_not() -> None:
    for reading in ("tolerant", "faithful"):
        after = read_answer(Reply("Score: 3\nBecause", finish="length"), SCALE, reading)
        assert after == ("ok", 3)
        inside = read_answer(Reply("Score: 1", finish="length"), SCALE, reading)
        assert inside == ("truncated", None)


def test_the_expected_score_is_read_at_the_score_that_was_said() -> None:
    def at(*shares: tuple[str, float]) -> list[Candidate]:
        return [Candidate(token, math.log(share)) for token, share in shares]

    candidates = [
        at(("3", 0.9), ("0", 0.1)),  # "3 points would be for ..."
        at(("Score", 1.0)),
        at((" 3", 0.5), ("2", 0.3), ("3", 0.1), ("7", 0.05), ("x", 0.05)),
        at(("\n", 0.7), ("0", 0.3)),
        at(("2", 1.0)),  # "... of the 2 subjects"
    ]
    found = expected_score(Reply("", candidates=candidates), SCALE, 3)
    assert found == pytest.approx((3 * 0.6 + 2 * 0.3) / 0.9)
    assert expected_score(Reply("Score: 3"), SCALE, 3) is None
    assert expected_score(Reply("", candidates=candidates), SCALE, 1) is None
    assert expected_score(Reply("", candidates=[[], at(("x", 1.0))]), SCALE, 3) is None
