"""The measures of an experiment's rows as tables, with each way's difference from the method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dynaip.evaluation.ablation import LEAKS
from dynaip.evaluation.statistics import NOT_MEASURED, Interval, holm
from dynaip.evaluation.tables import Cell, Table, show
from dynaip.evaluation.truth.preservation import TIERS

Row = Mapping[str, Any]
LEVEL = 0.05
KEPT = tuple(factor for factors in TIERS.values() for factor in factors)
CP_TIERS = tuple(f"cp_{tier}" for tier in TIERS)
CP_ALL = ("cp", *CP_TIERS)
REST = (
    "pf",
    "all_right",
    "named_category",
    "retention",
    "cp_pf",
    *LEAKS,
    "copy_paste",
    "strange",
)
WORDS = {
    "cp": "CP",
    **dict(zip(CP_TIERS, TIERS, strict=True)),
    "pf": "PF",
    "named_category": "category, named",
    "cp_pf": "CP·PF",
    "copy_paste": "CPI",
    "glyph": "letter",
    "2AFC glyph": "2AFC letter",
}


def measure_tables(title: str, rows: Sequence[Row], notes: Sequence[str] = ()) -> list[Table]:
    """What is kept, what else a reference does, and how the ways differ from the method's own."""
    measured = [row for row in rows if "cp" in row]
    weak = _weak(measured)
    starred = {factor: f"{in_words(factor)}{' *' if factor in weak else ''}" for factor in KEPT}
    kept = Table(
        title=title,
        columns=("", "CP", *TIERS, "detail gap", *starred.values()),
        rows=tuple(
            (
                way_name(row),
                *(read_interval(row[name]) for name in ("cp", *CP_TIERS, "detail_gap")),
                *(_kept(row["factors"], factor) for factor in KEPT),
            )
            for row in measured
        ),
        notes=(*_unmeasurable(weak), *_uncounted(measured), *notes),
    )
    rest = Table(
        title=f"{title}: prompt following and leaks",
        columns=("", *(in_words(name) for name in REST)),
        rows=tuple(
            (way_name(row), *(read_interval(row.get(name, NOT_MEASURED)) for name in REST))
            for row in measured
        ),
    )
    note = "On the same trials, less the first adapter on image rows at lambda 1."
    return [kept, rest, *difference_tables(title, measured, (*CP_ALL, *REST), note)]


def difference_tables(
    title: str, rows: Sequence[Row], measures: Sequence[str], note: str
) -> list[Table]:
    """Each way less the method's own; stars where Holm's p is under 0.05. None without others."""
    rows = [row for row in rows if "against_method" in row]
    if not rows:
        return []
    names = [name for name in measures if name in rows[0]["against_method"]]
    tests = [row["against_method"][name] for row in rows for name in names]
    made = sum(test["p"] is not None for test in tests)
    adjusted = holm([math.nan if test["p"] is None else test["p"] for test in tests])
    cells = [
        None
        if test["difference"][0] is None
        else f"{show(read_interval(test['difference']))}{'*' if p < LEVEL else ''}"
        for test, p in zip(tests, adjusted, strict=True)
    ]
    found = [
        max(
            (
                row["against_method"][name]["detectable"]
                for row in rows
                if row["against_method"][name]["detectable"] is not None
            ),
            default=None,
        )
        for name in names
    ]
    lines = [cells[start : start + len(names)] for start in range(0, len(cells), len(names))]
    table = Table(
        title=f"{title}: difference from the method",
        columns=("", *(in_words(name) for name in names)),
        rows=(
            *((way_name(row), *line) for row, line in zip(rows, lines, strict=True)),
            ("detectable", *found),
        ),
        notes=(
            f"{note} A star: the sign-flip test's p is under {LEVEL:g} after Holm's correction "
            f"over the table ({made} tests). The last line is the true difference that the least "
            "sure of the rows, tested by itself, would find four times in five: less than that may "
            "be there unseen.",
        ),
    )
    return [table]


def in_words(name: str) -> str:
    """A measure or factor as tables call it."""
    return WORDS.get(name, name.replace("_", " "))


def way_name(row: Row) -> str:
    """What a row is about, its adapter first where there are several."""
    return f"{row['variant']}: {row['name']}" if "variant" in row else str(row["name"])


def read_interval(ends: Sequence[float | None]) -> Cell:
    """An estimate and its ends out of JSON; nothing where it could not be measured."""
    value, low, high = (math.nan if end is None else end for end in ends)
    return None if math.isnan(value) else Interval(value, low, high)


def _kept(factors: Mapping[str, Mapping[str, Any]], factor: str) -> Cell:
    """Accuracy between chance and ceiling."""
    score = factors.get(factor)
    if score is None or score["accuracy"] is None or not score["count"]:
        return None
    room = score["ceiling"] - score["chance"]
    return (score["accuracy"] - score["chance"]) / room if room > 0 else None


def _weak(rows: Sequence[Row]) -> dict[str, float | None]:
    """Ceilings of the factors that cannot be measured, though pictures tell of them."""
    return {
        factor: score["ceiling"]
        for factor, score in rows[0]["factors"].items()
        if score["count"] and not score["measurable"]
    }


def _unmeasurable(weak: Mapping[str, float | None]) -> list[str]:
    if not weak:
        return []
    words = ", ".join(f"{in_words(name)} {show(share)}" for name, share in weak.items())
    return [
        "* Not measurable with this probe, and in no average (its accuracy on perfect pictures of "
        f"these trials): {words}."
    ]


def _uncounted(rows: Sequence[Row]) -> list[str]:
    """The factors that no picture tells anything of, however well they are read."""
    found = [factor for factor, score in rows[0]["factors"].items() if not score["count"]]
    if not found:
        return []
    words = ", ".join(map(in_words, found))
    return [f"In no average, for every prompt says it or no subject has it: {words}."]
