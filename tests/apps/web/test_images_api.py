"""The images API through OpenAI's own client, and through clients that misbehave."""

from __future__ import annotations

import base64
import concurrent.futures
import gc
import http.client
import json
import os
import time
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import openai
import pytest
from PIL import Image
from served import KEPT, LIMITS, WAITING, Server, png

from dynaip.pipeline.credentials import read_credential
from dynaip.pipeline.provenance import Settings, read_settings

PROMPT = "a red dog sits on the beach"


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def open_answer(answer: Any, index: int = 0) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(answer.data[index].b64_json)))


def test_generations(client: openai.OpenAI, tmp_path: Path) -> None:
    answer = client.images.generate(
        prompt=PROMPT, n=2, size="32x32", model="any", extra_body={"seed": 5, "steps": 2}
    )
    assert answer.data is not None
    assert [open_answer(answer, i).size for i in (0, 1)] == [(32, 32)] * 2
    (tmp_path / "a.png").write_bytes(base64.b64decode(cast(str, answer.data[1].b64_json)))
    settings = read_settings(tmp_path / "a.png")
    assert (settings.seed, settings.steps, settings.adapter) == (6, 2, None)
    assert open_answer(answer, 0).tobytes() != open_answer(answer, 1).tobytes()


def test_edits_take_a_subject_for_each_image(client: openai.OpenAI) -> None:
    hole = png((32, 32), "#00000000", "RGBA")
    answer = client.images.edit(
        image=[("rex.png", png()), ("mug.png", png(colour="blue"))],
        mask=("mask.png", hole),
        prompt=PROMPT,
        extra_body={
            "seed": 1,
            "num_inference_steps": 2,
            "guidance_scale": 2.0,
            "image_guidance_scale": 3.0,
            "width": 16,
            "height": 16,
            "stream": False,
            "subjects": json.dumps([{"scale": 0.5}, {"granularity": [1, 0, 0]}]),
        },
    )
    content = base64.b64decode(cast(Any, answer.data)[0].b64_json)
    settings = Settings.from_dict(json.loads(Image.open(BytesIO(content)).info["dynaip"]))
    first, second = settings.subjects
    assert (first.name, first.scale, second.coefficients) == ("rex.png", 0.5, (1.0, 0.0, 0.0))
    assert first.mask is not None
    assert (settings.guidance, settings.image_guidance) == (2.0, 3.0)
    assert (settings.width, settings.height) == (16, 16)
    credential = read_credential(content)
    assert credential is not None
    assert credential.intact


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"subjects": "[1]"}, "subjects"),
        ({"subjects": "[{}, {}]"}, "subjects"),
        ({"subjects": '[{"picture": "AAAA"}]'}, "picture"),
        ({"subjects": '[{"mask": "AAAA"}]'}, "mask"),
        ({"subjects": "{"}, None),
        ({"steps": "many"}, "steps"),
        ({"width": "wide"}, "width"),
        ({"stream": "true"}, "stream"),
    ],
)
def test_what_edits_cannot_use_is_refused(
    client: openai.OpenAI, fields: dict[str, str], field: str | None
) -> None:
    hole = ("mask.png", png((32, 32), "#00000000", "RGBA"))
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(image=("a.png", png()), mask=hole, prompt=PROMPT, extra_body=fields)
    assert refused.value.param == field


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt": " "}, "prompt"),
        ({"n": 99}, "n"),
        ({"size": "9999x9999"}, "width"),
        ({"size": "80x32"}, "width"),
        ({"size": "big"}, "size"),
        ({"response_format": "url"}, "response_format"),
        ({"frobnicate": 1}, "frobnicate"),
        ({"steps": 2, "num_inference_steps": 3}, "num_inference_steps"),
        ({"subjects": [{"picture": "/etc/passwd"}]}, "picture"),
        ({"subjects": [{"picture": "http://127.0.0.1/a.png"}]}, "picture"),
        ({"subjects": [{"picture": base64.b64encode(b"no picture").decode()}]}, "picture"),
        ({"subjects": [{"picture": base64.b64encode(png()[:40]).decode()}]}, "picture"),
        ({"subjects": [{"picture": base64.b64encode(png((2000, 2000))).decode()}]}, "picture"),
        ({"subjects": [{"picture": "A" * 500_000}]}, "picture"),
    ],
)
def test_errors_are_openais(server: Server, changes: dict[str, Any], field: str) -> None:
    status, got, _ = server.call("POST", "/v1/images/generations", {"prompt": PROMPT, **changes})
    assert status == 400
    assert got["error"]["type"] == "invalid_request_error"
    assert got["error"]["param"] == field
    assert got["error"]["message"].endswith(".")


