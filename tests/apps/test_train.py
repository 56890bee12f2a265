"""`dynaip train` on a tiny model: a run belongs to its base and to what it started from."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dynaip.apps.cli.train import _tell

STAGE = {
    "steps": 1,
    "batch_size": 2,
    "learning_rate": 1e-3,
    "precision": "no",
    "workers": 0,
    "log_every": 1,
}


def recipe(folder: Path, model: Path, **changes: dict[str, Any]) -> Path:
    """A recipe's file; `changes` are to its tables."""
    config = tiny.config().to_dict()
    tables: dict[str, dict[str, Any]] = {
        "data": {"source": "toyland", "pool": 4, "view_captions": 0.5},
        "adapter": {k: v for k, v in config.items() if k not in ("format", "version")},
        "stage1": {"pairing": "intra", **STAGE},
        "stage2": {"pairing": "cross", "seed": 1, **STAGE},
    }
    for name, values in changes.items():
        tables[name] = tables.get(name, {}) | values
    lines = [f"model = {json.dumps(str(model))}", f"size = {tiny.SIZE}"]
    for name, values in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    path = folder / "mine.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"used": 0.02, "loss_wrong": 0.5}, "yes: right 0.4000, wrong 0.5000, null 0.6000;"),
        ({"used": 0.0, "loss_wrong": 0.5}, "not yet: right 0.4000, wrong 0.5000, null 0.6000;"),
        ({}, "no telling from one sample: right 0.4000, null 0.6000;"),
    ],
)
def test_the_log_is_told_in_words(
    capsys: pytest.CaptureFixture[str], changes: dict[str, float], answer: str
) -> None:
    row = {"step": 7, "loss": 0.4, "router_entropy": 0.6}
    _tell(row, 2)
    assert capsys.readouterr().out == ""
    _tell({**row, "loss_right": 0.4, "loss_null": 0.6, "attention_ratio": 0.1, **changes}, 2)
    told = capsys.readouterr().out
    assert f"is the reference used? {answer}" in told
    assert told.endswith(f"router entropy 0.600 of {math.log(2):.3f}\n")


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        (1, {"drops": {"texts": 0.1}}, "Unknown in the table drops: texts"),
        (1, {"drops": {"text": 2.0}}, "probabilities of a sum of at most 1"),
        (1, {"adapter": {"depth": 3}}, "Unknown in the table adapter: depth"),
        (1, {"adapter": {"fusion": "low", "layers": [1]}}, "a single level needs three taps"),
        (
            1,
            {"data": {"captions": 1}},
            "Unknown in the table data, of toyland: captions; choose from",
        ),
        (1, {"data": {"pool": 0}}, "pool is a number of pairs, at least 1"),
        (1, {"data": {"source": ["toyland"]}}, "data.source is toyland or folder"),
        (
            1,
            {"stage1": {"pairing": "cross", "stepps": 1}},
            "Unknown in the table stage1: stepps",
        ),
        (2, {"adapter": {"fusion": "add"}}, "fusion is 'moe' there and 'add' in the recipe"),
    ],
)
def test_what_is_wrong_is_told_before_the_base_is_loaded(
    cli: Any,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: int,
    changes: dict[str, Any],
    message: str,
) -> None:
    """That of FLUX takes minutes."""
    loaded = []
    monkeypatch.setattr("dynaip.pipeline.flux.load", lambda *asked, **how: loaded.append(asked))
    ours = ("train", "--recipe", recipe(tmp_path, model, **changes), "--runs", tmp_path / "runs")
    start = ("--start", model / "adapter") if stage == 2 else ()
    result = cli(*ours, "--stage", stage, *start)
    assert (result.code, message in result.err, loaded) == (2, True, []), result.err


def test_pairs_that_are_not_there_are_told_before_the_base_is_loaded(
    cli: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynaip.pipeline.flux.load", pytest.fail)
    path = recipe(tmp_path, model)
    pairs = 'source = "toyland"\npool = 4\nview_captions = 0.5'
    assert pairs in path.read_text()
    path.write_text(path.read_text().replace(pairs, 'source = "folder"\nintra = "nowhere"'))
    result = cli("train", "--recipe", path, "--runs", tmp_path / "runs")
    assert (result.code, "no pairs: nowhere/metadata.jsonl" in result.err) == (2, True), result.err


def test_a_run_goes_on_with_its_own_pairs_only(cli: Any, model: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    Image.new("RGB", (40, 40), "red").save(pairs / "a.png")
    row = {"image": "a.png", "reference": "a.png", "prompt": "a red toy"}
    (pairs / "metadata.jsonl").write_text(json.dumps(row))
    path = recipe(tmp_path, model)
    toyland = 'source = "toyland"\npool = 4\nview_captions = 0.5'
    folder = f'source = "folder"\nintra = {json.dumps(str(pairs))}'
    path.write_text(path.read_text().replace(toyland, folder))
    ours = ("train", "--recipe", path, "--runs", tmp_path / "runs")
    first = cli(*ours)
    assert first.code == 0, first.err
    (pairs / "metadata.jsonl").write_text("\n".join([json.dumps(row)] * 2))
    other = cli(*ours, "--steps", 2)
    assert (other.code, "another run: pairs was" in other.err) == (2, True), other.err


def test_a_run_goes_on_over_its_own_base_and_start_only(
    cli: Any, model: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(model, base)
    runs = tmp_path / "runs"
    ours = ("train", "--recipe", recipe(tmp_path, base), "--runs", runs)
    first = cli(*ours, "--stage", 1)
    assert first.code == 0, first.err
    assert cli(*ours, "--stage", 1, "--steps", 2).code == 0
    assert cli(*ours, "--stage", 2).code == 0
    shutil.rmtree(base / "adapter")  # ships with the base, and is no part of it
    assert cli(*ours, "--stage", 2, "--steps", 2).code == 0
    elsewhere = cli(*ours, "--stage", 2, "--steps", 3, "--start", model / "adapter")
    assert elsewhere.code == 2
    assert "another run: start was" in elsewhere.err

    (weights,) = (base / "text_encoder").glob("*.safetensors")
    tensors = load_file(weights)
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name] + torch.ones(())}, weights, {"format": "pt"})
    for stage in (1, 2):
        other = cli(*ours, "--stage", stage, "--steps", 3)
        assert other.code == 2
        assert "another run: base was" in other.err
