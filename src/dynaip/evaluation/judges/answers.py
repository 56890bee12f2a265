"""From a judge's answer to a score, or to the reason why there is none."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from dynaip.evaluation.scores import Status

Reading = Literal["tolerant", "faithful"]

# "Score (out of 4):", which is not yet the score.
_SCALE = r"(?:[\s*_]*\([^()]*(?:of|to|[-–/])\s*\d+[^()]*\)(?=[\s*_]*[:：=]))?"
# At the beginning of a line; further on only what the rubric asks for, "Score: ", as "a perfect
# score is 4" says nothing of this picture.
_HEADING = rf"^[\s>*_#`\"'-]*(?:(?:final|overall)\s+)?score(?![a-z]){_SCALE}"
_INSIDE = rf"(?<![a-z])(?-i:Score){_SCALE}(?=[\s*_]*[:：=])"
# "Score: 3", "**Score:** 3", "score = [3]", and with DreamBench++'s words "Score: Good (3)"; a
# fraction or a range, "3/4", "3 out of 4", "3-4" or "3 to 4", is seen whole.
_TOLERANT = re.compile(
    rf"(?:{_HEADING}|{_INSIDE})[\s*_:：=\[\]()#`\"']*"
    r"(?:(?:very poor|poor|fair|good|excellent)[\s*_\[(]*)?"
    r"(-?\d+(?:[.,]\d+)?)(\s*(?:/|(?:out )?of|to|or|[-–])\s*\d+)?",
    re.IGNORECASE | re.MULTILINE,
)
# DreamBench++'s own expression, which must match exactly once.
_FAITHFUL = re.compile(r"(?:score|Score):\s*[a-zA-Z]*\s*(\d+)")
_REFUSAL = re.compile(
    r"\b(?:i(?:['’]m| am) (?:sorry|unable|not able)|i can(?:no|['’])t|i won['’]t"
    r"|cannot (?:assist|help))",
    re.IGNORECASE,
)


class Candidate(NamedTuple):
    """One of the most likely tokens at a place of the answer."""

    token: str
    logprob: float


class Reply(NamedTuple):
    """What came back.

    Attributes:
        text: The answer.
        finish: Why it ended, in OpenAI's words: "stop", "length", "content_filter".
        candidates: For each token of the answer, the likeliest tokens; empty where the server
            gives none.
        prompt_tokens, answer_tokens: As the server counts them; 0 where it does not.
    """

    text: str
    finish: str = "stop"
    candidates: Sequence[Sequence[Candidate]] = ()
    prompt_tokens: int = 0
    answer_tokens: int = 0


class Judgement(NamedTuple):
    """What an answer says."""

    status: Status
    score: float | None


def read_answer(reply: Reply, scale: tuple[float, float], reading: Reading) -> Judgement:
    """The score of an answer.

    The tolerant reading takes the last score that begins a line, or stands after "Score:", and sees
    through Markdown and brackets, but guesses nothing: a fraction, a range, or a number off the
    scale, is out of range, and what is said of scores elsewhere is not one. The faithful reading is
    that of DreamBench++; it cannot see fractions, and does not forgive a second mention. A number
    on which the longest answer ended may have been about to go on, as a 1 to 10: that is truncated.

    Args:
        reply: The answer.
        scale: Lowest and highest score, whole numbers.
        reading: How lenient to be.
    """
    if reply.finish == "content_filter":
        return Judgement("refused", None)
    matches = list((_TOLERANT if reading == "tolerant" else _FAITHFUL).finditer(reply.text))
    if not matches or (reading == "faithful" and len(matches) > 1):
        return Judgement(_why_none(reply), None)
    if reply.finish == "length" and matches[-1].end() == len(reply.text):
        return Judgement("truncated", None)
    if reading == "tolerant" and matches[-1][2]:
        return Judgement("out_of_range", None)
    score = float(matches[-1][1].replace(",", "."))
    low, high = scale
    if not (low <= score <= high and score.is_integer()):
        return Judgement("out_of_range", None)
    return Judgement("ok", score)


def expected_score(reply: Reply, scale: tuple[float, float], said: float) -> float | None:
    """The mean of the scores that the judge weighed: sum of k p(k) at its score's token.

    Args:
        reply: The answer.
        scale: Lowest and highest score, whole numbers.
        said: The score that was read in the answer.

    Returns:
        Nothing where the server gave no candidates, or none of them is the score that was said.
    """
    low, high = (int(end) for end in scale)
    marks = {str(score): score for score in range(low, high + 1)}
    for candidates in reversed(reply.candidates):
        likeliest = max(candidates, key=lambda each: each.logprob, default=None)
        if likeliest is None or marks.get(likeliest.token.strip()) != said:
            continue
        weights = [
            (marks[mark], math.exp(logprob))
            for token, logprob in candidates
            if (mark := token.strip()) in marks
        ]
        return sum(score * weight for score, weight in weights) / sum(w for _, w in weights)
    return None


def _why_none(reply: Reply) -> Status:
    if reply.finish == "length":
        return "truncated"
    return "refused" if _REFUSAL.search(reply.text) else "parse_error"
