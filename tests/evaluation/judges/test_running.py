"""Judging against a server that fails in every way: nothing is lost, or counted twice."""

from __future__ import annotations

import dataclasses
import email.utils
import json
import math
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from judged import FaultyServer, picture, say, slow

from dynaip.evaluation.benchmarks.results import Results
from dynaip.evaluation.judges.endpoint import SERVERS, Endpoint
from dynaip.evaluation.judges.protocols import PROTOCOLS
from dynaip.evaluation.judges.questions import Judge, Question, ask_about
from dynaip.evaluation.judges.rubrics import OURS
from dynaip.evaluation.judges.running import Patience, ask_all, estimate
from dynaip.evaluation.scores import final_scores, read_scores

PROTOCOL = PROTOCOLS["dynaip"]
WARM = dataclasses.replace(PROTOCOL, temperature=1.0)
JUDGE = Judge(model="m")
QUICK = Patience(attempts=3, wait=lambda seconds: None)


@pytest.fixture
def questions(results: Results) -> list[Question]:
    return list(ask_about(results, PROTOCOL, OURS))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scores" / "m.jsonl"


def ask(server: FaultyServer, questions: list[Question], path: Path, **options: Any) -> Any:
    settings = {"protocol": PROTOCOL, "patience": QUICK, "timeout": 5.0, **options}
    endpoint = Endpoint(server.url, "m", timeout=settings.pop("timeout"))
    return ask_all(questions, JUDGE, ask=endpoint, path=path, **settings)


def test_all_is_asked_once_and_kept(
    server: FaultyServer, questions: list[Question], path: Path
) -> None:
    tally = ask(server, questions, path)
    assert (tally.asked, tally.reused, tally.statuses) == (14, 0, {"ok": 14})
    rows = read_scores(path).rows
    assert {row.unit for row in rows} == {q.unit(JUDGE, PROTOCOL) for q in questions}
    assert all(row.score == 3 and row.details["answer"] == "Score: 3" for row in rows)
    assert rows[0].details["prompt_tokens"] == 7
    again = ask(server, questions, path)
    assert (again.asked, again.reused) == (0, 14)
    assert len(server.requests) == 14
    sent = server.requests[0]
    assert (sent["temperature"], sent["top_p"], sent["top_k"]) == (0, 1, -1)
    assert (sent["max_tokens"], sent["repetition_penalty"]) == (512, 1.0)


