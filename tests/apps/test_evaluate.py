"""`dynaip evaluate`: a probe from nothing, and figures of a tiny model, from the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny

from dynaip.evaluation.experiments import Laboratory, Row
from dynaip.evaluation.factors import probed_values
from dynaip.evaluation.knowledge import ENCODERS
from dynaip.evaluation.probe import Probe, ProbeConfig
from dynaip.evaluation.suite import WAYS
from dynaip.evaluation.truth.references import SINGLE
from dynaip.miniature.autoencoder import PatchAutoencoder


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probe")
    config = ProbeConfig(values=probed_values(), size=tiny.SIZE, widths=(4, 4))
    Probe(config).save_pretrained(folder)
    return folder


def test_a_probe_is_trained_with_an_autoencoder(cli: Any, tmp_path: Path) -> None:
    PatchAutoencoder(sample_size=tiny.SIZE).save_pretrained(tmp_path / "vae")
    arguments = ("--renders", 128, "--size", tiny.SIZE, "--workers", 0, "--out", tmp_path / "probe")
    result = cli("evaluate", "train-probe", *arguments, "--autoencoder", tmp_path / "vae")
    assert result.code == 0, result.err
    assert Probe.from_pretrained(tmp_path / "probe").config.size == tiny.SIZE


def test_instruments_are_trained_and_say_how_good_they_are(
    cli: Any, probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae, second, detector = (tmp_path / name for name in ("vae", "second", "detector"))
    PatchAutoencoder(sample_size=tiny.SIZE).save_pretrained(vae)
    small = ("--renders", 128, "--epochs", 1, "--size", tiny.SIZE, "--workers", 0)
    result = cli("evaluate", "train-probe", *small, "--layers", 0, "--out", second)
    assert result.code == 0, result.err
    assert sorted(path.name for path in second.iterdir()) == ["config.json", "model.safetensors"]
    assert Probe.from_pretrained(second).config.layers == 0
    assert Probe.from_pretrained(probe).config.layers == 3
    assert cli("evaluate", "train-detector", *small, "--out", detector).code == 0
    chosen = ("--probe", probe, "--probe", second, "--detector", detector, "--autoencoder", vae)
    result = cli("evaluate", "instruments", *chosen, "--count", 6, "--json")
    assert result.code == 0, result.err
    printed = json.loads(result.out)
    assert [row["factor"] for row in printed["factors"]] == list(probed_values())
    assert all(row["ceilings"].keys() >= {str(probe), str(second)} for row in printed["factors"])
    assert 0 <= printed["detector"]["recall"] <= 1
    assert printed["strange"].keys() == {str(probe), str(second)}
    monkeypatch.setenv("COLUMNS", "80")
    result = cli("evaluate", "instruments", *chosen, "--count", 6)
    assert "…" not in result.out
    titles = next(line for line in result.out.splitlines() if line.startswith("factor "))
    assert {"chance", "second", "analytic", "part", "measurable"} <= set(titles.split())
    assert "main_colour" in result.out
    assert "of blends of two" in " ".join(result.out.split())
    assert "The detector finds" in result.out


@pytest.mark.parametrize(
    "verb",
    [
        ("evaluate", "instruments", "--probe", "nowhere"),
        ("evaluate", "miniature", "--probe", "nowhere"),
        ("evaluate", "experiment", "table", "--adapter", "full=nowhere"),
        ("evaluate", "evidence", "--rows", "nowhere"),
        ("train", "--recipe", "nowhere"),
        ("miniature", "train", "--stage", "base", "--runs", "nowhere"),
    ],
)
def test_libraries_make_no_remarks(remarks: Callable[..., str], verb: tuple[str, ...]) -> None:
    said = remarks(*verb)
    assert "nowhere" in said
    assert "torchvision" not in said


def run(cli: Any, model: Path, probe: Path, out: Path) -> list[dict[str, Any]]:
    arguments = ("--probe", probe, "--count", 4, "--batch", 3, "--steps", 1, "--out", out)
    result = cli("evaluate", "miniature", "--model", model, *arguments)
    assert result.code == 0, result.err
    assert "round trip" in result.out
    assert "…" not in result.out
    titles = [line.split() for line in result.out.splitlines() if line.startswith("figure ")]
    assert all(line[-4:] == ["acc.", "yard.", "chance", "n"] for line in titles)
    rows = [json.loads(line) for line in (out / "figures.jsonl").read_text().splitlines()]
    assert len(titles) == len({row["group"] for row in rows})
    return rows


def test_figures_of_a_model_with_its_adapter(
    cli: Any, model: Path, probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "figures"
    rows = run(cli, model, probe, out)
    told = {row["group"]: (row.get("branches"), row.get("own_words")) for row in rows}
    for group, use in WAYS.items():
        assert told[group] == (use.branches, use.own_words)
    assert told["base"] == (None, None)
    held = {row["group"] for row in rows if row["target"] is not None}
    assert held & set(WAYS) == {
        "adapter, image rows (DDS)",
        "adapter, image rows (DDS), image guidance 3",
    }
    assert {row["group"] for row in rows} == {
        "autoencoder",
        "probe",
        "base",
        *WAYS,
        *ENCODERS,
        "cost",
    }
    assert all(row["base"] and row["adapter"] and row["probe"] for row in rows)
    judged = [row["group"] for row in rows if row["name"] == "strange pictures"]
    assert judged == ["base", *WAYS]
    assert all(row["value"] > 0 for row in rows if row["group"] == "cost")
    assert "adapter" in (out / "figures.md").read_text()
    assert len(list(out.rglob("pictures/*/*.png"))) == 4 * (2 + len(WAYS))


def test_a_base_without_an_adapter_is_measured_alone(
    cli: Any, model: Path, probe: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(model, base, ignore=shutil.ignore_patterns("adapter"))
    rows = run(cli, base, probe, tmp_path / "figures")
    assert {row["group"] for row in rows} == {"autoencoder", "probe", "base", *ENCODERS, "cost"}


def test_the_adapter_after_stage_1_is_the_one_that_is_given(
    cli: Any, model: Path, probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path | None] = []

    def ask(laboratory: Laboratory) -> Iterator[Row]:
        asked.append(laboratory.intra)
        yield {"name": "asked"}

    monkeypatch.setattr("dynaip.evaluation.experiments.EXPERIMENTS", {"intra": ask})
    chosen = ("--model", model, "--probe", probe, "--out", tmp_path)
    given = tmp_path / "after stage 1"
    shutil.copytree(model / "adapter", given)
    result = cli("evaluate", "experiment", "intra", *chosen, "--intra", given)
    assert (result.code, asked) == (0, [given]), result.err


def test_a_missing_probe_is_one_sentence(cli: Any, model: Path, tmp_path: Path) -> None:
    chosen = ("--model", model, "--probe", tmp_path / "nowhere", "--out", tmp_path / "figures")
    result = cli("evaluate", "miniature", *chosen)
    assert result.code == 2
    assert f"There is no probe in {tmp_path / 'nowhere'}" in " ".join(result.err.split())
    assert not (tmp_path / "figures").exists()


def test_an_experiment_names_its_checkpoints_and_becomes_a_page(
    cli: Any, model: Path, probe: Path, tmp_path: Path
) -> None:
    chosen = ("--adapter", f"full={model / 'adapter'}", "--model", model, "--probe", probe)
    sizes = ("--count", 3, "--steps", 1, "--out", tmp_path)
    result = cli("evaluate", "experiment", "table", *chosen, *sizes)
    assert result.code == 0, result.err
    rows = [json.loads(line) for line in (tmp_path / "table.jsonl").read_text().splitlines()]
    ways = [row["name"] for row in rows[len(SINGLE) + 1 : -1]]
    assert [row["name"] for row in rows] == [*SINGLE, "base", *ways, "samples"]
    assert ways == ["image", "both", "own words", "guided"]
    assert all(row["experiment"] == "table" and row["base"] and row["probe"] for row in rows)
    assert all(row["adapter"] for row in rows[-1 - len(ways) : -1])
    assert rows[-2 - len(ways)]["retention"][0] in (1, None)
    assert len(list(tmp_path.rglob("*.png"))) == 3 * (1 + len(ways))
    result = cli("evaluate", "evidence", "--rows", tmp_path, "--out", tmp_path / "page")
    assert result.code == 0, result.err
    assert "full: both" in (tmp_path / "page" / "tables.md").read_text()
    beside = (tmp_path / "page" / "table.jsonl").read_bytes()
    assert beside == (tmp_path / "table.jsonl").read_bytes()
    # Without a name for it, it is the model's own adapter, and its pictures are there.
    pictures = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    again = cli("evaluate", "experiment", "table", "--model", model, "--probe", probe, *sizes)
    assert again.code == 0, again.err
    lines = (tmp_path / "table.jsonl").read_text().splitlines()
    assert rows == [json.loads(line) for line in lines]
    assert pictures == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}


@pytest.mark.parametrize(
    ("names", "adapter", "sentence"),
    [
        ("table", "full", "NAME=FOLDER"),
        ("table", "full=nowhere", "no adapter in nowhere"),
        ("table", "full=src --adapter full=src", "given twice"),
        ("taste", "full=nowhere", "no experiment 'taste'"),
        ("ablation", "full=src --model src", "no adapters in src/variants"),
        ("ablation", "full=src --variant full=nowhere", "no adapter in nowhere"),
        ("all", "full=src --model src", "ablation, seeds, intra"),
        ("seeds", "full=src --variant full=src", "trained more than once"),
        ("intra", "full=src --model src", "no adapter in src/intra"),
        ("table", "full=src --intra nowhere", "no adapter in nowhere; check --intra"),
    ],
)
def test_experiments_that_cannot_be_run_are_one_sentence(
    cli: Any, names: str, adapter: str, sentence: str
) -> None:
    result = cli("evaluate", "experiment", names, "--adapter", *adapter.split())
    assert result.code == 2
    assert sentence in result.err
