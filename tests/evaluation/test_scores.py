import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaip.evaluation.scores import (
    STATUSES,
    ScoreRow,
    ScoresError,
    Unit,
    append_scores,
    coverage,
    final_scores,
    mean_bounds,
    read_scores,
)

FINE = json.dumps(
    {"case": "a", "picture": 0, "measure": "cp", "scorer": "x", "protocol": "strict"}
    | {"status": "fine", "score": 3.0, "scale": [0, 4]}
)


def row(**values: Any) -> ScoreRow:
    defaults: dict[str, Any] = {
        "case": "a",
        "picture": 0,
        "measure": "cp",
        "scorer": "judge",
        "protocol": "strict",
        "status": "ok",
        "score": 3.0,
        "scale": (0.0, 4.0),
    }
    return ScoreRow(**{**defaults, **values})


def failed(status: str = "refused", **values: Any) -> ScoreRow:
    return row(status=status, score=None, **values)


def test_rows_come_back_in_order_with_their_details(tmp_path: Path) -> None:
    path = tmp_path / "scores" / "judge.jsonl"
    rows = [row(subject=1, details={"answer": "3 — ähnlich"}), failed(attempt=1), row(repeat=2)]
    append_scores(path, rows[:1])
    append_scores(path, rows[1:])
    assert read_scores(path) == (rows, False)
    assert read_scores(tmp_path / "none.jsonl") == ([], False)


def test_a_torn_last_line_is_told_and_then_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "judge.jsonl"
    append_scores(path, [row(), row(picture=1)])
    whole = path.read_bytes()
    for cut in (1, 20, len(whole.splitlines()[-1])):
        path.write_bytes(whole[:-cut])
        assert read_scores(path) == ([row()], True)
        append_scores(path, [row(picture=2)])
        assert read_scores(path) == ([row(), row(picture=2)], False)
    path.write_bytes(b'{"case"')
    append_scores(path, [row()])
    assert read_scores(path) == ([row()], False)


@pytest.mark.parametrize("broken", ["{", "[]", "3", "{}", '{"case": "a"}', FINE])
def test_any_other_broken_line_is_named(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "judge.jsonl"
    append_scores(path, [row()])
    path.write_text(path.read_text() + broken + "\n")
    with pytest.raises(ScoresError, match="line 2 is not a row of scores"):
        read_scores(path)


@pytest.mark.parametrize(
    "values",
    [
        {"score": 10.0},
        {"score": math.nan},
        {"score": None},
        {"status": "refused"},
    ],
)
def test_rows_do_not_contradict_themselves(values: dict[str, Any]) -> None:
    with pytest.raises(ScoresError):
        row(**values)


def test_the_newest_success_counts_and_else_the_newest_failure() -> None:
    first, second = row(score=1.0), row(score=2.0, attempt=3)
    failure, later = failed("transport"), failed("truncated", attempt=1)
    for rows, counts in (
        ([failure, first, later], first),
        ([first, second], second),
        ([failure, later], later),
    ):
        assert final_scores(rows) == {first.unit: counts}
    # Asked about something else, an older success says nothing; asked the same again, it does.
    changed = failed("transport", attempt=1, key="new")
    assert final_scores([row(key="old"), changed]) == {first.unit: changed}
    again = failed("transport", attempt=2, key="old")
    assert final_scores([row(key="old"), changed, again]) == {first.unit: row(key="old")}
    others = [row(subject=0), row(repeat=1), row(measure="pf"), row(protocol="dynaip")]
    assert len(final_scores([first, *others])) == 5


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(STATUSES))))
def test_coverage_counts_every_expected_unit_once(attempts: list[tuple[int, str]]) -> None:
    rows = [
        row(picture=picture) if status == "ok" else failed(status, picture=picture)
        for picture, status in attempts
    ]
    units = [row(picture=picture).unit for picture in range(4)]
    found = coverage(units, final_scores(rows))
    assert found.scored == sum((picture, "ok") in attempts for picture in range(4))
    assert found.scored + sum(found.failures.values()) == found.expected == 4
    untouched = {picture for picture, _ in attempts if picture < 4}
    assert found.failures.get("missing", 0) == 4 - len(untouched)


def test_a_mean_needs_nearly_all() -> None:
    units = [Unit("a", n, "cp", None, "judge", "strict", 0) for n in range(1000)]
    scored = {unit: row(picture=unit.picture) for unit in units}
    assert coverage(units, dict(list(scored.items())[:995])).complete
    assert not coverage(units, dict(list(scored.items())[:994])).complete
    assert coverage([], {}).complete


def test_bounds_hold_whatever_the_missing_scores_are() -> None:
    assert mean_bounds([0.5, 1.0], 2) == (1.5 / 4, 3.5 / 4)
    assert mean_bounds([0.25], 0) == (0.25, 0.25)
    assert all(math.isnan(end) for end in mean_bounds([], 0))
    assert row(score=3.0).share == 0.75
    assert row(score=3.0, scale=(1.0, 5.0)).share == 0.5
    assert math.isnan(failed().share)