FAULTS: dict[str, Any] = {
    "busy": (429, {"Retry-After": "7"}, b"{}"),
    "ill": (503, {}, b"down"),
    "cut JSON": (200, {}, say("Score: 3")[2][:40]),
    "no choices": (200, {}, json.dumps({"id": "x", "object": "o", "choices": []}).encode()),
    "empty": (200, {}, b""),
    "connection cut": None,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_get_through_is_asked_again(
    server: FaultyServer, questions: list[Question], path: Path, fault: str
) -> None:
    server.script = lambda number, body: say("Score: 2") if number % 2 else FAULTS[fault]
    waits: list[float] = []
    patience = Patience(wait=waits.append)
    tally = ask(server, questions[:3], path, concurrency=1, patience=patience)
    assert (tally.asked, tally.statuses) == (6, {"ok": 3})
    rows = read_scores(path).rows
    assert [row.status for row in rows] == ["transport", "ok"] * 3
    assert [row.attempt for row in rows] == [0, 1] * 3
    assert [row.score for row in final_scores(rows).values()] == [2, 2, 2]
    assert len(waits) == 3
    assert all(wait == 7 for wait in waits) == (fault == "busy")


def test_a_date_to_come_back_at_is_kept_too(
    server: FaultyServer, questions: list[Question], path: Path
) -> None:
    moment = email.utils.formatdate(time.time() + 40, usegmt=True)
    headers = iter([{"Retry-After": moment}, {"Retry-After": "soon"}])
    server.script = lambda number, body: (
        (429, next(headers), b"{}") if number < 2 else say("Score: 2")
    )
    waits: list[float] = []
    ask(server, questions[:1], path, patience=Patience(wait=waits.append))
    assert 30 < waits[0] <= 40
    assert waits[1] <= 2


def test_waits_double_up_to_a_minute_and_heed_the_server() -> None:
    patience = Patience()
    for failures, most in ((1, 1.0), (2, 2.0), (5, 16.0), (9, 60.0)):
        waits = [patience.delay(failures, None) for _ in range(50)]
        assert all(most / 2 <= wait <= most for wait in waits)
        assert max(waits) - min(waits) > most / 10  # threads do not come back all at once
    assert [patience.delay(1, seconds) for seconds in (0.0, 7.0, 3600.0)] == [0, 7, 60]


@pytest.mark.parametrize("code", [400, 413])
def test_a_rejected_question_does_not_stop_the_others(
    server: FaultyServer, questions: list[Question], path: Path, code: int
) -> None:
    too_large = (code, {}, b'{"error": {"message": "picture too large"}}')
    server.script = lambda number, body: too_large if number % 2 else say("Score: 3")
    tally = ask(server, questions, path, concurrency=1)
    assert (tally.asked, tally.statuses) == (14, {"ok": 7, "transport": 7})
    failed = [row for row in read_scores(path).rows if row.status == "transport"]
    assert all("picture too large" in row.details["error"] for row in failed)


def test_a_server_that_rejects_everything_is_left(
    server: FaultyServer, questions: list[Question], path: Path
) -> None:
    server.script = lambda number, body: (400, {}, b'{"error": {"message": "no field top_k"}}')
    with pytest.raises(ValueError, match=r"rejects every question.*no field top_k"):
        ask(server, questions, path, concurrency=1)
    assert [row.status for row in read_scores(path).rows] == ["transport"] * 8


def test_a_server_that_never_answers_is_left(
    server: FaultyServer, questions: list[Question], path: Path
) -> None:
    server.script = lambda number, body: FAULTS["ill"]
    with pytest.raises(ValueError, match=r"answers no question \(.*503.*check that it runs"):
        ask(server, questions, path, concurrency=1)
    assert len(read_scores(path).rows) == 3 * 8
    server.script = lambda number, body: FAULTS["ill"] if number > 24 else say("Score: 3")
    assert ask(server, questions, path, concurrency=1).statuses == {"ok": 1, "transport": 13}


def test_a_server_that_hangs_is_not_waited_for(
    server: FaultyServer, questions: list[Question], path: Path
) -> None:
    server.script = lambda number, body: slow(1.0 if number == 0 else 0.0, say("Score: 4"))
    tally = ask(server, questions[:1], path, timeout=0.3)
    assert (tally.asked, tally.statuses) == (2, {"ok": 1})


def test_patience_ends_and_the_next_run_tries_again(
    server: FaultyServer, questions: list[Question], path: Path
) -> None:
    server.script = lambda number, body: FAULTS["ill"]
    first = ask(server, questions[:2], path)
    assert (first.asked, first.statuses) == (6, {"transport": 2})
    server.script = lambda number, body: say("Score: 1")
    assert ask(server, questions[:2], path).statuses == {"ok": 2}
    rows = read_scores(path).rows
    assert sorted(row.attempt for row in rows) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {row.score for row in final_scores(rows).values()} == {1}


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (say("Score: 10"), "out_of_range"),
        (say("It is nice."), "parse_error"),
        (say("I'm sorry, I can't."), "refused"),
        (say("", refusal="No."), "refused"),
        (say("The dog", finish="length"), "truncated"),
        ((400, {}, b'{"error": {"code": "content_policy_violation"}}'), "refused"),
    ],
)
def test_answers_without_a_score_are_rows_too(
    server: FaultyServer, questions: list[Question], path: Path, answer: Any, status: str
) -> None:
    server.script = lambda number, body: answer
    cold = ask(server, questions[:2], path)
    assert (cold.asked, cold.statuses) == (2, {status: 2})
    units = [q.unit(JUDGE, PROTOCOL) for q in questions[:2]]
    final = final_scores(read_scores(path).rows)
    assert [final[unit].status for unit in units] == [status, status]
    never = ask(server, questions[:2], path, protocol=WARM)
    assert (never.asked, never.statuses) == (4, {status: 2})
    server.script = lambda number, body: say("Score: 0") if number % 2 else answer
    warm = ask(server, questions[:2], path, protocol=WARM, concurrency=1)
    assert (warm.asked, warm.statuses) == (4, {"ok": 2})


