"""From a judge's answer to a score, or to the reason why there is none."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from dynaip.evaluation.scores import Status

Reading = Literal["tolerant", "faithful"]

# Markdown's marks and LaTeX's, which say nothing.
_MARKS = str.maketrans({**dict.fromkeys("*`$"), "_": " "})
# What all that is asked for may be called; "shape consistency" is a part of it.
_MEASURE = (
    r"(?:(?:concept|subject|identity|style|visual|semantic|image|text|prompt)[\s-]+)*"
    r"(?:preservation|following|adherence|alignment|consistency|similarity)(?:\s*\((?:cp|pf)\))?"
)
# "Score", "My score", "Final score", "Prompt following score".
_NAME = (
    r"(?<![a-z])(?P<name>(?:(?:the|my)\s+)?(?P<final>(?:final|overall|evaluation)\s+)?"
    rf"(?P<measure>(?:{_MEASURE}|cp|pf)\s+)?score)(?![a-z])"
)
# "Score (out of 4):", which is not yet the score.
_SCALE = r"(?:\s*\([^()]*(?:of|to|[-–/])\s*[0-9]+[^()]*\)(?=\s*[:：=]))?"
_NUMBER = r"[0-9]+(?:[.,][0-9]+)?"
# "Score: 3", "score = [3]", "Score - 3", "Score: \boxed{3}", and with DreamBench++'s words "Score:
# Good (3)".
_SCORE = (
    r"(?P<gap>[ \t]+[-–—][ \t]+|[\s:：=\[\]()#\"']*)(?:\\boxed\{)?"
    rf"(?:(?:very poor|poor|fair|good|excellent)[\s\[(]*)?(?P<score>-?{_NUMBER})"
)
# "3/4", "3 out of 4", "3 (of 4)".
_OF = rf"(?:[\])}}]*[ \t]*(?:/|out of|\([ \t]*(?:out )?of)[ \t]*(?P<of>{_NUMBER}))?"
# "3-4", "3 to 4", "3 or even 4", "3½"; "3 out of five", "4 of 4 legs", "2/4 for colours".
_MORE = (
    rf"(?P<more>[½¼¾%+]|[ \t]*(?:to|or(?: \w+)?|[-–—~])[ \t]*{_NUMBER}|[ \t]*\(?(?:out )?of\b"
    r"|(?(of)[ \t]+for\b|(?!)))?"
)
_MENTION = re.compile(f"{_NAME}{_SCALE}{_SCORE}{_OF}{_MORE}", re.IGNORECASE)
_LINE_ENDS = re.compile(r"[^\w\n]*$", re.MULTILINE)
# Words that may stand before "Score: 3" in a sentence though they begin with a capital letter.
_LEADING = {"answer", "hence", "i", "output", "so", "therefore", "thus"}
# DreamBench++'s own expression, which must match exactly once.
_FAITHFUL = re.compile(r"(?:score|Score):\s*[a-zA-Z]*\s*(?P<score>\d+)")
# What may stand between a number and more of it.
_UNFINISHED = re.compile(r"[ \t.,/(–-]*(?:out of|out|of|to|or)?[ \t]*", re.IGNORECASE)
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
    through Markdown and brackets, but guesses nothing: a range, a fraction such as 3/5, or a number
    off the scale, is out of range, and what is said elsewhere of scores, or of parts of what was
    asked, is not one. Scores that are named after what they measure count where all of them are the
    same, and the last one without such a name, too. The faithful reading is that of DreamBench++;
    it cannot see fractions, and does not forgive a second mention. A number on which the longest
    answer ended may have been about to go on, as a 1 to 10: that is truncated.

    Args:
        reply: The answer.
        scale: Lowest and highest score, whole numbers.
        reading: How lenient to be.
    """
    if reply.finish == "content_filter":
        return Judgement("refused", None)
    found = _find(reply.text, reading)
    if found is None:
        return Judgement(_why_none(reply), None)
    if reply.finish == "length" and _UNFINISHED.fullmatch(found.string, found.end()):
        return Judgement("truncated", None)
    score, (low, high) = _number(found["score"]), scale
    if reading == "tolerant" and (found["more"] or _number(found["of"] or str(high)) != high):
        return Judgement("out_of_range", None)
    if not (low <= score <= high and score.is_integer()):
        return Judgement("out_of_range", None)
    return Judgement("ok", score)


def expected_score(reply: Reply, scale: tuple[float, float], reading: Reading) -> float | None:
    """The mean of the scores that the judge weighed: sum of k p(k) at its score's token.

    Args:
        reply: The answer.
        scale: Lowest and highest score, whole numbers.
        reading: How lenient it was read.

    Returns:
        Nothing where the server gave no candidates, there is no score, or it is no token by itself.
    """
    low, high = (int(end) for end in scale)
    marks = {str(score): score for score in range(low, high + 1)}
    found = _find(reply.text, reading)
    if found is None:
        return None
    said = f"{_number(found['score']):g}"
    # The same digit may come again, "3 (3 legs are right)". Counted from the end, as thoughts that
    # are no part of the answer may come before it.
    left = found.string.count(said, found.start("score"))
    for candidates in reversed(reply.candidates):
        likeliest = max(candidates, key=lambda each: each.logprob, default=None)
        left -= likeliest.token.count(said) if likeliest else 0
        if left > 0 or not likeliest:
            continue
        if likeliest.token.strip() != said:
            return None
        weights = [
            (marks[mark], math.exp(logprob))
            for token, logprob in candidates
            if (mark := token.strip()) in marks
        ]
        return sum(score * weight for score, weight in weights) / sum(w for _, w in weights)
    return None


def _find(text: str, reading: Reading) -> re.Match[str] | None:
    """Where an answer says its score."""
    if reading == "faithful":
        mentions = list(_FAITHFUL.finditer(text))
        return mentions[0] if len(mentions) == 1 else None
    told = [each for each in _MENTION.finditer(text.translate(_MARKS)) if _is_told(each)]
    named = [each for each in told if each["measure"] and not each["final"]]
    last = next((each for each in reversed(told) if each not in named), None)
    rivals = named if last is None else [each for each in named if each.start() > last.start()]
    found = [*rivals, *([] if last is None else [last])]
    return found[-1] if len({each.group("score", "of", "more") for each in found}) == 1 else None


def _is_told(mention: re.Match[str]) -> bool:
    """Whether a number after "score" is the answer's own, and not a part's or a remark's."""
    text, gap = mention.string, mention["gap"]
    # "A score 4 would need", or a list that begins below.
    plain = "\n" not in gap and set(gap) & set(":：=")
    if not plain and not _LINE_ENDS.match(text, mention.end()):
        return False
    before = text[text.rfind("\n", 0, mention.start()) + 1 : mention.start()]
    if not re.search(r"\w", before):
        return True
    # "A perfect score is 4" says nothing of this picture, "Shape Score: 4" and "(Score: 4)" of a
    # part of it.
    if not mention["name"][0].isupper() or not set(gap) & set(":：=-–—"):
        return False
    word = re.search(r"(\w+)[\s-]*$", before)
    part = word is not None and word[1][0].isupper() and word[1].lower() not in _LEADING
    return not part and not before.endswith("(")


def _number(digits: str) -> float:
    return float(digits.replace(",", "."))


def _why_none(reply: Reply) -> Status:
    if reply.finish == "length":
        return "truncated"
    return "refused" if _REFUSAL.search(reply.text) else "parse_error"
