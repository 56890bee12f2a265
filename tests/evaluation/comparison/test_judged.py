"""Judgements by picture: means over subjects, repeats and judges, and what is missing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from evaluation.comparison.folders import JUDGES, SUBJECTS, rows, source

from dynaip.evaluation.comparison.judged import Judged, judged
from dynaip.evaluation.comparison.sources import Source
from dynaip.evaluation.scores import ScoreRow


def one(found: Source) -> Judged:
    (method,) = judged(found.results, found.rows)
    return method


def index(method: Judged, case: str) -> int:
    return [picture.case.id for picture in method.pictures].index(case)


def test_scores_become_shares_and_subjects_are_averaged(tmp_path: Path) -> None:
    found = source(tmp_path, "ours", rows(lambda case, measure, s: 4 if s == 0 else 1, "eye"))
    method = one(found)
    assert method.cp.panel()[index(method, "two-3")] == (1 + 0.25) / 2
    assert method.cp.panel()[index(method, "one-3-plain")] == 1
    assert method.pf.panel().tolist() == [1] * (3 * SUBJECTS)
    assert method.cp.coverage == method.pf.coverage == 1


def test_the_panel_is_the_mean_of_its_judges(tmp_path: Path) -> None:
    opinions = {JUDGES[0]: 2, JUDGES[1]: 3}
    attempts = [rows(lambda *_, s=score: s, judge) for judge, score in opinions.items()]
    method = one(source(tmp_path, "ours", *attempts))
    assert method.judges == ("kind-eye", "strict-eye")
    assert np.unique(method.cp.panel()) == 0.625
    assert np.unique(method.cp.by(0).panel()) == 0.75


def test_what_one_judge_misses_has_no_mean_but_ends(tmp_path: Path) -> None:
    def refuses(case: str, measure: str, subject: int) -> int | None:
        return None if (case, subject) == ("two-0", 1) else 2

    attempts = [rows(refuses, JUDGES[0]), rows(lambda *_: 4, JUDGES[1])]
    method = one(source(tmp_path, "ours", *attempts))
    at = index(method, "two-0")
    assert np.isnan(method.cp.panel()[at])
    low, high = method.cp.ends()
    # One judge gives one of two subjects a half; the other gives both a one.
    assert (low[at], high[at]) == (0.625, 0.875)
    # Three prompts with two subjects and one measure each, by two judges.
    assert method.cp.scored.sum() == method.cp.asked.sum() - 1 == 2 * 4 * SUBJECTS - 1
    assert method.failures == {"refused": 1}


def test_repeats_are_averaged_and_their_gaps_counted(tmp_path: Path) -> None:
    first = list(rows(lambda *_: 4, "eye"))
    again = [dataclasses.replace(row, repeat=1, score=2) for row in first[:-1]]
    found = source(tmp_path, "ours", iter([*first, *again]))
    method = one(found)
    assert method.cp.panel()[0] == 0.75
    assert method.pf.panel()[-1] == 1
    assert method.pf.asked.sum() - method.pf.scored.sum() == 1


def test_a_subject_asked_about_more_often_weighs_no_more(tmp_path: Path) -> None:
    first = list(rows(lambda case, measure, s: 0 if s else 4, "eye"))
    again = [dataclasses.replace(r, repeat=1, score=2) for r in first if r.subject == 0]
    method = one(source(tmp_path, "ours", iter([*first, *again])))
    assert method.cp.panel()[index(method, "two-0")] == (0.75 + 0) / 2


def test_protocols_are_never_mixed(tmp_path: Path) -> None:
    attempts = [rows(lambda *_: 4, "eye", p) for p in ("dynaip", "strict", "metric")]
    found = source(tmp_path, "ours", *attempts)
    assert [method.protocol for method in judged(found.results, found.rows)] == ["dynaip", "strict"]


def test_a_judge_that_was_not_asked_for_a_measure_does_not_count(tmp_path: Path) -> None:
    only_pf = [row for row in rows(lambda *_: 2, JUDGES[0]) if row.measure == "pf"]
    found = source(tmp_path, "ours", iter(only_pf), rows(lambda *_: 4, JUDGES[1]))
    method = one(found)
    assert method.cp.panel()[0] == 1
    assert method.pf.panel()[0] == 0.75
    assert method.cp.coverage == 1
    assert one(source(tmp_path, "pf", iter(only_pf))).cp.coverage != 1


def test_a_run_that_stopped_between_repeats_is_not_whole(tmp_path: Path) -> None:
    """DreamBench++'s protocol asks three times."""
    method = one(source(tmp_path, "ours", rows(lambda *_: 4, "eye", "dreambenchpp")))
    assert method.cp.coverage == method.pf.coverage == pytest.approx(1 / 3)
    low, high = method.cp.ends()
    assert (low[0], high[0]) == (pytest.approx(1 / 3), 1)


def test_what_a_judge_knew_nothing_to_ask_about_is_not_missing(tmp_path: Path) -> None:
    def knows_one(row: ScoreRow) -> ScoreRow:
        unknown = row.measure == "cp" and (row.subject == 1 or row.case == "one-0-plain")
        return dataclasses.replace(row, status="not_asked", score=None) if unknown else row

    eye, *_ = JUDGES
    attempts = map(knows_one, rows(lambda *_: 2, eye)), rows(lambda *_: 4, JUDGES[1])
    alone = one(source(tmp_path, "alone", map(knows_one, rows(lambda *_: 2, eye))))
    assert (alone.cp.coverage, alone.failures) == (1, {})
    assert alone.cp.panel()[index(alone, "two-0")] == 0.5
    nothing = index(alone, "one-0-plain")
    assert np.isnan(alone.cp.panel()[nothing])
    assert (alone.cp.asked[nothing], alone.pf.asked[nothing]) == (0, 1)
    both = one(source(tmp_path, "both", *attempts))
    assert (both.cp.coverage, both.failures) == (1, {})
    # Only the second judge knows this one.
    assert both.cp.panel()[nothing] == 1
    assert both.cp.panel()[index(both, "two-0")] == 0.75
