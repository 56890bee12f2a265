"""A real vision-language model, tiny and untrained: in this process, and behind a real server."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import tiny_vlm

from dynaip.evaluation.benchmarks.results import Results
from dynaip.evaluation.judges.endpoint import Endpoint
from dynaip.evaluation.judges.local import LocalJudge
from dynaip.evaluation.judges.protocols import PROTOCOLS
from dynaip.evaluation.judges.questions import Judge, ask_about
from dynaip.evaluation.judges.rubrics import OURS
from dynaip.evaluation.judges.running import ask_all
from dynaip.evaluation.scores import STATUSES, read_scores

SETTINGS = {"temperature": 0.0, "max_tokens": 6, "seed": 0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm.save(tmp_path_factory.mktemp("vlm"))


@pytest.fixture(scope="module")
def judge(model: Path) -> LocalJudge:
    return LocalJudge(str(model), device="cpu")


def test_pictures_reach_the_model_in_their_order(judge: LocalJudge, results: Results) -> None:
    strict = PROTOCOLS["strict"]
    question = next(ask_about(results, strict, OURS))
    (message,) = question.messages(strict)
    text, first, second = message["content"]
    swapped = [{**message, "content": [text, second, first]}]
    answers = [judge(asked, candidates=True, **SETTINGS) for asked in ([message], swapped)]
    values = [[each.logprob for each in answer.candidates[0]] for answer in answers]
    assert values[0] != pytest.approx(values[1], abs=1e-7)
    again = judge([message], candidates=True, **SETTINGS)
    assert [each.logprob for each in again.candidates[0]] == values[0]
    # Two pictures of 4 patches each are told apart from one.
    alone = judge([{**message, "content": [text, first]}], candidates=False, **SETTINGS)
    assert again.prompt_tokens - alone.prompt_tokens == (tiny_vlm.SIDE // tiny_vlm.PATCH) ** 2


def test_candidates_are_a_distribution_and_seeds_count(judge: LocalJudge, results: Results) -> None:
    strict = PROTOCOLS["strict"]
    messages = next(ask_about(results, strict, OURS)).messages(strict)
    reply = judge(messages, candidates=True, **SETTINGS)
    assert len(reply.candidates) == reply.answer_tokens
    assert len(reply.candidates[0]) == len(tiny_vlm.WORDS)
    warm = {**SETTINGS, "temperature": 1.0, "max_tokens": 12}
    texts = {judge(messages, candidates=False, **{**warm, "seed": n}).text for n in range(4)}
    assert len(texts) > 1
    assert judge(messages, candidates=False, **warm) == judge(messages, candidates=False, **warm)
    assert judge(messages, candidates=False, **{**warm, "max_tokens": 1}).finish == "length"


def test_the_models_own_sampling_is_left_out(judge: LocalJudge, results: Results) -> None:
    strict = PROTOCOLS["strict"]
    messages = next(ask_about(results, strict, OURS)).messages(strict)
    answer = judge(messages, candidates=False, **SETTINGS)
    own = judge.model.generation_config
    own.repetition_penalty = 100.0
    try:
        assert judge(messages, candidates=False, **SETTINGS) == answer
    finally:
        own.repetition_penalty = 1.0


@pytest.fixture(scope="module")
def served(model: Path) -> Iterator[str]:
    """`transformers serve` on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(model)]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"{url}/health").status_code == 200:
                    break
            assert process.poll() is None, "the server ended"
            time.sleep(0.25)
        yield f"{url}/v1"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_a_real_server_answers_and_every_answer_is_kept(
    served: str, model: Path, results: Results, tmp_path: Path
) -> None:
    # Untrained, it never ends by itself.
    protocol = dataclasses.replace(PROTOCOLS["dynaip"], max_tokens=16)
    questions = list(ask_about(results, protocol, OURS))
    path = tmp_path / "scores" / "served.jsonl"
    endpoint = Endpoint(served, str(model), server="transformers", timeout=60)
    tally = ask_all(questions, Judge(model="tiny"), protocol, endpoint, path, concurrency=4)
    rows = read_scores(path).rows
    assert len(rows) == tally.asked == len(questions)
    assert {row.unit for row in rows} == {q.unit(Judge(model="tiny"), protocol) for q in questions}
    assert {row.status for row in rows} <= set(STATUSES) - {"transport"}
    assert all(row.details["prompt_tokens"] > 0 for row in rows)
    assert json.loads(path.read_text().splitlines()[0])["protocol"] == "dynaip"
