"""Metrics of folders: complete or not, by one scorer or several, and tested in pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from evaluation.comparison.folders import SUBJECTS, rows, source

from dynaip.evaluation.comparison.measured import Measure, metric_means
from dynaip.evaluation.comparison.report import report_tables
from dynaip.evaluation.scores import ScoreRow
from dynaip.evaluation.statistics import Interval


def measured(score: int, seed: int | None = None, *, leave_out: int = 0) -> Iterator[ScoreRow]:
    """A metric of every picture but the first few; with a seed, a little more or less."""
    rng = np.random.default_rng(seed)
    found = [row for row in rows(lambda *_: score, "dino") if row.measure == "pf"]
    for row in found[leave_out:]:
        off = 0.0 if seed is None else rng.normal(0, 0.2)
        yield dataclasses.replace(row, measure="dino", protocol="metric", score=score + off)


def test_metrics_have_a_table(tmp_path: Path) -> None:
    table = report_tables([source(tmp_path, "ours", measured(3))])[-1]
    assert (table.title, table.columns) == ("Metrics", ("method", "dino", "pictures"))
    assert table.rows[0] == ("ours", Interval(3, 3, 3), 3 * SUBJECTS)


def test_who_lacks_a_metric_is_named_and_the_ends_of_the_scale_are_asked_for_if_not_given(
    tmp_path: Path,
) -> None:
    clip = [dataclasses.replace(row, measure="clip-i", scorer="clip") for row in measured(3)]
    ours = source(tmp_path, "ours", measured(3), iter(clip))
    copied = source(tmp_path, "copy of the reference", iter(clip))
    bare = source(tmp_path, "bare")
    table = report_tables([ours, copied, bare])[-2]
    assert [row[0] for row in table.rows] == ["ours", "copy of the reference"]
    assert table.notes[1:] == (
        "copy of the reference has no dino: score it as the others were.",
        "bare has no clip-i, dino: score it as the others were.",
    )
    alone = report_tables([ours])[-1].notes
    assert ["ends of the scale are missing" in note for note in alone] == [False, True]


def test_metrics_of_an_incomplete_folder_have_no_mean(tmp_path: Path) -> None:
    """Leaving failures out must not help."""
    folders = [
        source(tmp_path, "ours", measured(3, leave_out=2)),
        source(tmp_path, "whole", measured(2)),
    ]
    *_, table = report_tables(folders)
    assert table.title == "Metrics"
    assert table.rows[0] == ("ours", None, 3 * SUBJECTS - 2)
    assert table.rows[1][1] == Interval(2, 2, 2)
    assert f"ours lacks 2 of {3 * SUBJECTS} values of dino" in table.notes[-1]


def test_metrics_are_tested_in_pairs(tmp_path: Path) -> None:
    folders = [
        source(tmp_path, name, measured(score, seed))
        for seed, (name, score) in enumerate({"ours": 3, "weak": 2, "same": 3}.items())
    ]
    tables = {table.title: table for table in report_tables(folders)}
    worse, same = tables["Metrics against ours"].rows
    assert worse[:2] == ("weak", "dino")
    assert worse[2].value == pytest.approx(-1, abs=0.15)
    assert worse[3] <= worse[4] < 0.01
    assert worse[-2:] == (3 * SUBJECTS, 2 * SUBJECTS)
    assert same[4] > 0.05
    other = report_tables(folders, against="weak")
    assert other[-1].rows[0][2].value == pytest.approx(1, abs=0.15)


def test_metrics_of_a_single_folder_that_lacks_pictures_have_no_mean(tmp_path: Path) -> None:
    """Nor where all methods lack the same ones."""
    for names in (["alone"], ["ours", "same"]):
        folders = [source(tmp_path, name, measured(3, leave_out=33)) for name in names]
        table = next(t for t in report_tables(folders) if t.title == "Metrics")
        assert table.rows == tuple((name, None, 3) for name in names)
        for name, note in zip(names, table.notes[-len(names) :], strict=True):
            assert f"{name} lacks 33 of 36 values of dino" in note


def test_what_no_picture_can_have_is_not_missing(tmp_path: Path) -> None:
    """Pictures without a mask, and cases that name no letter, were seen by the scorer."""
    known = list(measured(3))
    partial = [
        dataclasses.replace(row, measure=measure)
        for measure in ("dino-masked", "truth-glyph")
        for row in known[:5]
    ]
    table = report_tables([source(tmp_path, "ours", iter([*known, *partial]))])[-1]
    assert table.columns[1:4] == ("dino", "dino-masked", "truth-glyph")
    assert table.rows[0][1:4] == (Interval(3, 3, 3),) * 3
    unseen = source(tmp_path, "half", iter([*known[:20], *partial]))
    table = report_tables([unseen])[-1]
    assert table.rows[0][1:4] == (None,) * 3
    masked = next(note for note in table.notes if "dino-masked" in note)
    assert "half lacks 16 of 21 values" in masked


def test_a_scorer_that_stopped_between_two_measures_lacks_the_second(tmp_path: Path) -> None:
    """CLIP's likeness to references comes before that to prompts."""
    known = list(measured(3))
    begun = [dataclasses.replace(row, measure="clip-t") for row in known[:5]]
    table = report_tables([source(tmp_path, "ours", iter([*known, *begun]))])[-1]
    assert dict(zip(table.columns, table.rows[0], strict=True))["clip-t"] is None
    assert "ours lacks 31 of 36 values of clip-t" in table.notes[-1]


def test_two_scorers_of_one_measure_are_never_mixed(tmp_path: Path) -> None:
    def by(scorer: str, score: int) -> Iterator[ScoreRow]:
        return (dataclasses.replace(row, scorer=scorer) for row in measured(score))

    ours = source(tmp_path, "ours", by("dino:a", 3), by("dino:b", 1))
    rival = source(tmp_path, "rival", by("dino:b", 2))
    tables = {table.title: table for table in report_tables([ours, rival])}
    assert tables["Metrics"].columns[1:3] == ("dino (dino:a)", "dino (dino:b)")
    assert tables["Metrics"].rows[0][1:3] == (Interval(3, 3, 3), Interval(1, 1, 1))
    assert tables["Metrics"].rows[1][1:3] == (None, Interval(2, 2, 2))
    (row,) = tables["Metrics against ours"].rows
    assert (row[1], row[2].value) == ("dino (dino:b)", 1)


def test_a_difference_that_varies_by_rounding_only_has_no_detectable_one(tmp_path: Path) -> None:
    shares = np.random.default_rng(0).uniform(0, 3, 3 * SUBJECTS)

    def shifted(by: float) -> Iterator[ScoreRow]:
        for row, share in zip(measured(0), shares, strict=True):
            yield dataclasses.replace(row, score=float(share) + by)

    folders = [source(tmp_path, "ours", shifted(0.1)), source(tmp_path, "rival", shifted(0.7))]
    (row,) = report_tables(folders)[-1].rows
    assert row[2].value == pytest.approx(0.6)
    assert row[5] is None


def test_metrics_are_means_over_subjects(tmp_path: Path) -> None:
    metrics = [
        ScoreRow(
            case="two-0",
            picture=0,
            measure="clip-i",
            scorer="clip",
            protocol="metric",
            status="ok",
            score=score,
            scale=(-1, 1),
            subject=subject,
        )
        for subject, score in enumerate((0.5, 0.7))
    ]
    found = source(tmp_path, "ours", iter(metrics))
    values, pictures = metric_means(found.results, found.rows)[Measure("clip-i", "clip")]
    assert values == pytest.approx([0.6])
    assert pictures[0].case.id == "two-0"
