"""`dynaip judge` ended by the system in the middle of its work, and started again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from judged import FaultyServer, say, slow

from dynaip.evaluation.benchmarks.results import Results
from dynaip.evaluation.scores import read_scores


def start(folder: Path, server: FaultyServer) -> subprocess.Popen[bytes]:
    options = ["--endpoint", server.url, "--judge", "m", "--no-self-test", "--concurrency", "2"]
    return subprocess.Popen([sys.executable, "-m", "dynaip", "judge", str(folder), *options])


@pytest.mark.slow
def test_a_killed_run_loses_nothing_and_asks_nothing_twice(
    server: FaultyServer, results: Results
) -> None:
    server.script = lambda number, body: slow(0.1, say(f"Score: {number % 5}"))
    first = start(results.folder, server)
    until(lambda: len(server.requests) >= 6 or first.poll() is not None)
    first.kill()
    first.wait()
    (path,) = (results.folder / "scores").glob("*.jsonl")
    kept = read_scores(path).rows
    sent = len(server.requests)
    assert 0 < len(kept) < 14
    # At most the two questions under way were sent without their answers being kept.
    assert sent - len(kept) <= 2
    assert start(results.folder, server).wait() == 0
    rows, torn = read_scores(path)
    assert not torn
    assert rows[: len(kept)] == kept
    assert len(rows) == len({row.unit for row in rows}) == 14
    assert Counter(row.status for row in rows) == {"ok": 14}
    assert len(server.requests) - sent == 14 - len(kept)


def until(happened: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)
