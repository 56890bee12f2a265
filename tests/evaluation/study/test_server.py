"""The server: keeps good votes, refuses everything else, loses nothing to callers at once."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from evaluation.study.cases import vote

from dynaip.evaluation.study.design import Study
from dynaip.evaluation.study.page import study_page
from dynaip.evaluation.study.server import BODY_LIMIT, ROW_LIMIT, StudyServer
from dynaip.evaluation.study.votes import read_votes

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def page(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "study.html"
    path.write_text(study_page(study))
    return path


@pytest.fixture
def server(page: Path, tmp_path: Path) -> Iterator[StudyServer]:
    with StudyServer(page, tmp_path / "votes" / "study.jsonl", ("127.0.0.1", 0)) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(
    server: StudyServer, method: str, path: str, body: bytes | None = None, headers: dict = JSON
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request(method, path, body, headers)
    reply = connection.getresponse()
    found = reply.status, reply.read()
    connection.close()
    return found


def post(server: StudyServer, rows: object, headers: dict = JSON) -> int:
    return ask(server, "POST", "/votes", json.dumps(rows).encode(), headers)[0]


def test_the_page_is_served(server: StudyServer, page: Path) -> None:
    assert ask(server, "GET", "/") == (200, page.read_bytes())
    assert ask(server, "GET", "/?from=mail")[0] == 200
    assert ask(server, "HEAD", "/") == (200, b"")
    assert ask(server, "GET", "/study.key.json")[0] == 404
    assert ask(server, "GET", "/../study.html")[0] == 404


def test_votes_are_appended(server: StudyServer, study: Study) -> None:
    rows = [vote(study, question=question) for question in ("cp", "pf", "os")]
    assert post(server, rows[:2]) == 204
    assert post(server, rows[2:]) == 204
    assert [found.to_row() for found in read_votes([server.votes]).votes] == rows


def test_a_line_that_a_killed_server_left_is_not_built_upon(
    server: StudyServer, study: Study
) -> None:
    assert post(server, [vote(study)]) == 204
    with server.votes.open("a") as file:
        file.write('{"study": "')
    assert post(server, [vote(study, question="pf")]) == 204
    assert [found.question for found in read_votes([server.votes]).votes] == ["cp", "pf"]


def test_many_voters_at_once_lose_nothing(server: StudyServer, study: Study) -> None:
    batches = [[vote(study, voter=f"v{v}", position=p) for p in range(10)] for v in range(20)]
    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(lambda batch: post(server, batch), batches)) == {204}
    assert len(read_votes([server.votes]).votes) == 200


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b'"votes"', b'{"a": 1}', b"[1]", b"[" * 5000, b'[{"study": NaN}]']
)
def test_nonsense_is_refused_and_not_kept(server: StudyServer, body: bytes) -> None:
    status, message = ask(server, "POST", "/votes", body)
    assert (status, server.votes.exists()) == (400, False)
    assert message


def test_one_bad_vote_refuses_the_batch(server: StudyServer, study: Study) -> None:
    assert post(server, [vote(study), vote(study, study="f00")]) == 400
    assert post(server, [vote(study)] * (ROW_LIMIT + 1)) == 400
    assert not server.votes.exists()


def test_limits(server: StudyServer, study: Study) -> None:
    large = {**JSON, "Content-Length": str(BODY_LIMIT + 1)}
    assert ask(server, "POST", "/votes", b"[]", large)[0] == 413
    assert ask(server, "POST", "/votes", b"[]", {**JSON, "Content-Length": "-1"})[0] == 411
    assert ask(server, "POST", "/elsewhere", b"[]")[0] == 404
    # What a form of another page can send without being asked.
    assert post(server, [vote(study)], {"Content-Type": "text/plain"}) == 415
    assert ask(server, "OPTIONS", "/votes")[0] == 501
    assert not server.votes.exists()


def test_only_a_study_page_can_be_served(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>hello</p>")
    with pytest.raises(ValueError, match="no study page"):
        StudyServer(tmp_path / "page.html", tmp_path / "votes.jsonl", ("127.0.0.1", 0))
