"""Advantage ratios: the paper's formula, its known variance, and voters as clusters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation.study.cases import vote

from dynaip.evaluation.study.design import Study
from dynaip.evaluation.study.report import study_tables
from dynaip.evaluation.study.scoring import advantage, davidson_scale
from dynaip.evaluation.study.votes import Judgement, Vote, unblind
from dynaip.evaluation.tables import write_tables


def judgement(
    outcome: str, voter: object, item: object = 0, competitor: str = "rival"
) -> Judgement:
    return Judgement(
        voter=str(voter),
        competitor=competitor,
        item=str(item),
        question="cp",
        outcome=outcome,  # pyright: ignore[reportArgumentType]
        left=None if outcome == "tie" else True,
    )


def votes(win: int, tie: int, lose: int) -> list[Judgement]:
    """Every vote by another voter on another item."""
    outcomes = ["win"] * win + ["tie"] * tie + ["lose"] * lose
    return [judgement(outcome, index, index) for index, outcome in enumerate(outcomes)]


def test_the_papers_formula() -> None:
    found = advantage(votes(win=20, tie=10, lose=70))
    assert (found.win, found.tie, found.lose) == (20, 10, 70)
    assert found.ratio.value == pytest.approx(30 / 80)
    assert found.ratio.low < 30 / 80 < found.ratio.high < 1
    assert found.p < 0.001


def test_independent_votes_have_the_known_interval() -> None:
    win, tie, lose = 200, 120, 280
    found = advantage(votes(win, tie, lose))
    count = win + tie + lose
    variance = (win + lose) / count / (count * (win + tie) / count * (lose + tie) / count)
    high = found.ratio.value * math.exp(1.96 * math.sqrt(variance))
    assert found.ratio.high == pytest.approx(high, rel=0.02)
    assert found.both_ways.high == pytest.approx(high, rel=0.005)


def test_a_voter_is_one_opinion() -> None:
    rng = np.random.default_rng(0)
    minds = rng.random(20) < 0.5
    many = [judgement("win" if minds[v] else "lose", v, i) for v in range(20) for i in range(30)]
    found = advantage(many)
    alone = advantage([judgement("win" if mind else "lose", v) for v, mind in enumerate(minds)])
    assert found.ratio == pytest.approx(alone.ratio)
    assert found.p == pytest.approx(alone.p)


def test_no_doubt_is_infinite_and_one_voter_has_no_interval() -> None:
    assert advantage(votes(win=5, tie=0, lose=0)).ratio.value == math.inf
    assert advantage(votes(win=0, tie=5, lose=0)).ratio == (1, 1, 1)
    lonely = advantage([judgement("win", 0), judgement("lose", 0, 1)])
    assert lonely.ratio.value == 1
    assert math.isnan(lonely.ratio.low)
    assert math.isnan(lonely.both_ways.low)


def test_the_scale_leaves_out_who_has_no_votes() -> None:
    several = [*votes(win=30, tie=10, lose=20), judgement("lose", 0, competitor="third")]
    rival, third = davidson_scale(["rival", "absent", "third"], several)
    assert rival.preferred.value == pytest.approx(0.6, abs=0.02)
    assert rival.preferred.low < 0.6 < rival.preferred.high
    assert (third.competitor, third.preferred.value) == ("third", pytest.approx(0, abs=1e-4))


def cast(study: Study, voter: str, prefers: str, **changes: object) -> list[Vote]:
    """A vote on every pair for the named method, or a tie where it is not in the pair."""
    rows = []
    for pair in [pair for group in study.groups.values() for pair in group]:
        left = next(iter(pair.pictures))
        choice = next((t for t, name in pair.methods.items() if name == prefers), "tie")
        for question in ("cp", "pf", "os"):
            row = vote(
                study, voter=voter, pair=pair.id, choice=choice, left=left, question=question
            )
            rows.append(Vote.from_row({**row, **changes}))
    return rows


def check(study: Study, voter: str, right: bool) -> Vote:
    (pair,) = study.checks
    (wrong,) = set(pair.pictures) - {pair.expected}
    choice = pair.expected if right else wrong
    return Vote.from_row(vote(study, voter=voter, pair=pair.id, choice=choice, left=wrong))


def test_tables_in_the_shape_of_table_4(study: Study) -> None:
    cast_votes = [
        *cast(study, "ann", "rival"),
        *cast(study, "bob", "ours"),
        *cast(study, "eve", "rival"),
        check(study, "ann", right=True),
        check(study, "eve", right=False),
    ]
    ballots = unblind(cast_votes, study.key())
    ratios, counts, scale, agreement, voters = study_tables(ballots)
    assert ratios.columns == ("method", "CP", "PF", "OS")
    # Of five pairs each: two voters prefer the rival, who is in its own pairs only.
    assert [row[1].value for row in ratios.rows] == pytest.approx([2.0, 10 / 15])
    assert counts.rows[0][:5] == ("rival", "CP", 10, 0, 5)
    assert [row[1] for row in scale.rows] == ["rival", "third"] * 3
    assert [row[0] for row in agreement.rows] == ["CP", "PF", "OS"]
    assert voters.rows[0] == ("ann", 30, "1 of 1", None, voters.rows[0][4], "yes")
    assert "| rival | 2.000 (" in write_tables([ratios], "markdown")
    assert "Of 3 voters, intervals are too narrow and no p can be under 0.25" in ratios.notes[-1]
    many = [*cast_votes, *(v for n in range(8) for v in cast(study, f"voter-{n}", "ours"))]
    assert "11 voters." in study_tables(unblind(many, study.key()))[0].notes[-1]


def test_voters_who_fail_the_checks_can_be_left_out(study: Study) -> None:
    cast_votes = [
        *cast(study, "ann", "rival"),
        *cast(study, "eve", "ours"),
        check(study, "eve", right=False),
    ]
    ballots = unblind(cast_votes, study.key())
    *_, voters = tables = study_tables(ballots, least_checks=0.5)
    assert tables[1].rows[0][:5] == ("rival", "CP", 5, 0, 0)
    assert [row[-1] for row in voters.rows] == ["yes", "no"]
    with pytest.raises(ValueError, match="No vote is left"):
        study_tables(unblind([], study.key()))
