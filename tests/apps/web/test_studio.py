"""The queue: who waits, who may look at the model meanwhile, and what happens to errors."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tiny
import torch
from served import WAITING, Server, png, serving

from dynaip.apps.cli.errors import MEMORY_FULL
from dynaip.apps.web.drawing import Pencil
from dynaip.apps.web.studio import Job, Studio
from dynaip.pipeline.provenance import Origin

LONG = {"prompt": "a red dog", "steps": 100, "n": 4}
SHORT = {"prompt": "a red dog", "steps": 1}
PICTURE = {"picture": base64.b64encode(png()).decode()}


def wait_until(said: Callable[[], Any]) -> None:
    end = time.monotonic() + 30
    while not said():
        assert time.monotonic() < end
        time.sleep(0.01)


def submit(server: Server, values: dict[str, Any]) -> Job:
    status, got, _ = server.call("POST", "/api/jobs", values)
    assert status == 202, got
    job = server.studio.find(got["job"])
    assert job is not None
    return job


@pytest.fixture
def at_work(server: Server) -> Iterator[Job]:
    job = submit(server, LONG)
    with contextlib.ExitStack() as stack:
        stack.callback(job.finished.wait, 30)
        stack.callback(server.studio.cancel, job)
        wait_until(lambda: job.steps)
        yield job


def test_who_waits_can_be_cancelled_at_once_and_leaves_room(server: Server, at_work: Job) -> None:
    waiting = [submit(server, SHORT) for _ in range(WAITING)]
    assert server.call("GET", f"/api/jobs/{waiting[2].key}")[1]["ahead"] == 3
    assert server.call("POST", "/api/jobs", SHORT)[0] == 429
    assert server.call("DELETE", f"/api/jobs/{waiting[0].key}")[0] == 204
    assert (waiting[0].state, waiting[0].finished.is_set()) == ("cancelled", True)
    assert server.call("GET", f"/api/jobs/{waiting[2].key}")[1]["ahead"] == 2
    waiting.append(submit(server, SHORT))
    assert not at_work.finished.is_set()
    server.studio.cancel(at_work)
    assert [server.wait(job.key)["state"] for job in waiting[1:]] == ["done"] * WAITING


def test_jobs_that_nobody_asks_for_make_room(server: Server, at_work: Job) -> None:
    waiting = [submit(server, SHORT) for _ in range(WAITING)]
    for job in waiting:
        job.seen -= server.studio.patience + 1
    submit(server, SHORT)
    assert {job.state for job in waiting} == {"cancelled"}
    at_work.seen -= server.studio.patience + 1
    assert at_work.finished.wait(30)
    assert at_work.state == "cancelled"


def test_a_client_that_goes_away_leaves_the_queue(server: Server, at_work: Job) -> None:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/images/generations", json.dumps(SHORT), headers)
    wait_until(lambda: server.studio._line)
    connection.close()
    wait_until(lambda: not server.studio._line)
    assert not at_work.finished.is_set()


def test_who_waits_is_told_when_the_server_ends() -> None:
    studio = Studio(Pencil(tiny.adapter().attach(tiny.pipeline()), Origin("tiny")))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        with serving(studio) as own:
            path = "/v1/images/generations"
            asked = [pool.submit(own.call, "POST", path, LONG) for _ in range(2)]
            wait_until(lambda: studio._line and any(job.steps for job in studio._jobs.values()))
        for each in asked:
            status, got, _ = each.result()
            assert (status, "is closing" in got["error"]["message"]) == (503, True)
    late = studio.submit(())
    assert (late.state, late.finished.is_set()) == ("cancelled", True)


def test_a_reference_can_be_added_while_a_picture_is_made(server: Server, at_work: Job) -> None:
    before = at_work.steps
    status, got, _ = server.call("POST", "/api/router", PICTURE)
    assert (status, len(got["coefficients"])) == (200, 3)
    assert not at_work.finished.is_set()
    wait_until(lambda: at_work.steps > before)


def test_what_is_not_foreseen_is_said_and_the_next_job_goes_well(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(server.studio.pencil, "origin", None)
        seen = server.finish(SHORT)
        assert (seen["state"], "log" in seen["error"]) == ("failed", True)
        status, got, _ = server.call("POST", "/v1/images/generations", SHORT)
        assert (status, got["error"]["type"]) == (500, "server_error")
        status, got, _ = server.call("GET", "/v1/models")
        assert (status, got["error"]["type"]) == (500, "server_error")
    assert server.finish(SHORT)["state"] == "done"


def test_a_full_memory_is_said_as_on_the_command_line(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with monkeypatch.context() as broken:
        broken.setattr(server.studio.pencil, "draw", full)
        seen = server.finish(SHORT)
    assert (seen["state"], seen["error"]) == ("failed", MEMORY_FULL)


def test_what_cannot_be_made_is_refused(server: Server) -> None:
    tall = {**PICTURE, "mask": base64.b64encode(png((8, 64), "white")).decode()}
    seen = server.finish({**SHORT, "subjects": [tall]})
    assert (seen["state"], "proportions" in seen["error"]) == ("refused", True)
    status, got, _ = server.call("POST", "/v1/images/generations", {**SHORT, "subjects": [tall]})
    assert (status, got["error"]["type"]) == (400, "invalid_request_error")


def test_the_references_come_back_as_they_were(server: Server) -> None:
    seen = server.finish({**SHORT, "subjects": [PICTURE]})
    key = seen["pictures"][0]["key"]
    (back,) = server.call("GET", f"/api/pictures/{key}/references")[1]["references"]
    assert base64.b64decode(back.partition(",")[2]) == png()
    assert server.call("GET", "/api/pictures/none/references")[0] == 404


def test_large_jobs_push_out_the_oldest(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    first = submit(server, SHORT)
    server.wait(first.key)
    monkeypatch.setattr("dynaip.apps.web.studio.KEPT_BYTES", first.size)
    server.wait(submit(server, SHORT).key)
    server.wait(submit(server, SHORT).key)
    assert server.studio.find(first.key) is None
