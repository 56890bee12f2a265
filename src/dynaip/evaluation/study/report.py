"""A study's tables: Table 4, and all that a reader needs to trust it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dynaip.evaluation.agreement import krippendorff_alpha
from dynaip.evaluation.statistics import cluster_bootstrap_mean, holm
from dynaip.evaluation.study.design import QUESTIONS
from dynaip.evaluation.study.scoring import ORDER, Advantage, advantage, davidson_scale
from dynaip.evaluation.study.votes import Ballots, Judgement
from dynaip.evaluation.tables import Cell, Table, show

_Found = dict[tuple[str, str], Advantage]
# With fewer voters, bootstrap intervals are too narrow to lean on.
FEW = 10


def study_tables(ballots: Ballots, *, least_checks: float = 0.0) -> list[Table]:
    """Table 4, the counts behind it, one scale for all methods, agreement, and the voters.

    Args:
        ballots: The votes, unblinded.
        least_checks: Voters who answered a smaller share of the checks right are left out; all
            voters stay in the last table.

    Raises:
        ValueError: No vote is left.
    """
    trusted = {
        voter
        for voter in (judgement.voter for judgement in ballots.judgements)
        if np.mean(ballots.checks.get(voter, [True])) >= least_checks
    }
    judgements = [judgement for judgement in ballots.judgements if judgement.voter in trusted]
    if not judgements:
        raise ValueError("No vote is left to count; collect votes, or ask less of the checks.")
    cells = {
        (competitor, question): [
            judgement
            for judgement in judgements
            if judgement.competitor == competitor and judgement.question == question
        ]
        for competitor in ballots.competitors
        for question in QUESTIONS
    }
    found = {cell: advantage(votes) for cell, votes in cells.items() if votes}
    return [
        _ratio_table(ballots, found, len({judgement.voter for judgement in judgements})),
        _count_table(found),
        _scale_table(ballots, judgements),
        _agreement_table(judgements),
        _voter_table(ballots, trusted),
    ]


def _ratio_table(ballots: Ballots, found: _Found, voters: int) -> Table:
    rows = [
        (
            competitor,
            *(found[cell].ratio if (cell := (competitor, q)) in found else None for q in QUESTIONS),
        )
        for competitor in ballots.competitors
    ]
    return Table(
        title=f"Adjusted advantage ratio of each method over {ballots.ours}",
        columns=("method", *(question.upper() for question in QUESTIONS)),
        rows=tuple(rows),
        notes=(
            "(win + tie) / (lose + tie), where win counts votes for the method of the row: "
            f"below 1, {ballots.ours} is preferred. Ties pull it towards 1.",
            f"Intervals are of 95 %, from a bootstrap over {voters} voters.",
            *_few_notes(voters),
        ),
    )


def _few_notes(voters: int) -> list[str]:
    """What so few voters cannot show."""
    if voters >= FEW:
        return []
    return [
        f"Of {voters} voters, intervals are too narrow and no p can be under "
        f"{2 * 0.5**voters:.3g}: ask {FEW} or more, and look at agreement and checks first.",
    ]


def _count_table(found: _Found) -> Table:
    adjusted = holm([each.p for each in found.values()])
    rows = [
        (
            competitor,
            question.upper(),
            each.win,
            each.tie,
            each.lose,
            each.both_ways,
            each.win / (each.win + each.lose) if each.win + each.lose else None,
            each.p,
            p,
        )
        for ((competitor, question), each), p in zip(found.items(), adjusted, strict=True)
    ]
    return Table(
        title="Votes",
        columns=(
            "method",
            "question",
            "win",
            "tie",
            "lose",
            "ratio, voters and items",
            "win without ties",
            "p",
            "p, Holm",
        ),
        rows=tuple(rows),
        notes=(
            "This interval takes both voters and items as samples of many, so it is usually wider.",
            "p: swapping both methods' names for a voter changes nothing (sign flips over voters); "
            "Holm's adjustment is over all rows.",
        ),
    )


def _scale_table(ballots: Ballots, judgements: Sequence[Judgement]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for question in QUESTIONS:
        votes = [judgement for judgement in judgements if judgement.question == question]
        if votes:
            rows += [(question.upper(), *row) for row in davidson_scale(ballots.competitors, votes)]
    return Table(
        title="Davidson's model",
        columns=("question", "method", f"preferred to {ballots.ours}", "ν"),
        rows=tuple(rows),
        notes=(
            "Probability that the method is preferred where one of the two is, in a model that "
            "puts all methods on one scale and gives ties their share; ν is that share's size. "
            "Intervals are of 95 %, from a bootstrap over voters.",
        ),
    )


def _agreement_table(judgements: Sequence[Judgement]) -> Table:
    rows = []
    for question in QUESTIONS:
        votes = [judgement for judgement in judgements if judgement.question == question]
        units = np.array([f"{vote.competitor}/{vote.item}" for vote in votes])
        if not votes:
            continue
        values = np.array([ORDER[vote.outcome] for vote in votes])
        alphas = [krippendorff_alpha(values, units, scale) for scale in ("ordinal", "nominal")]
        rows.append((question.upper(), *alphas, len(votes) / len(np.unique(units))))
    return Table(
        title="Agreement between voters",
        columns=("question", "α, ordinal", "α, nominal", "votes per item"),
        rows=tuple(rows),
        notes=(
            "Krippendorff's alpha: 1 is agreement, 0 is chance. Ordinal: no difference lies "
            "between the two preferences.",
        ),
    )


def _voter_table(ballots: Ballots, trusted: set[str]) -> Table:
    rows = []
    for voter in sorted({judgement.voter for judgement in ballots.judgements}):
        votes = [judgement for judgement in ballots.judgements if judgement.voter == voter]
        sides = np.array([vote.left for vote in votes if vote.left is not None], dtype=float)
        rows.append(
            (
                voter,
                len(votes),
                _share(ballots.checks.get(voter, [])),
                _share(ballots.repeats.get(voter, [])),
                float(sides.mean()) if len(sides) else None,
                "yes" if voter in trusted else "no",
            )
        )
    return Table(
        title="Voters",
        columns=("voter", "votes", "checks right", "repeats alike", "left preferred", "counted"),
        rows=tuple(rows),
        notes=(
            "Checks show a picture of another case beside the right one. Repeats are the same pair "
            "with sides changed; they are not counted again.",
            _left_note(ballots.judgements),
        ),
    )


def _left_note(judgements: Sequence[Judgement]) -> str:
    sided = [judgement for judgement in judgements if judgement.left is not None]
    found = cluster_bootstrap_mean(
        np.array([judgement.left for judgement in sided], dtype=float),
        np.array([judgement.voter for judgement in sided]),
    )
    return (
        f"Of all preferences {show(found)} went to the left; sides were random, so a half is fair."
    )


def _share(answers: Sequence[bool]) -> str | None:
    return f"{sum(answers)} of {len(answers)}" if answers else None
