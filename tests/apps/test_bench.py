"""A small benchmark on the command line: made, answered, answered again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynaip.evaluation.benchmarks.results import Results

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
    rest = cli("bench", "run", manifest, *options)
    assert "2 pictures made, 2 were there" in rest.out
    results = Results.open(out)
    assert results.method.name == "Ours"
    assert set(results.method.weights) == {"transformer", "adapter"}
    assert not results.missing()
    other = cli("bench", "run", manifest, *options, "--branches", "both")
    assert other.code == 2
    assert "choose another folder" in other.err


def test_the_base_answers_by_itself(cli: Cli, model: Path, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "base"
    options = ("--model", model, "--steps", 1, "--no-adapter", "--name", "text only")
    assert cli("bench", "run", manifest, "--out", out, *options).code == 0
    assert Results.open(out).method.weights.keys() == {"transformer"}


def test_a_benchmark_of_one_s_own_subjects(cli: Cli, manifest: Path, tmp_path: Path) -> None:
    pools, out = manifest.parent / "references", tmp_path / "own.jsonl"
    made = cli("bench", "dynaip", "--pools", pools, "--out", out, "--pairs", 1, "--triples", 0)
    assert "6 cases" in made.out, made.err
    too_many = cli("bench", "dynaip", "--pools", pools, "--out", out)
    assert too_many.code == 2
    assert "put more subjects" in too_many.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--shard", "2/2"), "--shard is i/n"),
        (("--branches", "none"), "--branches is image, text or both"),
        (("--overlap", "max"), "--overlap is sum, normalise or priority"),
    ],
)
def test_wrong_options_are_one_sentence(
    cli: Cli, model: Path, manifest: Path, tmp_path: Path, options: tuple[str, str], words: str
) -> None:
    run = cli("bench", "run", manifest, "--out", tmp_path / "x", "--model", model, *options)
    assert run.code == 2
    assert words in run.err
    assert not (tmp_path / "x").exists()
