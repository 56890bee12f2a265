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
        # Named after what it measures, or as the answer's last word.
        ("Concept preservation score: 3", 3, 3),
        ("**Concept Preservation (CP) Score:** 3", 3, None),
        ("concept_preservation_score: 3", 3, 3),
        ("It fits. **Final score:** 3", 3, None),
        ("Prompt following score: 3\nOverall score: 2", 2, None),
        ("My score: 1", 1, 1),
        ("Prompt following score: 3\n\nSo the CP score: 3", 3, None),
        ("Score: 3\nStyle consistency score: 3", 3, None),
        ("Score: 4 would be an exact copy.\nFinal Concept Preservation Score: 2", 2, None),
        ("Score: 3\nThe score 4 was not given.", 3, 3),
        ("Score: 2\n\nScore - 4 is not given.", 2, 2),
        ("Score: 2\nScore 4 would need the same collar.", 2, 2),
        ("Score: 4 would need the collar.\nI give it Score: 2", 2, None),
        ("Thus Final Score: 2", 2, 2),
        ("The dog matches well, so Score: 3", 3, 3),
        ("Score: 3\nMaximum Score: 4", 3, None),
        ("Shape score: 4\nColour score: 2\nScore: 3", 3, None),
        # Other marks around the number.
        *(("Score - 3", 3, None), ("**Score** – 3", 3, None), ("Final score — 3", 3, None)),
        *((r"Score: $\boxed{3}$", 3, None), ('{"score": 3}', 3, None)),
        *(("Score: 3/4", 3, 3), ("Final score: **3**/4", 3, None), ("Score: 4 out of 4", 4, 4)),
        *(("Score: 3 (of 4)", 3, 3), ("Score: 3.0/4", 3, 3)),
        # A line of its own is no range.
        ("Score: 3\n- 4 legs are right", 3, 3),
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
        *("Score: 3.5", "Score: 3,5", "Score: 3½", "Score: 3+", "Score: 3%", "Score -3"),
        *("Score: 3/5", "Score: 3 out of 10", "Score: 3 (of 5)", "Score: **3**/5", "Score: 7.5/10"),
        *("Score: 3-4", "Score: 3–4", "Score: 3 to 4", "Score: 3 or 4", "Score (3 to 4)"),
        *("Score: 3 or maybe 4", "Score: 3/4 or 4/4", "Score: 3~4", "Score: 3—4"),
        *("Concept preservation score: 5", "Score: 4 of 4 details", "Score: 3 out of five"),
        "Score: 4/4 for shape. Score: 2/4 for colours.",
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


@pytest.mark.parametrize(
    "text",
    [
        "Shape Score: 4\nColour Score: 2",
        "**Shape** Score: 4",
        "Maximum Score: 4",
        "A perfect score: 4",
        "Concept preservation score: 3\nPrompt following score: 2",
        "CP score: 3\nPF score: 3/5",
        "Score: 3\nStyle consistency score: 2",
        *("Shape - Score: 4", "Colour-Score: 4", "**Shape**  Score: 4"),
        "Shape (Score: 4), colour (Score: 2)",
        *("Score:\n\n1. Shape: 3", "Score\n1. The shape matches", "Score 1: 3\nScore 2: 4"),
        *("Score: \uff13", "Score (3-4) 2 ears are missing"),
    ],
)
def test_scores_of_parts_and_of_several_things_are_not_the_score(text: str) -> None:
    assert read_answer(Reply(text), SCALE, "tolerant") == ("parse_error", None)


def test_an_answer_cut_after_its_score_counts_and_one_cut_inside_it_does_not() -> None:
    for reading in ("tolerant", "faithful"):
        after = read_answer(Reply("Score: 3\nBecause", finish="length"), SCALE, reading)
        assert after == ("ok", 3)
        for text in ("Score: 1", "Score: 3.", "Score: 3/", "Score: 3 out of"):
            inside = read_answer(Reply(text, finish="length"), SCALE, reading)
            assert inside == ("truncated", None)


def at(*shares: tuple[str, float]) -> list[Candidate]:
    return [Candidate(token, math.log(share)) for token, share in shares]


def test_the_expected_score_is_read_at_the_score_that_was_said() -> None:
    candidates = [
        at(("3", 0.9), ("0", 0.1)),  # "3 points would be for ..."
        at(("\nScore:", 1.0)),
        at((" 3", 0.5), ("2", 0.3), ("3", 0.1), ("7", 0.05), ("x", 0.05)),
        at(("\n", 0.7), ("0", 0.3)),
        at(("2", 1.0)),  # "... of the 2 subjects"
    ]
    text = "3 points would be for both.\nScore: 3\n2 subjects are there."
    found = expected_score(Reply(text, candidates=candidates), SCALE, "tolerant")
    assert found == pytest.approx((3 * 0.6 + 2 * 0.3) / 0.9)
    assert expected_score(Reply("Score: 3"), SCALE, "tolerant") is None
    other = Reply("Score: 1", candidates=candidates)
    assert expected_score(other, SCALE, "tolerant") is None
    assert (
        expected_score(Reply("Score: 3", candidates=[[], at(("3/", 1.0))]), SCALE, "tolerant")
        is None
    )


def test_the_same_digit_after_the_score_is_not_the_score() -> None:
    """The judge is sure that there are 4 legs, and that 4 is the most."""
    sure = at(("4", 1.0))
    for text, later in (("**Score: 4/4**", 1), ("Score: 4\nAll 4 legs and 44 spots.", 3)):
        tokens = [at(("4", 0.6), ("3", 0.4)), *[sure] * later]
        # What was thought before is in the tokens only.
        reply = Reply(text, candidates=[sure, at(("Score:", 1.0)), *tokens])
        assert expected_score(reply, SCALE, "tolerant") == pytest.approx(3.6)