def test_the_client_raises_its_own_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="not a picture"):
        client.images.edit(image=("a.png", b"hello"), prompt=PROMPT)
    with pytest.raises(openai.BadRequestError, match="make it smaller"):
        client.images.edit(image=("a.png", png() + bytes(LIMITS.upload)), prompt=PROMPT)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_large_bodies_are_refused_unread(server: Server) -> None:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", "/v1/images/edits")
    connection.putheader("Content-Length", str(LIMITS.body + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    # Without a length, reading stops at the limit.
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    chunks = (b" " * 65536 for _ in range(40))
    headers = {"Content-Type": "application/json"}
    try:
        connection.request("POST", "/v1/images/generations", chunks, headers, encode_chunked=True)
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass
    connection.close()
    assert server.call("GET", "/health")[0] == 200


def test_other_pages_are_kept_out(server: Server) -> None:
    values = {"prompt": PROMPT}
    path = "/v1/images/generations"
    assert server.call("POST", path, values, Origin="http://evil.example")[0] == 403
    for name in ("evil.example", "evil.example:7860", "127.0.0.1.evil.example", "["):
        assert server.call("GET", "/health", Host=name)[0] == 403
    for name in ("localhost:7860", "192.168.0.7", "[::1]:7860"):
        assert server.call("GET", "/health", Host=name)[0] == 200
    status, got, _ = server.call("POST", path, values, **{"Content-Type": "text/plain"})
    assert (status, "application/json" in got["error"]["message"]) == (400, True)


def test_fifty_at_once_are_served_or_told_to_come_back(server: Server) -> None:
    values = {"prompt": PROMPT, "steps": 4}
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        calls = [
            pool.submit(server.call, "POST", "/v1/images/generations", values) for _ in range(50)
        ]
        answers = [call.result() for call in calls]
    statuses = [status for status, _, _ in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= WAITING
    refused = next(answer for answer in answers if answer[0] == 429)
    assert refused[1]["error"]["type"] == "rate_limit_error"
    assert int(refused[2]["retry-after"]) > 0
    assert server.call("GET", "/health")[0] == 200
    # What was answered is not kept.
    assert not any(job.takes[0].order.steps == 4 for job in server.studio._jobs.values())


def test_a_client_that_goes_away_stops_its_job(server: Server) -> None:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    body = json.dumps({"prompt": PROMPT, "steps": 100, "n": 4})
    started = time.monotonic()
    connection.request("POST", "/v1/images/generations", body, {"Content-Type": "application/json"})
    while not (jobs := [job for job in server.studio._jobs.values() if job.total == 400]):
        assert time.monotonic() - started < 30
        time.sleep(0.01)
    (job,) = jobs
    while not job.steps:
        assert time.monotonic() - started < 30
        time.sleep(0.01)
    connection.close()
    assert job.finished.wait(30)
    assert job.state == "cancelled"
    assert job.steps < job.total


def test_memory_stays_flat(server: Server) -> None:
    values = {
        "prompt": PROMPT,
        "steps": 1,
        "subjects": [{"picture": base64.b64encode(png((200, 200))).decode()}],
    }

    def rounds(count: int) -> int:
        for _ in range(count):
            assert server.finish({**values, "n": 4})["state"] == "done"
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = rounds(6)  # fills the store of finished pictures
    assert rounds(4) - before < 8 * 2**20
    kept = sum(len(job.made) for job in server.studio._jobs.values())
    assert kept <= KEPT + 4
