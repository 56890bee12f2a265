"""The report on folders whose scores are known: means, bounds, tests, and what it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from evaluation.comparison.folders import JUDGES, SUBJECTS, random_opinion, rows, source

from dynaip.evaluation.benchmarks.results import Method
from dynaip.evaluation.comparison.estimates import estimates
from dynaip.evaluation.comparison.judged import judged
from dynaip.evaluation.comparison.report import report_tables, trade_offs
from dynaip.evaluation.comparison.sources import Source, open_source
from dynaip.evaluation.scores import ScoreRow, append_scores
from dynaip.evaluation.statistics import Interval
from dynaip.evaluation.tables import Bounds, Table, write_tables


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    folder = tmp_path_factory.mktemp("methods")
    return [
        source(folder, name, *(rows(random_opinion(mean, seed), judge) for judge in JUDGES))
        for seed, (name, mean) in enumerate({"ours": 3.2, "weak": 1.5}.items())
    ]


@pytest.fixture(scope="module")
def tables(sources: list[Source]) -> dict[str, Table]:
    return {table.title: table for table in report_tables(sources)}


def test_every_table_is_there(tables: dict[str, Table]) -> None:
    assert list(tables) == [
        "One subject (dynaip)",
        "Several subjects (dynaip)",
        "One subject, each judge (dynaip)",
        "Several subjects, each judge (dynaip)",
        "By category (dynaip)",
        "By prompt kind (dynaip)",
        "Against ours (dynaip)",
    ]


def test_the_main_row_is_the_naive_mean(sources: list[Source], tables: dict[str, Table]) -> None:
    name, cp, pf, product, of_products, coverage, pictures, clusters = tables[
        "One subject (dynaip)"
    ].rows[0]
    assert clusters == SUBJECTS
    (method,) = judged(sources[0].results, sources[0].rows)
    alone = method.subjects() == 1
    cps, pfs = method.cp.panel()[alone], method.pf.panel()[alone]
    assert (name, coverage, pictures) == ("ours", 1.0, 2 * SUBJECTS)
    assert cp.value == pytest.approx(cps.mean())
    assert product.value == pytest.approx(cps.mean() * pfs.mean())
    assert of_products.value == pytest.approx((cps * pfs).mean())
    assert cp.low < cp.value < cp.high
    assert pf.value == pytest.approx(pfs.mean())


def test_judges_stand_apart_with_their_agreement(tables: dict[str, Table]) -> None:
    table = tables["One subject, each judge (dynaip)"]
    assert [row[:2] for row in table.rows] == [
        (method, judge) for method in ("ours", "weak") for judge in sorted(JUDGES)
    ]
    assert "Krippendorff" in table.notes[0]


def test_agreement_is_of_the_table_s_own_pictures(tmp_path: Path) -> None:
    """Judges that agree on single subjects only."""
    opinion = random_opinion(2.0, 5)
    known = {row.unit: row for row in rows(opinion, "eye")}
    other = [
        dataclasses.replace(
            row,
            scorer="kind-eye",
            score=row.score if row.case.startswith("one-") else 4 - row.score,
        )
        for row in known.values()
        if row.score is not None
    ]
    found = report_tables([source(tmp_path, "ours", iter(known.values()), iter(other))])
    alphas = {
        table.title: [float(note.split("= ")[1].rstrip(".")) for note in table.notes]
        for table in found
        if "each judge" in table.title
    }
    assert alphas["One subject, each judge (dynaip)"] == [1, 1]
    assert max(alphas["Several subjects, each judge (dynaip)"]) < 0


def test_groups_divide_the_pictures(tables: dict[str, Table]) -> None:
    counts = {(row[0], row[1]): row[-2] for row in tables["By category (dynaip)"].rows}
    assert counts["object", "ours"] + counts["animal", "ours"] == 2 * SUBJECTS
    kinds = {row[0]: row[-2] for row in tables["By prompt kind (dynaip)"].rows}
    assert kinds == {"plain": 2 * SUBJECTS, "style": SUBJECTS}


def test_a_worse_method_is_found_out(tables: dict[str, Table]) -> None:
    found = tables["Against ours (dynaip)"].rows
    assert [row[:3] for row in found[:3]] == [
        ("weak", "one subject", measure) for measure in ("CP", "PF", "CP·PF")
    ]
    for _, _, _, difference, p, adjusted, detectable, pictures, clusters in found:
        assert clusters == SUBJECTS
        assert difference.high < 0
        assert p <= adjusted < 0.05
        assert 0 < detectable < -difference.value
        assert pictures in (SUBJECTS, 2 * SUBJECTS)


def test_another_method_can_be_the_measure(sources: list[Source]) -> None:
    *_, last = report_tables(sources, against="weak")
    assert last.title == "Against weak (dynaip)"
    assert last.rows[0][3].low > 0
    with pytest.raises(ValueError, match="No method is called best"):
        report_tables(sources, against="best")


def test_failed_judgements_leave_bounds(tmp_path: Path) -> None:
    def refuses(case: str, measure: str, subject: int) -> int | None:
        return None if case == "one-0-plain" and measure == "cp" else 2

    broken = source(tmp_path, "broken", rows(refuses, "eye"))
    tables = {table.title: table for table in report_tables([broken])}
    _, cp, pf, product, of_products, coverage, *_ = tables["One subject (dynaip)"].rows[0]
    count = 2 * SUBJECTS
    low, high = (count - 1) * 0.5 / count, ((count - 1) * 0.5 + 1) / count
    assert cp == pytest.approx(Bounds(low, high))
    assert product == pytest.approx(Bounds(low / 2, high / 2))
    assert of_products == pytest.approx(Bounds(low / 2, high / 2))
    assert isinstance(pf, Interval)
    assert coverage == (2 * count - 1) / (2 * count)
    assert "broken lacks 1 scores (1 refused)" in tables["One subject (dynaip)"].notes[-1]
    assert "between 0.479 and 0.521" in write_tables(list(tables.values()), "markdown")
    assert tables["Several subjects (dynaip)"].rows[0][1].value == 0.5
    assert trade_offs([broken])["one subject (dynaip)"] == []


def test_pictures_that_were_never_judged_count_as_missing(tmp_path: Path) -> None:
    half = list(rows(lambda *_: 4, "eye"))[::2]
    found = source(tmp_path, "half", iter(half))
    page = write_tables(report_tables([found]), "markdown")
    assert "missing)" in page
    assert "between" in page


def test_a_measure_that_nobody_judged_is_left_empty(tmp_path: Path) -> None:
    only = (row for row in rows(lambda *_: 2, "eye") if row.measure == "pf")
    (method,) = judged(*source(tmp_path, "ours", only)[:2])
    found = estimates(method, np.ones(len(method.pictures), dtype=bool))
    assert found is not None
    assert (found.cp, found.product, found.of_products) == (None, None, None)
    assert found.pf == Interval(0.5, 0.5, 0.5)


def test_a_sample_that_is_too_small_for_a_test_says_so(tmp_path: Path) -> None:
    """Four subjects flip in sixteen ways: no difference can be rarer than two of them."""

    def few(score: int) -> list[ScoreRow]:
        found = [row for row in rows(lambda *_: score, "eye") if row.case.startswith("one-")]
        return [row for row in found if int(row.case.split("-")[1]) < 4]

    folders = [source(tmp_path, "ours", few(4)), source(tmp_path, "weak", few(1))]
    for folder in folders:
        manifest = folder.results.manifest
        cases = tuple(
            case
            for case in manifest.cases
            if case.id.startswith("one-") and int(case.id.split("-")[1]) < 4
        )
        object.__setattr__(folder.results, "manifest", dataclasses.replace(manifest, cases=cases))
    tables = {table.title: table for table in report_tables(folders)}
    table = tables["Against ours (dynaip)"]
    assert {row[4] for row in table.rows} == {2 / 16}
    assert "Flips of 4 clusters give no p under 0.125" in table.notes[-1]
    # Nothing varies between the subjects, so nothing is known of what would be found.
    assert all(row[6] is None for row in table.rows)


def test_who_is_not_in_a_table_is_named(sources: list[Source], tmp_path: Path) -> None:
    first, *rest = report_tables([sources[0], source(tmp_path, "silent")])
    absent = "silent has neither CP nor PF of the protocol dynaip: score it as the others were."
    assert absent in first.notes
    assert not any("tested against" in note for note in first.notes)
    some = [row for index, row in enumerate(rows(lambda *_: 4, JUDGES[0])) if index % 5]
    half = source(tmp_path, "half", iter(some))
    first, *rest = report_tables([sources[0], half])
    assert any("Nothing is tested against ours" in note for note in first.notes), first.notes
    assert not any(table.title.startswith("Against") for table in rest)


def test_the_self_test_stands_in_the_report(tmp_path: Path) -> None:
    """One judge that sees what is there, one that finds everything alike."""
    results = source(tmp_path, "ours", rows(lambda *_: 3, "eye")).results
    for judge, scores in {"eye": {"identical": 4, "blank": 0}, "blind": {"blank": 4}}.items():
        known = [
            ScoreRow(
                case=f"{kind}/{number}",
                picture=0,
                measure="cp",
                scorer=judge,
                protocol="dynaip",
                status="ok",
                score=score,
                scale=(0, 4),
            )
            for kind, score in scores.items()
            for number in range(2)
        ]
        append_scores(results.folder / "selftest" / f"{judge}.jsonl", known)
    table = report_tables([open_source(results.folder)])[-1]
    verdicts = {row[1]: row[-1] for row in table.rows}
    assert verdicts["eye"] == "passed"
    assert "blank pictures get 4.00 of 4" in verdicts["blind"]
    blind, eye = table.rows
    assert dict(zip(table.columns, eye, strict=True))["identical"] == 1
    assert dict(zip(table.columns, blind, strict=True))["identical"] is None


def test_a_judge_that_was_not_tested_is_told(tmp_path: Path) -> None:
    told = (dataclasses.replace(row, details={"rubric": "x"}) for row in rows(lambda *_: 3, "eye"))
    found = source(tmp_path, "ours", told, rows(lambda *_: 3, "probe:x", "truth"))
    table = report_tables([found])[-1]
    assert table.rows == (("ours", "eye", "dynaip", "not asked"),)


def test_only_what_the_same_judges_said_is_tested(tmp_path: Path) -> None:
    """The kind judge saw one method only, and would be half of its mean."""
    opinion = random_opinion(2.0, 5)
    known = {row.unit: row for row in rows(opinion, "eye")}
    again = iter(known.values())
    ours = source(tmp_path, "ours", iter(known.values()), rows(lambda *_: 4, "kind-eye"))
    rival = source(tmp_path, "rival", again)
    other = source(tmp_path, "other", rows(lambda *_: 4, "kind-eye"))
    tables = {table.title: table for table in report_tables([ours, rival])}
    assert tables["One subject (dynaip)"].rows[0][1].value > 0.6
    assert {row[3].value for row in tables["Against ours (dynaip)"].rows} == {0}
    assert "ours by eye, kind-eye; rival by eye" in tables["One subject (dynaip)"].notes[2]
    assert len(tables["One subject, each judge (dynaip)"].rows) == 3
    titles = [table.title for table in report_tables([rival, other])]
    assert not any("Against" in title for title in titles)


def test_a_judge_that_stopped_before_a_measure_is_told_and_not_paired(tmp_path: Path) -> None:
    """The kind judge would be half of one method's PF, and nothing of the other's."""
    known = list(rows(random_opinion(2.0, 5), "eye"))
    kind = list(rows(lambda *_: 4, "kind-eye"))
    ours = source(tmp_path, "ours", iter(known), iter(kind))
    stopped = (row for row in kind if row.measure == "cp")
    rival = source(tmp_path, "rival", iter(known), stopped)
    tables = {table.title: table for table in report_tables([ours, rival])}
    found = tables["Against ours (dynaip)"].rows
    assert [row[1:3] for row in found] == [
        (setting, measure)
        for setting in ("one subject", "several subjects")
        for measure in ("CP", "PF", "CP·PF")
    ]
    assert {row[3].value for row in found} == {0}
    notes = tables["One subject (dynaip)"].notes
    assert [note for note in notes if "has not judged" in note] == [
        "kind-eye has not judged the PF of rival: it stopped before, or was not asked."
    ]


def test_the_ends_of_the_scale_are_asked_for_where_they_were_not_given(
    sources: list[Source], tmp_path: Path
) -> None:
    name = "copy of the reference"
    copied = source(tmp_path, name, rows(lambda *_: 4, "kind-eye"))
    other = source(tmp_path / "other", name, rows(lambda *_: 4, "probe", "truth"))
    bare = source(tmp_path / "bare", name)
    for found, missing, absent in (
        ([sources[0]], True, False),
        ([sources[0], copied], False, False),
        ([sources[0], other], False, True),
        ([sources[0], bare], False, True),
    ):
        notes = " ".join(report_tables(found)[0].notes)
        assert ("ends of the scale are missing" in notes) == missing
        assert (f"{name} has neither CP nor PF of the protocol dynaip" in notes) == absent


def test_a_torn_line_is_told(tmp_path: Path) -> None:
    source(tmp_path, "ours", rows(lambda *_: 3, "eye"))
    path = tmp_path / "ours" / "scores" / "scorer-0.jsonl"
    path.write_text(path.read_text() + '{"case": ')
    first, *_ = report_tables([open_source(tmp_path / "ours")])
    assert f"The last line of {path} was cut short" in first.notes[-1]


def test_what_makes_no_report_is_refused(sources: list[Source], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one method"):
        report_tables([sources[0], sources[0]])
    with pytest.raises(ValueError, match="dynaip judge"):
        report_tables([source(tmp_path, "new")])
    ours = sources[0].results
    (first, *others) = ours.manifest.cases
    for change in ({"prompt": "another"}, {"subjects": others[-1].subjects}, {"truth": {}}):
        cases = (dataclasses.replace(first, **change), *others)
        drawn = dataclasses.replace(ours.manifest, cases=cases)
        rival = dataclasses.replace(ours, manifest=drawn, method=Method(name="rival"))
        with pytest.raises(ValueError, match="one-0-plain asks ours and rival for different"):
            report_tables([sources[0], sources[1]._replace(results=rival)])


def test_points_for_the_figure(sources: list[Source]) -> None:
    panels = trade_offs(sources)
    assert {title: [name for name, *_ in points] for title, points in panels.items()} == {
        "one subject (dynaip)": ["ours", "weak"],
        "several subjects (dynaip)": ["ours", "weak"],
    }


def test_protocols_have_panels_of_their_own(tmp_path: Path) -> None:
    both = source(
        tmp_path,
        "ours",
        *(rows(lambda *_, s=s: s, "eye", p) for p, s in (("dynaip", 4), ("strict", 2))),
    )
    values = {title: [cp.value for _, cp, _ in at] for title, at in trade_offs([both]).items()}
    assert values == {
        "one subject (dynaip)": [1],
        "several subjects (dynaip)": [1],
        "one subject (strict)": [0.5],
        "several subjects (strict)": [0.5],
    }
