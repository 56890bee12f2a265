"""`dynaip report` on the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from evaluation.comparison.folders import JUDGES, random_opinion, rows, source
from PIL import Image


def test_folders_become_tables_and_a_figure(tmp_path: Path, cli: Any) -> None:
    for seed, (name, mean) in enumerate({"ours": 3.2, "weak": 1.5}.items()):
        source(tmp_path, name, *(rows(random_opinion(mean, seed), judge) for judge in JUDGES))
    folders = [tmp_path / "ours", tmp_path / "weak"]
    result = cli("report", *folders, "--figure", tmp_path / "figure.png")
    assert result.code == 0
    assert "| ours |" in result.out
    assert "## Against ours (dynaip)" in result.out
    assert Image.open(tmp_path / "figure.png").width > 1000
    result = cli(
        "report", *folders, "--format", "csv", "--against", "weak", "--out", tmp_path / "t"
    )
    lines = (tmp_path / "t").read_text().splitlines()
    first = next(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert float(first["CP low"]) < float(first["CP"]) < float(first["CP high"])
    assert "# Against weak (dynaip)" in lines
    printed = cli("report", *folders, "--format", "json").out.splitlines()
    tables = [json.loads(line) for line in printed]
    assert tables[0]["title"] == "One subject (dynaip)"
    assert tables[0]["rows"][0]["CP"] == {
        "value": float(first["CP"]),
        "low": float(first["CP low"]),
        "high": float(first["CP high"]),
    }


def test_the_papers_rows_need_no_folder(cli: Any) -> None:
    result = cli("report", "--paper", "--format", "latex")
    assert r"table1 & Textual Inversion & single & 0.384 & 0.633 & 0.243 & 0.220" in result.out


def test_what_is_missing_is_said(tmp_path: Path, cli: Any) -> None:
    assert "Give result folders" in cli("report").err
    for option in (("--against", "ours"), ("--figure", tmp_path / "figure.png")):
        result = cli("report", "--paper", *option)
        assert (result.code, "are about result folders" in result.err) == (2, True)
    result = cli("report", tmp_path)
    assert (result.code, "There is no manifest" in result.err) == (2, True)
