"""`dynaip evaluate`: a probe from nothing, and figures of a tiny model, from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny

from dynaip.evaluation.probe import Probe
from dynaip.evaluation.suite import WAYS


@pytest.fixture
def probe(cli: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "probe"
    arguments = ("--renders", 256, "--size", tiny.SIZE, "--workers", 0, "--out", folder)
    result = cli("evaluate", "train-probe", *arguments)
    assert result.code == 0, result.err
    return folder


def run(cli: Any, model: Path, probe: Path, out: Path) -> list[dict[str, Any]]:
    arguments = ("--probe", probe, "--count", 4, "--batch", 3, "--steps", 1, "--out", out)
    result = cli("evaluate", "miniature", "--model", model, *arguments)
    assert result.code == 0, result.err
    assert "round trip" in result.out
    return [json.loads(line) for line in (out / "figures.jsonl").read_text().splitlines()]


def test_figures_of_a_model_with_its_adapter(
    cli: Any, model: Path, probe: Path, tmp_path: Path
) -> None:
    assert Probe.from_pretrained(probe).config.size == tiny.SIZE
    out = tmp_path / "figures"
    rows = run(cli, model, probe, out)
    assert {row["group"] for row in rows} == {"autoencoder", "probe", "base", *WAYS, "cost"}
    assert all(row["base"] and row["adapter"] and row["probe"] for row in rows)
    assert all(row["value"] > 0 for row in rows if row["group"] == "cost")
    assert "adapter" in (out / "figures.md").read_text()
    made = sorted(out.rglob("pictures/*/*.png"))
    assert len(made) == 4 * 4
    times = [path.stat().st_mtime_ns for path in made]
    again = run(cli, model, probe, out)
    assert [path.stat().st_mtime_ns for path in sorted(out.rglob("pictures/*/*.png"))] == times
    same = [row for row in rows if row["group"] != "cost"]
    assert same == [row for row in again if row["group"] != "cost"]


def test_a_base_without_an_adapter_is_measured_alone(
    cli: Any, model: Path, probe: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(model, base, ignore=shutil.ignore_patterns("adapter"))
    rows = run(cli, base, probe, tmp_path / "figures")
    assert {row["group"] for row in rows} == {"autoencoder", "probe", "base", "cost"}


def test_a_missing_probe_is_one_sentence(cli: Any, model: Path, tmp_path: Path) -> None:
    result = cli("evaluate", "miniature", "--model", model, "--out", tmp_path / "figures")
    assert result.code == 2
    assert "There is no probe in" in result.err
    assert not (tmp_path / "figures").exists()
