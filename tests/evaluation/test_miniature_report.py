"""Reports: every row can be traced, and a missed target is called so."""

from __future__ import annotations

import json
import math
from pathlib import Path

from dynaip.evaluation.figures import Figure
from dynaip.evaluation.miniature_report import COLUMNS, NOT_MEASURABLE, cells, write_report


def figure(**changes: object) -> Figure:
    fields = {"group": "base", "name": "main_colour", "value": 0.95, "count": 512, "target": 0.9}
    return Figure(**{**fields, **changes})


def test_rows_carry_their_provenance(tmp_path: Path) -> None:
    figures = [figure(), figure(group="adapter", value=0.5)]
    write_report(figures, {"base": "abc"}, {"adapter": {"branches": "both"}}, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "figures.jsonl").read_text().splitlines()]
    told = [(row["group"], row["reached"], row["base"], row.get("branches")) for row in rows]
    assert told == [("base", True, "abc", None), ("adapter", False, "abc", "both")]


def test_page_has_a_table_per_group(tmp_path: Path) -> None:
    write_report([figure(), figure(group="adapter", value=0.5)], {"base": "abc"}, {}, tmp_path)
    page = (tmp_path / "figures.md").read_text()
    assert page.count("| figure |") == 2
    assert "| main colour | 0.950 |" in page
    assert "| missed |" in page
    assert "- base: abc" in page
    assert not list(tmp_path.glob(".*"))


def test_cells_match_the_columns_and_say_what_cannot_be_measured() -> None:
    row = dict(zip(COLUMNS, cells(figure(low=0.9, high=0.99, measurable=False)), strict=True))
    assert (row["95 %"], row["target"], row[""]) == ("0.900–0.990", "≥ 0.9", NOT_MEASURABLE)


def test_costs_are_ceilings() -> None:
    row = cells(figure(name="a picture", value=12.3, unit="s", target=2.0, at_most=True))
    assert row[:5] == ("a picture", "12.3 s", "", "≤ 2 s", "missed")
    row = cells(figure(name="strange pictures", value=0.02, target=None, at_most=True))
    assert row[:5] == ("strange pictures", "0.020", "", "low", "")


def test_what_was_not_measured_is_a_dash() -> None:
    ends = {"value": math.nan, "low": math.nan, "high": math.nan}
    row = cells(figure(name="glyph", **ends, measurable=False, count=0))
    assert row == ("glyph", "–", "", "≥ 0.9", NOT_MEASURABLE, "", "", "", "")
