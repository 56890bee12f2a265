"""`dynaip judge` as people run it, against an endpoint on loopback and a model in this process."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_vlm
from judged import FaultyServer, results, say, server

from dynaip.evaluation.benchmarks.results import Results
from dynaip.evaluation.judges.protocols import PROTOCOLS
from dynaip.evaluation.judges.rubrics import OFFICIAL_FILES, OURS
from dynaip.evaluation.judges.selftest import self_test_questions
from dynaip.evaluation.scores import read_scores

__all__ = ["results", "server"]

Cli = Callable[..., Any]


def url(server: FaultyServer) -> tuple[str, ...]:
    return ("--endpoint", server.url, "--judge", "org/judge")


def test_scores_are_written_and_a_second_run_asks_nothing(
    cli: Cli, server: FaultyServer, results: Results
) -> None:
    options = (*url(server), "--no-self-test", "--json")
    first = cli("judge", results.folder, *options)
    assert first.code == 0, first.err
    (found,) = json.loads(first.out)["judges"].values()
    assert (found["attempts"], found["ok"]) == (14, 14)
    assert len(read_scores(results.folder / "scores" / "dynaip-org-judge.jsonl").rows) == 14
    (again,) = json.loads(cli("judge", results.folder, *options).out)["judges"].values()
    assert (again["attempts"], again["reused"]) == (0, 14)


def test_a_judge_that_fails_its_self_test_is_not_trusted(
    cli: Cli, server: FaultyServer, results: Results
) -> None:
    """It gives everything three points."""
    refused = cli("judge", results.folder, *url(server))
    assert refused.code == 2
    assert "failed its self-test (identical pictures get 3.00 of 4; " in refused.err
    assert not (results.folder / "scores").exists()
    assert (results.folder / "selftest" / "dynaip-org-judge.jsonl").is_file()
    trusted = cli("judge", results.folder, *url(server), "--despite-self-test")
    assert trusted.code == 0, trusted.err
    assert "self test: identical pictures get 3.00 of 4; " in trusted.out
    assert "(of 4 points: identical 3.00, " in trusted.out


def test_an_endpoint_that_died_meanwhile_is_no_success(
    cli: Cli, server: FaultyServer, results: Results
) -> None:
    last = results.pictures()[-1].path
    kept = last.read_bytes()
    last.unlink()
    options = (*url(server), "--no-self-test", "--concurrency", 1)
    assert cli("judge", results.folder, *options).code == 0
    last.write_bytes(kept)
    server.script = lambda number, body: (400, {}, b'{"error": {"message": "out of memory"}}')
    died = cli("judge", results.folder, *options)
    assert died.code == 2
    assert "answered none of the 2 questions that were left (Error code: 400" in died.err
    assert "out of memory" in died.err


def test_a_dry_run_says_what_it_would_take(
    cli: Cli, server: FaultyServer, results: Results
) -> None:
    options = ("--dry-run", "--concurrency", 2, "--seconds-per-call", 3600, "--price-out", 1000)
    result = cli("judge", results.folder, *url(server), *options, "--no-self-test")
    assert result.code == 0, result.err
    assert "calls: 14" in result.out
    assert "hours: 7.0" in result.out
    assert f"cost at most: {14 * 512 * 1000 / 1e6:.2f}" in result.out
    known = len(self_test_questions(results, OURS))
    with_self_test = cli("judge", results.folder, *url(server), *options, "--json").out
    (would,) = json.loads(with_self_test)["judges"].values()
    assert (would["calls"], would["of_them_self_test"]) == (14 + known, known)
    assert not server.requests


def test_official_rubrics_make_scores_of_another_name(
    cli: Cli,
    server: FaultyServer,
    results: Results,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So they never share a table with scores by ours."""
    for name, (stem, *_) in OFFICIAL_FILES.items():
        for who in ("user", "gpt"):
            (tmp_path / f"{who}_{stem}_full.txt").write_text("Be fair.")
        prefix = hashlib.sha256(b"Be fair.").hexdigest()[:16]
        monkeypatch.setitem(OFFICIAL_FILES, name, (stem, prefix, prefix))
    options = (*url(server), "--rubrics", tmp_path, "--no-self-test")
    assert cli("judge", results.folder, *options).code == 0
    assert cli("judge", results.folder, *options, "--protocol", "dreambenchpp").code == 0
    files = sorted((results.folder / "scores").iterdir())
    protocols = [{row.protocol for row in read_scores(path).rows} for path in files]
    assert protocols == [{"dreambenchpp"}, {"dynaip-official"}]


def test_two_judges_have_a_file_each(cli: Cli, server: FaultyServer, results: Results) -> None:
    judges = ("--judge", "a", "--judge", "b", "--endpoint", server.url, "--no-self-test")
    assert cli("judge", results.folder, *judges).code == 0
    assert {request["model"] for request in server.requests} == {"a", "b"}
    assert len(list((results.folder / "scores").glob("dynaip-?.jsonl"))) == 2


def test_missing_pictures_are_told(cli: Cli, server: FaultyServer, results: Results) -> None:
    results.pictures()[0].path.unlink()
    judged = cli("judge", results.folder, *url(server), "--no-self-test")
    assert "1 pictures of the manifest are missing" in judged.err


def test_a_key_comes_from_the_environment(
    cli: Cli, server: FaultyServer, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNAIP_JUDGE_KEY", "secret")
    server.script = lambda number, body: say("Score: 2")
    judged = cli("judge", results.folder, *url(server), "--no-self-test")
    assert judged.code == 0
    assert "secret" not in judged.out + judged.err
    assert {headers["authorization"] for headers in server.headers} == {"Bearer secret"}


def test_a_model_can_judge_in_this_process(
    cli: Cli,
    results: Results,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = dataclasses.replace(PROTOCOLS["dynaip"], max_tokens=4)
    monkeypatch.setitem(PROTOCOLS, "dynaip", short)  # untrained, it never ends by itself
    folder = tiny_vlm.save(tmp_path_factory.mktemp("vlm"))
    judged = cli("judge", results.folder, "--judge", folder, "--no-self-test", "--json")
    assert judged.code == 0, judged.err
    (found,) = json.loads(judged.out)["judges"].values()
    assert found["attempts"] == 14


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--protocol", "lenient"), "protocols are"),
        (("--protocol", "dreambenchpp"), "give its checkout as --rubrics"),
        (("--endpoint", "http://127.0.0.1:1/v1", "--server", "ollama"), "--server is one of"),
        (("--endpoint", "a", "--endpoint", "b", "--endpoint", "c"), "given 3 times"),
    ],
)
def test_wrong_options_are_one_sentence(
    cli: Cli, results: Results, options: tuple[str, ...], words: str
) -> None:
    judged = cli("judge", results.folder, *options)
    assert judged.code == 2
    assert words in judged.err


def test_a_folder_without_pictures_says_what_to_do(cli: Cli, results: Results) -> None:
    for wanted in results.pictures():
        wanted.path.unlink()
    judged = cli("judge", results.folder)
    assert judged.code == 2
    assert "dynaip bench run" in judged.err
