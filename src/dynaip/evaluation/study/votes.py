"""Votes as the page writes them, and what they mean once the key is at hand."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dynaip.evaluation.study.design import FORMAT, QUESTIONS, TIE, VERSION

Outcome = Literal["win", "tie", "lose"]
_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PAGE_DATA = re.compile(r'<script type="application/json" id="study">\{"id": "([0-9a-f]+)"')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vote:
    """One answer to one question.

    Attributes:
        study: The study's id.
        voter: Who; a random number unless the organiser gave names.
        pair: The pair's id.
        showing: 1 where the pair is shown again, else 0.
        question: `cp`, `pf` or `os`.
        choice: The preferred picture's token, or `tie`.
        left: The token that stood on the left.
        position: Of the pair in this voter's sequence.
        seconds: From the pair's appearance to the vote.
        time: When, in ISO 8601 and UTC.
    """

    study: str
    voter: str
    pair: str
    showing: int
    question: str
    choice: str
    left: str
    position: int
    seconds: float
    time: str

    @classmethod
    def from_row(cls, row: object) -> Vote:
        """A vote from JSON values.

        Raises:
            ValueError: It is no vote.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(row, dict) or sorted(row) != sorted(names):
            raise ValueError(f"A vote has exactly the fields {', '.join(names)}.")
        texts = [row[name] for name in ("study", "voter", "pair", "choice", "left")]
        if not all(isinstance(text, str) and _TOKEN.fullmatch(text) for text in texts):
            raise ValueError("Names in a vote are of letters, digits, '.', '_' and '-'.")
        if row["question"] not in QUESTIONS or row["showing"] not in (0, 1):
            raise ValueError(f"A vote answers one of {', '.join(QUESTIONS)}, at showing 0 or 1.")
        if not _is_number(row["position"], int) or not _is_number(row["seconds"], int, float):
            raise ValueError("A vote's position and seconds are numbers, and not below zero.")
        if not isinstance(row["time"], str) or len(row["time"]) > 40:
            raise ValueError("A vote's time is a date and time in ISO 8601.")
        return cls(**row)

    def to_row(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


def _is_number(value: object, *kinds: type) -> bool:
    return type(value) in kinds and 0 <= value < 1e9  # pyright: ignore[reportOperatorIssue]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """A vote, unblinded.

    Attributes:
        voter: Who.
        competitor: Whom our method was compared with.
        item: Case and picture.
        question: `cp`, `pf` or `os`.
        outcome: `win` where the competitor was preferred, as the paper counts.
        left: Whether the picture on the left was preferred; `None` for a tie.
    """

    voter: str
    competitor: str
    item: str
    question: str
    outcome: Outcome
    left: bool | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ballots:
    """All votes of a study, unblinded, the last one where an answer was changed.

    Attributes:
        ours: Name of our method.
        competitors: Names of the others, in the study's order.
        judgements: First showings: what is counted.
        checks: Of each voter, whether each answer to a check was right.
        repeats: Of each voter, whether each answer was the same when the pair came again.
    """

    ours: str
    competitors: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    checks: dict[str, list[bool]]
    repeats: dict[str, list[bool]]


def study_of_page(page: Path) -> str:
    """The id of the study that a page shows.

    Raises:
        ValueError: It is no study page.
    """
    found = _PAGE_DATA.search(page.read_text())
    if found is None:
        raise ValueError(f"{page} is no study page; make one with `dynaip study make`.")
    return found[1]


def read_key(path: Path) -> dict[str, Any]:
    """The key of a study.

    Raises:
        ValueError: It is no key, or one of another version.
    """
    try:
        key = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no study key: {error}.") from error
    if not isinstance(key, dict) or key.get("format") != FORMAT or key.get("version") != VERSION:
        raise ValueError(
            f"{path} is no study key of version {VERSION}; give the .key.json that "
            "`dynaip study make` wrote beside the page."
        )
    return key


class VoteFiles(NamedTuple):
    """What files of votes hold.

    Attributes:
        votes: All rows, in their order.
        torn: The files whose last line was cut short, and is left out.
    """

    votes: list[Vote]
    torn: list[Path]


def read_votes(paths: Iterable[Path]) -> VoteFiles:
    """Reads files of votes.

    Raises:
        ValueError: A line other than a torn last one is no vote.
    """
    votes, torn = [], []
    for path in paths:
        # A whole file ends in a newline; what stands after it was being written.
        *lines, tail = path.read_text().split("\n")
        torn += [path] if tail.strip() else []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                votes.append(Vote.from_row(json.loads(line)))
            except ValueError as error:
                raise ValueError(f"Line {number} of {path} is no vote: {error}") from error
    return VoteFiles(votes, torn)


def unblind(votes: Sequence[Vote], key: dict[str, Any]) -> Ballots:
    """Counts the last answer of each voter to each question, and says whom it preferred.

    Votes may come twice, posted and downloaded; they count once.

    Raises:
        ValueError: A vote is of another study, or of a pair or picture that the key does not know.
    """
    answers: dict[tuple[str, str, str, int], Vote] = {}
    for vote in sorted(votes, key=lambda vote: vote.time):
        _check_vote(vote, key)
        answers[vote.voter, vote.pair, vote.question, vote.showing] = vote
    checks: dict[str, list[bool]] = {}
    repeats: dict[str, list[bool]] = {}
    judgements = []
    for (voter, pair, question, showing), vote in answers.items():
        entry = key["pairs"][pair]
        if showing:
            first = answers.get((voter, pair, question, 0))
            if first is not None:
                repeats.setdefault(voter, []).append(first.choice == vote.choice)
        elif entry["expected"] is not None:
            checks.setdefault(voter, []).append(vote.choice == entry["expected"])
        else:
            judgements.append(_judgement(vote, entry))
    return Ballots(
        ours=key["ours"],
        competitors=tuple(key["competitors"]),
        judgements=tuple(judgements),
        checks=checks,
        repeats=repeats,
    )


def _check_vote(vote: Vote, key: dict[str, Any]) -> None:
    if vote.study != key["study"]:
        raise ValueError(
            f"A vote by {vote.voter} is of study {vote.study}, and the key is of {key['study']}."
        )
    methods = key["pairs"].get(vote.pair, {}).get("methods", {})
    if vote.left not in methods or vote.choice not in (*methods, TIE):
        raise ValueError(
            f"A vote by {vote.voter} on pair {vote.pair} names pictures that the key does not know."
        )


def _judgement(vote: Vote, entry: dict[str, Any]) -> Judgement:
    outcome: Outcome = "tie"
    if vote.choice != TIE:
        preferred = entry["methods"][vote.choice]
        outcome = "win" if preferred == entry["competitor"] else "lose"
    return Judgement(
        voter=vote.voter,
        competitor=entry["competitor"],
        item=f"{entry['case']}/{entry['picture']}",
        question=vote.question,
        outcome=outcome,
        left=None if vote.choice == TIE else vote.choice == vote.left,
    )
