"""Tables of measures: what is starred, and what the notes say of it."""

from __future__ import annotations

from typing import Any

import pytest

from dynaip.evaluation.evidence_measures import KEPT, REST, difference_tables, measure_tables
from dynaip.evaluation.tables import Table, markdown

MEASURED = ("cp", "cp_coarse", "cp_mid", "cp_fine", "detail_gap", *REST)


def score(**changes: Any) -> dict[str, Any]:
    fields = {"accuracy": 0.6, "ceiling": 0.95, "chance": 0.25, "count": 8, "measurable": True}
    return fields | changes


def row(**factors: dict[str, Any]) -> dict[str, Any]:
    measures = {name: [0.5, 0.4, 0.6] for name in MEASURED}
    return {"name": "way", **measures, "factors": {name: score() for name in KEPT} | factors}


def column(table: Table, name: str) -> Any:
    return table.rows[0][table.columns.index(name)]


def test_what_is_read_badly_is_starred_and_what_no_picture_tells_is_not() -> None:
    told = score(accuracy=None, ceiling=None, count=0, measurable=False)
    members = [row(category=told, glyph=score(ceiling=0.5, measurable=False))]
    kept, rest = measure_tables("Title", members)
    assert column(kept, "category") is None
    assert column(kept, "letter *") == pytest.approx(0.35 / 0.25)
    assert column(kept, "pattern") == pytest.approx(0.35 / 0.7)
    starred, uncounted = kept.notes
    assert starred.endswith("trials): letter 0.500.")
    assert uncounted.endswith("every prompt says it or no subject has it: category.")
    assert rest.notes == ()
    assert "nan" not in markdown(kept)
    assert measure_tables("Title", [row()])[0].notes == ()


def test_tests_that_were_not_made_are_not_counted() -> None:
    def test(p: float | None) -> dict[str, Any]:
        found = [None] * 3 if p is None else [0.1, 0.05, 0.15]
        return {"difference": found, "p": p, "detectable": None if p is None else 0.07}

    ways = [
        {"name": "sure", "against_method": {"pf": test(0.001), "strange": test(0.03)}},
        {"name": "poor", "against_method": {"pf": test(0.03), "strange": test(None)}},
    ]
    (table,) = difference_tables("Title", ways, ("pf", "strange"), "Less it.")
    # Of three, 0.001 comes to 0.003 and 0.03 to 0.06; each by itself would be under 0.05.
    shown = "0.100 (0.050 to 0.150)"
    assert table.rows == (
        ("sure", f"{shown}*", shown),
        ("poor", shown, None),
        ("detectable", 0.07, 0.07),
    )
    (note,) = table.notes
    assert note.startswith("Less it. ")
    assert "(3 tests)" in note
    assert "tested by itself" in note
