"""Tables: a page shows intervals, a file keeps every digit, LaTeX compiles as text."""

from __future__ import annotations

import csv
import json
import math

import pytest

from dynaip.evaluation.statistics import NOT_MEASURED, Interval
from dynaip.evaluation.tables import Bounds, Table, show, write_tables

TABLE = Table(
    title="Two methods",
    columns=("method", "CP", "pictures"),
    rows=(
        ("a_b & c", Interval(1 / 3, 0.25, 0.5), 12),
        ("cut | short", Bounds(0.2, 0.9), None),
        ("plain", 0.5, 3),
    ),
    notes=("intervals are of 95 %",),
)


def test_markdown() -> None:
    assert write_tables([TABLE], "markdown").splitlines() == [
        "## Two methods",
        "",
        "| method | CP | pictures |",
        "| --- | --- | --- |",
        "| a_b & c | 0.333 (0.250 to 0.500) | 12 |",
        r"| cut \| short | between 0.200 and 0.900 | – |",
        "| plain | 0.500 | 3 |",
        "",
        "- intervals are of 95 %",
    ]


def test_csv_keeps_all_digits_in_columns_of_their_own() -> None:
    title, note, *lines = write_tables([TABLE], "csv").splitlines()
    assert title == "# Two methods"
    assert note == "# intervals are of 95 %"
    first, second, third = csv.DictReader(lines)
    assert float(first["CP"]) == 1 / 3
    assert (first["CP low"], first["CP high"], first["pictures"]) == ("0.25", "0.5", "12")
    assert (second["CP"], second["CP low"], second["pictures"]) == ("", "0.2", "")
    assert (third["CP"], third["CP low"]) == ("0.5", "")


def test_json_keeps_all_digits_and_says_which_ends_are_which() -> None:
    table = json.loads(write_tables([TABLE, TABLE], "json").splitlines()[1])
    assert (table["title"], table["notes"]) == ("Two methods", ["intervals are of 95 %"])
    first, second, third = table["rows"]
    assert first["CP"] == {"value": 1 / 3, "low": 0.25, "high": 0.5}
    assert second["CP"] == {"low": 0.2, "high": 0.9}
    assert second["pictures"] is None
    assert third["CP"] == 0.5


def test_latex_escapes_what_would_break_it() -> None:
    page = write_tables([TABLE], "latex")
    assert r"a\_b \& c & 0.333 {\scriptsize [0.250, 0.500]} & 12 \\" in page
    assert r"cut | short & between 0.200 and 0.900 & -- \\" in page
    assert r"\begin{tabular}{lcc}" in page
    assert "% intervals are of 95 %" in page


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (NOT_MEASURED, "–"),
        (math.nan, "–"),
        (None, "–"),
        (math.inf, "∞"),
        (0.25, "0.250"),
        (0.0002, "<0.001"),
        ("x", "x"),
    ],
)
def test_what_is_not_there_is_a_dash(cell: object, shown: str) -> None:
    assert show(cell) == shown