def test_every_asking_has_a_seed_of_its_own(
    server: FaultyServer, results: Results, path: Path
) -> None:
    twice = dataclasses.replace(WARM, repeats=2)
    questions = [q for q in ask_about(results, twice, OURS) if (q.case, q.measure) == ("one", "pf")]
    server.script = lambda number, body: say("It is nice.")
    ask(server, questions, path, protocol=twice)
    seeds = {(row.repeat, row.attempt): row.details["seed"] for row in read_scores(path).rows}
    assert len(set(seeds.values())) == len(seeds) == 4
    assert {request["seed"] for request in server.requests} == set(seeds.values())


def test_each_kind_of_server_is_sent_what_it_takes(
    server: FaultyServer, questions: list[Question]
) -> None:
    settings = {"temperature": 0.0, "max_tokens": 5, "seed": 3, "candidates": False}
    for kind in SERVERS:
        Endpoint(server.url, "m", server=kind)(questions[0].messages(PROTOCOL), **settings)
    sent = [request.keys() - {"messages", "model"} for request in server.requests]
    always = {"temperature", "top_p", "seed"}
    assert dict(zip(SERVERS, sent, strict=True)) == {
        "vllm": {*always, "max_tokens", "top_k", "min_p", "repetition_penalty"},
        "sglang": {*always, "max_tokens", "top_k", "min_p", "repetition_penalty"},
        "transformers": {*always, "max_tokens", "frequency_penalty"},
        "openai": {*always, "max_completion_tokens"},
    }


def test_a_mistake_of_ours_stops_the_run_and_keeps_what_there_is(
    server: FaultyServer, questions: list[Question], path: Path
) -> None:
    error = (404, {}, b'{"error": {"message": "no such model"}}')
    server.script = lambda number, body: error if number == 3 else say("Score: 3")
    with pytest.raises(ValueError, match=r"404.*check its address"):
        ask(server, questions, path, concurrency=1)
    assert 3 <= len(read_scores(path).rows) < len(questions)
    rest = ask(server, questions, path)
    assert rest.asked + rest.reused == 14


def test_threads_share_the_file(
    server: FaultyServer, questions: list[Question], path: Path
) -> None:
    """Faults of all kinds at once, by many threads: every attempt is a whole row."""
    kinds = [say("Score: 3"), *FAULTS.values(), say("Score: 3")]
    server.script = lambda number, body: kinds[number % len(kinds)]
    patience = Patience(attempts=50, wait=lambda seconds: None)
    tally = ask(server, questions, path, concurrency=14, patience=patience)
    assert tally.statuses == {"ok": 14}
    rows, torn = read_scores(path)
    assert not torn
    assert len(rows) == tally.asked
    # A request that was cut may have been sent again on a new connection by the HTTP client.
    assert len(rows) <= len(server.requests)
    assert Counter(row.status for row in rows)["ok"] == 14


def test_a_run_that_is_killed_goes_on(
    server: FaultyServer, questions: list[Question], path: Path
) -> None:
    ask(server, questions[:5], path)
    path.write_bytes(path.read_bytes()[:-30])
    tally = ask(server, questions, path)
    assert (tally.asked, tally.reused) == (10, 4)
    rows, torn = read_scores(path)
    assert not torn
    assert len({row.unit for row in rows}) == len(rows) == 14


def test_interrupting_stops_threads_that_wait(
    server: FaultyServer, questions: list[Question], path: Path
) -> None:
    busy = (503, {"Retry-After": "60"}, b"{}")
    server.script = lambda number, body: busy if number else say("Score: 3")

    def stop() -> None:
        while len(read_scores(path).rows) < 3:  # one answer, and two that wait
            time.sleep(0.01)
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ask(server, questions, path, concurrency=2, patience=Patience(), on_question=stop)
    assert time.monotonic() - began < 30
    assert Counter(row.status for row in read_scores(path).rows)["ok"] == 1


