"""Real photographs through reader, baseline, self-test, JPEG and HTTP, to a judge that looks."""

from __future__ import annotations

import base64
import dataclasses
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judged import FaultyServer, say
from PIL import Image

from dynaip.evaluation.benchmarks.baselines import make_baseline
from dynaip.evaluation.benchmarks.dreambooth import read_dreambooth
from dynaip.evaluation.judges.endpoint import Endpoint
from dynaip.evaluation.judges.protocols import PROTOCOLS
from dynaip.evaluation.judges.questions import Judge
from dynaip.evaluation.judges.rubrics import OURS
from dynaip.evaluation.judges.running import ask_all
from dynaip.evaluation.judges.selftest import BLURS, Summary, self_test_questions, summarise
from dynaip.evaluation.scores import read_scores

PHOTOGRAPHS = Path(__file__).parents[3].parent / "shared" / "assets" / "dreambooth"
CASES = ("dog-00", "dog6-01", "backpack-02")


def look(number: int, body: dict[str, Any]) -> Any:
    """Points for how little two pictures differ, pixel by pixel; 3 to any prompt."""
    (message,) = body["messages"]
    urls = [part["image_url"]["url"] for part in message["content"] if "image_url" in part]
    if len(urls) == 1:
        return say("It fits.\nScore: 3")
    shown = [Image.open(BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]
    assert all(picture.size == (512, 512) for picture in shown)
    first, second = (np.asarray(picture.convert("RGB"), dtype=float) for picture in shown)
    difference = np.abs(first - second).mean()
    return say(f"Score: {int(np.digitize(-difference, [-30, -12, -6, -1]))}")


@pytest.fixture
def summary(server: FaultyServer, tmp_path: Path) -> Summary:
    if not PHOTOGRAPHS.is_dir():
        pytest.skip(f"there are no photographs in {PHOTOGRAPHS}")
    whole = read_dreambooth(PHOTOGRAPHS, pictures=1)
    cases = tuple(case for case in whole.cases if case.id in CASES)
    results = make_baseline("copy", dataclasses.replace(whole, cases=cases), tmp_path / "copy")
    questions = self_test_questions(results, OURS)
    server.script = look
    path = tmp_path / "selftest.jsonl"
    judge, protocol = Judge(model="eye"), PROTOCOLS["dynaip"]
    ask_all(questions, judge, protocol, Endpoint(server.url, "eye"), path, concurrency=2)
    return summarise(questions, read_scores(path).rows)


def test_a_judge_of_pixels_sees_what_pixels_show(summary: Summary) -> None:
    assert summary.means.keys() == summary.counts.keys() >= {"same class", "other view", "blank"}
    assert all(scored == asked for scored, asked in summary.counts.values())
    means = summary.means
    assert means["identical"] == 1
    ladder = [means[f"blur {share:.0%}"] for share in BLURS]
    assert ladder == sorted(ladder, reverse=True)
    assert ladder[0] > ladder[-1]
    assert means["unrelated"] <= 0.25
    # Two photographs of one subject are strangers to it: what a judge should see, it does not.
    assert means["other view"] < 0.5
    # The answers are the references themselves, and any prompt is fine with it.
    assert means["in order"] == means["swapped"] == 1
    assert means["prompt"] == means["shuffled"] == 0.75
    assert "misnamed pictures get 3.00 of 4" in summary.failed
