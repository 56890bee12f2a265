import json
import math
from pathlib import Path
from typing import Any

import pytest

from dynaip.evaluation.scores import (
    ScoreRow,
    ScoresError,
    append_scores,
    final_scores,
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


def test_shares_are_of_the_scale() -> None:
    assert row(score=3.0).share == 0.75
    assert row(score=3.0, scale=(1.0, 5.0)).share == 0.5
    assert math.isnan(failed().share)
