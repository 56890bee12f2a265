"""`dynaip study` on the command line: make, serve, score."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from evaluation.study.cases import make_results, manifest, vote

from dynaip.evaluation.benchmarks.results import Results
from dynaip.evaluation.study.design import StudySettings, design_study


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    questions = manifest(tmp_path)
    return [make_results(tmp_path, name, questions).folder for name in ("ours", "rival")]


def make(cli: Any, folders: list[Path], out: Path) -> Any:
    return cli("study", "make", *folders, "--out", out, "--items", 2, "--title", "Toys")


def test_from_folders_to_table_4(folders: list[Path], tmp_path: Path, cli: Any) -> None:
    made = make(cli, folders, tmp_path / "study.html")
    assert made.code == 0
    assert "Keep the key" in made.out
    assert "<title>Toys</title>" in (tmp_path / "study.html").read_text()
    ours, rival = map(Results.open, folders)
    study = design_study(ours, [rival], StudySettings(pool=4, items=2))
    assert json.loads((tmp_path / "study.key.json").read_text()) == study.key()
    rows = [vote(study, voter=voter) for voter in ("ann", "bob")]
    (tmp_path / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{")
    scored = cli("study", "score", tmp_path / "votes.jsonl", "--key", tmp_path / "study.key.json")
    assert scored.code == 0
    assert "votes.jsonl was cut short" in scored.err
    assert "## Adjusted advantage ratio of each method over ours" in scored.out
    assert "| rival | CP |" in scored.out


def test_a_study_that_runs_is_not_written_over(
    folders: list[Path], tmp_path: Path, cli: Any
) -> None:
    out = tmp_path / "study.html"
    make(cli, folders, out)
    key = tmp_path / "study.key.json"
    before = out.read_bytes(), key.read_bytes()
    other = cli("study", "make", *folders, "--out", out, "--items", 2, "--seed", 1)
    assert (other.code, "give another --out" in other.err) == (2, True)
    assert (out.read_bytes(), key.read_bytes()) == before
    assert make(cli, folders, out).code == 0
    assert (out.read_bytes(), key.read_bytes()) == before


def test_a_wrong_key_is_an_error(folders: list[Path], tmp_path: Path, cli: Any) -> None:
    (tmp_path / "votes.jsonl").write_text("")
    wrong = folders[0] / "method.json"
    result = cli("study", "score", tmp_path / "votes.jsonl", "--key", wrong)
    assert (result.code, "no study key" in result.err) == (2, True)


def test_the_page_is_served_until_it_is_stopped(
    folders: list[Path], tmp_path: Path, cli: Any
) -> None:
    page = tmp_path / "study.html"
    make(cli, folders, page)
    command = [sys.executable, "-m", "dynaip", "study", "serve", str(page), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline().decode()
            url = next(word for word in said.split() if word.startswith("http")).rstrip(";")
            with urllib.request.urlopen(url, timeout=10) as reply:
                assert reply.read() == page.read_bytes()
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=20) in (0, 2)
            assert server.stderr is not None
            assert b"Traceback" not in server.stderr.read()
        finally:
            server.kill()
