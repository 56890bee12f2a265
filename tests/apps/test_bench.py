"""A small benchmark on the command line: made, answered, answered again."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dynaip.evaluation.benchmarks.manifest import read_manifest, write_manifest
from dynaip.evaluation.benchmarks.results import Results
from dynaip.evaluation.probe import Probe, ProbeConfig
from dynaip.evaluation.scores import read_scores
from dynaip.pipeline.provenance import read_settings

Cli = Callable[..., Any]

SMALL = ("--each", 3, "--pairs", 1, "--triples", 1, "--prompts", 2, "--size", 16)


@pytest.fixture
def manifest(cli: Cli, tmp_path: Path) -> Path:
    path = tmp_path / "bench" / "manifest.jsonl"
    made = cli("bench", "toyland", "--out", path, *SMALL)
    assert made.code == 0, made.err
    assert "4 cases, 4 pictures" in made.out
    return path


def test_a_benchmark_is_answered_in_shards_and_goes_on(
    cli: Cli, model: Path, manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "answers"
    options = ("--out", out, "--model", model, "--steps", 1, "--name", "Ours")
    first = cli("bench", "run", manifest, *options, "--shard", "0/2")
    assert first.code == 0, first.err
    assert "2 pictures made, 0 were there" in first.out
    # This model reads 12 tokens.
    assert "4 of 4 prompts are longer than this model reads" in first.err
    rest = cli("bench", "run", manifest, *options)
    assert "2 pictures made, 2 were there" in rest.out
    assert "2 of 4 pictures are there already" in rest.err
    results = Results.open(out)
    assert results.method.name == "Ours"
    assert set(results.method.weights) == {"base", "adapter"}
    # The hash that stands in the pictures, too.
    settings = read_settings(results.pictures()[0].path)
    assert results.method.weights["adapter"] == settings.adapter_sha256
    assert not results.missing()
    for change in (("--branches", "both"), ("--size", 16), ("--own-words",)):
        other = cli("bench", "run", manifest, *options, *change)
        assert other.code == 2
        assert "choose another folder" in other.err


def test_who_is_drawn_without_own_words_is_told(
    cli: Cli, model: Path, manifest: Path, tmp_path: Path
) -> None:
    asked = read_manifest(manifest)
    (first, second, *_) = asked.cases
    named = " and ".join(subject.name for subject in first.subjects)
    cases = (dataclasses.replace(first, prompt=named), dataclasses.replace(second, prompt="here"))
    write_manifest(dataclasses.replace(asked, cases=cases), manifest)
    options = ("--out", tmp_path / "answers", "--model", model, "--steps", 1)
    result = cli("bench", "run", manifest, *options, "--own-words")
    assert result.code == 0, result.err
    assert f"1 of 2 cases are drawn without own words; of case {second.id}: The" in result.err
    made = {
        answer.case.id: read_settings(answer.path)
        for answer in Results.open(tmp_path / "answers").pictures()
    }
    phrases = {case: [own.phrase for own in made[case].subjects] for case in made}
    assert phrases[first.id] == [subject.name for subject in first.subjects]
    assert set(phrases[second.id]) == {None}
    assert (made[first.id].branches, made[second.id].branches) == ("both", "image")
    write_manifest(dataclasses.replace(asked, cases=cases[1:]), manifest)
    nobody = ("--out", tmp_path / "x", "--model", model, "--own-words")
    result = cli("bench", "run", manifest, *nobody)
    assert (result.code, "No prompt names all its subjects, so" in result.err) == (2, True)
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_two_processes_share_the_work(manifest: Path, model: Path, tmp_path: Path) -> None:
    """Started as `accelerate launch` starts several; on CPUs it starts one only."""
    out = tmp_path / "answers"
    launch = ("torch.distributed.run", "--nproc-per-node", "2", "-m", "dynaip")
    run = ("bench", "run", str(manifest), "--out", str(out), "--model", str(model), "--steps", "1")
    done = subprocess.run(
        [sys.executable, "-m", *launch, *run], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if "pictures made" in line]
    assert sorted(line[:27] for line in told) == [
        "Process 0: 2 pictures made,",
        "Process 1: 2 pictures made,",
    ]
    assert not Results.open(out).missing()
    assert done.stderr.count("prompts are longer") == 1


def test_the_base_answers_by_itself(cli: Cli, model: Path, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "base"
    options = ("--model", model, "--steps", 1, "--no-adapter", "--name", "text only")
    assert cli("bench", "run", manifest, "--out", out, *options).code == 0
    method = Results.open(out).method
    assert method.weights.keys() == {"base"}
    assert method.settings.keys() == {"model", "adapter", "steps", "guidance", "size"}


@pytest.mark.parametrize(
    "option",
    [
        ("--adapter", "mine"),
        ("--branches", "both"),
        ("--overlap", "sum"),
        ("--scale", 0),
        ("--no-boxes",),
        ("--own-words",),
        ("--image-guidance", 3),
    ],
)
def test_the_base_is_told_nothing_of_references(
    cli: Cli, manifest: Path, tmp_path: Path, option: tuple[Any, ...]
) -> None:
    out = tmp_path / "base"
    result = cli("bench", "run", manifest, "--out", out, "--no-adapter", *option)
    assert (result.code, "are about references" in result.err) == (2, True)
    assert not out.exists()


def test_a_benchmark_of_one_s_own_subjects(cli: Cli, manifest: Path, tmp_path: Path) -> None:
    pools, out = manifest.parent / "references", tmp_path / "own.jsonl"
    made = cli("bench", "dynaip", "--pools", pools, "--out", out, "--pairs", 1, "--triples", 0)
    assert "6 cases" in made.out, made.err
    too_many = cli("bench", "dynaip", "--pools", pools, "--out", out)
    assert too_many.code == 2
    assert "put more subjects" in too_many.err


def test_answers_are_scored_beside_the_copied_reference(
    cli: Cli, manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "copy"
    made = cli("bench", "baseline", "copy", "--manifest", manifest, "--out", out)
    assert "4 pictures are in" in made.out, made.err
    scored = cli("bench", "score", out)
    assert scored.code == 0, scored.err
    rows = read_scores(out / "scores" / "offline.jsonl").rows
    assert f"{len(rows)} scores" in scored.out
    assert {row.measure for row in rows} == {"colour-edges", "colour-edges-masked"}
    whole = [row for row in rows if row.measure == "colour-edges"]
    assert len(whole) == 2 * 2 + 2 * 3
    assert [row.score for row in whole if row.subject == 0] == pytest.approx([1.0] * 4)
    lost = cli("bench", "score", out, "--metric", "clip", "--model", tmp_path / "none")
    assert lost.code == 2
    assert "give its folder as --model" in lost.err
    next(iter(out.glob("pictures/*/0.png"))).unlink()
    assert "1 pictures of the manifest are missing" in cli("bench", "score", out).err


def test_the_truth_is_read_by_a_probe_and_reported(
    cli: Cli, remarks: Callable[..., str], manifest: Path, tmp_path: Path
) -> None:
    """This probe can only say "room", which is right of all prompts here, and "dog"."""
    values = {"scene": ("room",), "category": ("dog", "cat", "duck")}
    torch.manual_seed(0)
    Probe(ProbeConfig(values=values, size=16, widths=(4, 4))).save_pretrained(tmp_path / "probe")
    asked = read_manifest(manifest)
    rooms = tuple(
        case for case in asked.cases if case.prompt_kind == "scene" and "room" in case.prompt
    )
    write_manifest(dataclasses.replace(asked, cases=rooms), manifest)
    out = tmp_path / "perfect"
    made = cli("bench", "baseline", "perfect", "--manifest", manifest, "--out", out)
    assert "2 pictures are in" in made.out, made.err
    options = ("--metric", "truth", "--model", tmp_path / "probe")
    scored = cli("bench", "score", out, *options)
    assert scored.code == 0, scored.err
    assert "Left out" in scored.err
    # A line for each way of being seen, a column for each factor.
    _, heads, *lines = scored.err.partition("them:")[2].splitlines()
    assert heads.split() == ["category"]
    assert [line.split("  ")[:2] for line in map(str.rstrip, lines)] == [
        ["living, one of 2", "0.000"],
        ["living, one of 3", "0.333"],
    ]
    rows = read_scores(out / "scores" / "truth.jsonl").rows
    assert {row.score for row in rows if row.measure == "truth-scene"} == {1.0}
    assert {row.protocol for row in rows if row.measure == "pf"} == {"truth"}
    assert {row.status for row in rows if row.measure == "cp"} == {"not_asked"}
    lenient = cli("bench", "score", out, *options, "--least-ceiling", 0)
    assert "Left out" not in lenient.err
    rows = read_scores(out / "scores" / "truth.jsonl").rows
    assert sum((row.measure, row.status) == ("cp", "ok") for row in rows) == 2 + 3
    other = cli("bench", "score", out, "--least-ceiling", 0)
    assert other.code == 2
    assert "is for --metric truth" in other.err
    report = cli("report", out)
    assert "perfect answer" in report.out, report.err
    none = cli("bench", "score", out, "--metric", "truth", "--model", tmp_path / "none")
    assert none.code == 2
    assert "train-probe" in none.err
    said = remarks("bench", "score", out, *options)
    assert "Left out" in said
    assert "torchvision" not in said


def test_a_part_of_a_data_set_is_called_so(cli: Cli, tmp_path: Path) -> None:
    text = "subject_name,class\ncan,can\nrex,dog\n\nObject Prompts\n"
    prompt = "'a {0} {1} here'.format(unique_token, class_token),"
    lists = "".join(f"prompt_list = [{25 * prompt}]\n" for _ in range(2))
    (tmp_path / "prompts_and_classes.txt").write_text(text + lists)
    (tmp_path / "rex").mkdir()
    (tmp_path / "rex" / "00.jpg").touch()
    options = ("--data", tmp_path, "--out", tmp_path / "m.jsonl", "--pictures", 1)
    made = cli("bench", "dreambooth", *options)
    assert "25 cases of 1 of 30 subjects, 25 pictures to make" in made.out, made.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--shard", "2/2"), "--shard is i/n"),
        (("--branches", "none"), "--branches is image, text or both"),
        (("--overlap", "max"), "--overlap is sum, normalise or priority"),
        (("--branches", "image", "--own-words"), "no word sees a reference"),
    ],
)
def test_wrong_options_are_one_sentence(
    cli: Cli, model: Path, manifest: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    run = cli("bench", "run", manifest, "--out", tmp_path / "x", "--model", model, *options)
    assert run.code == 2
    assert words in run.err
    assert not (tmp_path / "x").exists()