def test_changed_pictures_are_judged_anew(
    server: FaultyServer, questions: list[Question], path: Path
) -> None:
    ask(server, questions, path)
    changed = questions[0].pictures[1]
    assert isinstance(changed, Path)
    picture(99).save(changed)
    server.script = lambda number, body: say("Score: 0")
    tally = ask(server, questions, path)
    assert (tally.asked, tally.reused) == (2, 12)
    final = final_scores(read_scores(path).rows)
    assert final[questions[0].unit(JUDGE, PROTOCOL)].score == 0


def test_a_changed_picture_that_gets_no_answer_has_no_score(
    server: FaultyServer, questions: list[Question], path: Path
) -> None:
    ask(server, questions, path)
    changed = questions[0].pictures[1]
    assert isinstance(changed, Path)
    picture(99).save(changed)
    server.script = lambda number, body: FAULTS["ill"]
    ask(server, questions, path)
    final = final_scores(read_scores(path).rows)
    failed = [unit for unit, row in final.items() if row.status == "transport"]
    assert {(unit.case, unit.picture, unit.measure) for unit in failed} == {
        ("one", 0, "cp"),
        ("one", 0, "pf"),
    }
    assert estimate(questions, JUDGE, PROTOCOL, path).calls == 2
    # The old picture is back, and its old answer with it as soon as it is asked about.
    picture(10).save(changed)
    ask(server, questions[:1], path)
    assert final_scores(read_scores(path).rows)[questions[0].unit(JUDGE, PROTOCOL)].score == 3


def test_strict_scores_are_expectations(server: FaultyServer, results: Results, path: Path) -> None:
    strict = PROTOCOLS["strict"]
    questions = list(ask_about(results, strict, OURS))[:1]
    places = [
        {"token": "Score", "logprob": 0.0, "bytes": None, "top_logprobs": []},
        {
            "token": "3",
            "logprob": -0.1,
            "bytes": None,
            "top_logprobs": [
                {"token": token, "logprob": math.log(share), "bytes": None}
                for token, share in (("3", 0.75), ("4", 0.25))
            ],
        },
    ]
    status, headers, content = say("Score: 3")
    body = json.loads(content)
    body["choices"][0]["logprobs"] = {"content": places}
    server.script = lambda number, _: (status, headers, json.dumps(body).encode())
    ask(server, questions, path, protocol=strict)
    (row,) = read_scores(path).rows
    assert row.score == pytest.approx(3.25)
    assert row.details["said"] == 3
    assert (server.requests[0]["logprobs"], server.requests[0]["top_logprobs"]) == (True, 20)
    plain = Endpoint(server.url, "m", server="transformers")
    with pytest.raises(ValueError, match="token probabilities"):
        ask_all(questions, Judge(model="n"), strict, plain, path)


def test_an_estimate_sends_nothing(
    server: FaultyServer, questions: list[Question], path: Path
) -> None:
    before = estimate(questions, JUDGE, PROTOCOL, path, concurrency=4, seconds_per_call=3.0)
    assert (before.calls, before.answer_tokens, before.seconds) == (14, 14 * 512, 12.0)
    letters = sum(len(question.text) for question in questions)
    assert before.prompt_tokens == letters // 4 + 256 * (8 * 2 + 6)
    # 24 by 32 pixels are one cell of Qwen3-VL.
    strict = estimate(questions, JUDGE, PROTOCOLS["strict"], path)
    assert strict.prompt_tokens == letters // 4 + 8 * 2 + 6
    ask(server, questions[:10], path)
    rest = estimate(questions, JUDGE, PROTOCOL, path)
    assert rest.calls == 4
    assert rest + before == dataclasses.replace(
        before,
        calls=18,
        prompt_tokens=rest.prompt_tokens + before.prompt_tokens,
        answer_tokens=18 * 512,
        seconds=rest.seconds + 12.0,
    )
