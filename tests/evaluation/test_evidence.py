"""Rows of experiments, and their page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dynaip.evaluation.evidence import _provenance, read_rows, with_kept


def test_rows_of_experiments_that_are_not_run_again_stay_on_the_page(tmp_path: Path) -> None:
    page, new = tmp_path / "page", {"table": [{"name": "base", "base": "one", "probe": "p"}]}
    assert with_kept(new, page) == new
    page.mkdir()
    for name, base in {"table": "one", "seeds": "one", "strength": "another"}.items():
        row = {"name": "old", "base": base, "probe": "p"}
        (page / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    together = with_kept(new, page)
    assert list(together) == ["table", "seeds"]
    assert together["table"] == new["table"]
    assert together["seeds"] == [{"name": "old", "base": "one", "probe": "p"}]
    other = {"table": [{**new["table"][0], "probe": "q"}]}
    assert list(with_kept(other, page)) == ["table"]
    several = {**new, "layers": [{"name": "1", "base": "one", "probe": "q"}]}
    for folder in (page, tmp_path / "nothing yet"):
        with pytest.raises(ValueError, match=r"one page: table \(one, p\), layers \(one, q\)"):
            with_kept(several, folder)


def test_the_page_says_what_is_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rows"):
        read_rows(tmp_path)
    (tmp_path / "table.jsonl").write_text("{")
    with pytest.raises(ValueError, match="broken"):
        read_rows(tmp_path)


def test_a_checkpoint_is_named_once_however_it_is_used() -> None:
    rows = [
        {"name": "text only", "pictures": 4, "base": "b"},
        {"name": "full", "pictures": 4, "base": "b", "adapter": "a"},
        {"name": "full, guided", "pictures": 4, "base": "b", "adapter": "a"},
        {"name": "image", "variant": "add", "pictures": 4, "base": "b", "adapter": "c"},
    ]
    told = "Rows: `x.jsonl`, 4 pictures a row; base `b`, adapter full `a`, adapter add `c`.\n"
    assert _provenance("x", rows) == told
