"""Votes: read whole or refused, counted once, and unblinded the right way round."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evaluation.study.cases import vote

from dynaip.evaluation.study.design import Study, write_key
from dynaip.evaluation.study.votes import Vote, read_key, read_votes, unblind


def ballots(study: Study, *rows: dict):
    return unblind([Vote.from_row(row) for row in rows], study.key())


def token_of(study: Study, method: str) -> str:
    pair = study.groups["rival"][0]
    return next(token for token, name in pair.methods.items() if name == method)


@pytest.mark.parametrize(("method", "outcome"), [("rival", "win"), ("ours", "lose")])
def test_a_win_is_the_competitors(study: Study, method: str, outcome: str) -> None:
    token = token_of(study, method)
    for left in (True, False):
        other = token_of(study, "ours" if method == "rival" else "rival")
        row = vote(study, choice=token, left=token if left else other)
        (judgement,) = ballots(study, row).judgements
        assert (judgement.outcome, judgement.left) == (outcome, left)
        assert judgement.competitor == "rival"


def test_the_last_answer_counts_and_counts_once(study: Study) -> None:
    first = vote(study)
    later = vote(study, choice="tie", time="2026-01-01T12:00:09.000Z")
    # Posted and downloaded, and the files given in any order.
    (judgement,) = ballots(study, later, first, later, first).judgements
    assert (judgement.outcome, judgement.left) == ("tie", None)


def test_repeats_and_checks_are_kept_apart(study: Study) -> None:
    (check,) = study.checks
    right = check.expected
    found = ballots(
        study,
        vote(study),
        vote(study, showing=1),
        vote(study, question="pf"),
        vote(study, question="pf", showing=1, choice="tie"),
        vote(study, pair=check.id, choice=right, left=right),
        vote(study, pair=check.id, choice="tie", left=right, question="os"),
    )
    assert len(found.judgements) == 2
    assert found.repeats == {"a1": [True, False]}
    assert found.checks == {"a1": [True, False]}


def test_files_may_end_in_a_torn_line(study: Study, tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    whole = json.dumps(vote(study)) + "\n"
    path.write_text(whole + "\n" + whole[:40])
    found = read_votes([path, path])
    assert (len(found.votes), found.torn) == (2, [path, path])
    path.write_text(whole)
    assert read_votes([path]).torn == []
    path.write_text(whole + '{"voter": 1}\n' + whole)
    with pytest.raises(ValueError, match=r"Line 2 of .*votes.jsonl is no vote"):
        read_votes([path])


@pytest.mark.parametrize(
    "changes",
    [
        {"voter": "a b"},
        {"voter": "x" * 65},
        {"voter": 3},
        {"question": "beauty"},
        {"showing": 2},
        {"position": -1},
        {"position": True},
        {"seconds": float("nan")},
        {"time": "x" * 41},
        {"extra": 1},
    ],
)
def test_what_is_no_vote_is_refused(study: Study, changes: dict) -> None:
    with pytest.raises(ValueError, match="vote"):
        Vote.from_row(vote(study, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"study": "f00"}, "is of study f00"),
        ({"pair": "f00"}, "does not know"),
        ({"choice": "f00"}, "does not know"),
        ({"left": "tie"}, "does not know"),
    ],
)
def test_strange_votes_are_refused(study: Study, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ballots(study, vote(study, **changes))


def test_keys(study: Study, tmp_path: Path) -> None:
    write_key(study, tmp_path / "key.json")
    assert read_key(tmp_path / "key.json") == json.loads(json.dumps(study.key()))
    for text in ("{}", "[", '{"format": "dynaip-study-key", "version": 9}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match="no study key"):
            read_key(tmp_path / "bad.json")
