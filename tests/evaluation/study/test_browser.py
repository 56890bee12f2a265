"""The page in a real browser: a voter who always prefers green is understood, and loses no vote."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import Visit
from evaluation.study.cases import COLOURS, SETTINGS

from dynaip.evaluation.study.design import Study
from dynaip.evaluation.study.page import study_page
from dynaip.evaluation.study.server import StudyServer
from dynaip.evaluation.study.votes import Ballots, read_votes, unblind

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAIRS = 2 * SETTINGS.items + SETTINGS.checks + SETTINGS.repeats
# The colour of the middle of both pictures, as the voter sees them.
COLOURS_SHOWN = """async () => {
  const seen = [];
  for (const side of ["left", "right"]) {
    const image = document.querySelector(`#${side} img`);
    await image.decode();
    const canvas = new OffscreenCanvas(1, 1);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0, 1, 1);
    seen.push([...context.getImageData(0, 0, 1, 1).data.slice(0, 3)]);
  }
  return seen;
}"""


@pytest.fixture(scope="module")
def file(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "study.html"
    path.write_text(study_page(study))
    return path


@pytest.fixture
def page(visit: Visit) -> Iterator[Page]:
    # The page's own file is not outside; there is only one.
    visit.page.route("file:///**/study.html", lambda route: route.continue_())
    yield visit.page
    # A connection that a test cuts is no error of the page.
    assert [error for error in visit.errors if "ERR_" not in error] == []


def prefer_green(page: Page) -> None:
    """Answers one pair from the keyboard: ours where it is, no difference between two of ours."""
    left, right = page.evaluate(COLOURS_SHOWN)
    ours = list(COLOURS["ours"])
    key = "2" if left == right else "1" if left == ours else "3"
    for _ in range(3):
        page.keyboard.press(key)
    page.keyboard.press("Enter")


def ballots(study: Study, path: Path) -> Ballots:
    return unblind(read_votes([path]).votes, study.key())


def test_a_voter_from_start_to_file(page: Page, study: Study, file: Path, tmp_path: Path) -> None:
    # A voter's number decides the sides, and one in a hundred has all on one side.
    page.add_init_script("crypto.getRandomValues = (numbers) => numbers.fill(7);")
    page.goto(file.as_uri())
    assert page.locator("#pairs").inner_text() == str(PAIRS)
    page.get_by_role("button", name="Start").click()
    for _ in range(PAIRS - 4):
        prefer_green(page)
    before = page.locator("#prompt").inner_text(), page.evaluate(COLOURS_SHOWN)
    page.keyboard.press("3")
    # Closed and opened again, the same pair is there with its answer.
    page.reload()
    page.get_by_role("button", name=f"Go on at {PAIRS - 3} of {PAIRS}").click()
    assert (page.locator("#prompt").inner_text(), page.evaluate(COLOURS_SHOWN)) == before
    assert page.locator("#cp input:checked").input_value() == "Right"
    page.keyboard.press("Backspace")
    page.keyboard.press("Enter")
    page.locator("#cp").click(position={"x": 5, "y": 5})
    page.locator("#cp label", has_text="No difference").click()
    page.locator("#cp input").first.focus()
    for _ in range(4):
        prefer_green(page)
    assert page.get_by_role("heading", name="Thank you").is_visible()
    assert "Please download" in page.locator("#outcome").inner_text()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download my votes").click()
    download.value.save_as(tmp_path / "votes.jsonl")
    found = ballots(study, tmp_path / "votes.jsonl")
    assert len(found.judgements) == 3 * 2 * SETTINGS.items
    assert {judgement.outcome for judgement in found.judgements} == {"lose"}
    assert {judgement.left for judgement in found.judgements} == {True, False}
    sides = {
        (vote.pair, vote.showing): vote.left
        for vote in read_votes([tmp_path / "votes.jsonl"]).votes
    }
    again = [pair for pair, showing in sides if showing]
    assert all(sides[pair, 0] != sides[pair, 1] for pair in again)
    (repeats,) = found.repeats.values()
    assert repeats == [True] * 3 * SETTINGS.repeats


def test_votes_reach_the_server_even_after_an_outage(
    page: Page, study: Study, file: Path, tmp_path: Path
) -> None:
    with StudyServer(file, tmp_path / "votes.jsonl", ("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        page.goto(f"{server.url}#voter=p07")
        page.get_by_role("button", name="Start").click()
        with page.expect_response("**/votes"):
            page.keyboard.press("1")
        page.get_by_text("Saved and sent.").wait_for()
        page.route("**/votes", lambda route: route.abort())
        page.keyboard.press("2")
        page.keyboard.press("3")
        page.get_by_text("sending again soon").wait_for()
        page.unroute("**/votes")
        # Another visit sends what the last one could not.
        with page.expect_response("**/votes"):
            page.reload()
        server.shutdown()
        thread.join()
    votes = read_votes([tmp_path / "votes.jsonl"]).votes
    assert [(vote.voter, vote.question) for vote in votes] == [
        ("p07", question) for question in ("cp", "pf", "os")
    ]
    assert votes[0].choice == votes[0].left
    assert votes[1].choice == "tie"
    assert votes[2].choice not in ("tie", votes[2].left)


def test_two_people_on_one_device(page: Page, file: Path) -> None:
    page.goto(file.as_uri())
    page.get_by_role("button", name="Start").click()
    first = page.evaluate("voter")
    for _ in range(PAIRS):
        prefer_green(page)
    page.get_by_role("button", name="Start anew").click()
    page.get_by_role("button", name="Start", exact=True).click()
    assert page.locator("#count").inner_text() == f"1 of {PAIRS}"
    assert page.locator("#questions input:checked").count() == 0
    assert page.evaluate("voter") != first
    kept = page.evaluate("Object.keys(localStorage).filter((key) => key.includes(':votes:'))")
    assert [key.rpartition(":")[2] for key in kept] == [first]


def test_a_browser_that_keeps_nothing_says_so(page: Page, file: Path) -> None:
    page.add_init_script("Storage.prototype.setItem = () => { throw new Error('full'); };")
    page.goto(file.as_uri())
    page.get_by_role("button", name="Start").click()
    page.keyboard.press("1")
    assert "keeps nothing" in page.locator("#saved").inner_text()
    assert page.locator("#cp input:checked").count() == 1


def test_narrow_screens_and_enlarged_pictures(page: Page, file: Path) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(file.as_uri())
    page.get_by_role("button", name="Start").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    boxes = [page.locator(side).bounding_box() for side in ("#left", "#right")]
    assert all(box and box["width"] > 150 for box in boxes)
    page.get_by_role("button", name="Enlarge the left picture").click()
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_text("Left picture").is_visible()
    page.keyboard.press("ArrowRight")
    assert dialog.get_by_text("Right picture").is_visible()
    shown = dialog.locator("img").get_attribute("src")
    assert shown == page.locator("#right img").get_attribute("src")
    page.keyboard.press("1")
    page.keyboard.press("Escape")
    assert page.locator("#questions input:checked").count() == 0
    prefer_green(page)
    assert page.locator("#count").inner_text() == f"2 of {PAIRS}"


@pytest.mark.parametrize("size", [(360, 740), (1366, 768)])
def test_many_references_take_no_room_from_the_pictures(
    page: Page, file: Path, size: tuple[int, int]
) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(file.as_uri())
    page.get_by_role("button", name="Start").click()
    while page.locator("#references figure").count() == 1:
        prefer_green(page)
    page.evaluate(COLOURS_SHOWN)
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    references, questions = (page.locator(part).bounding_box() for part in ("#references", "#cp"))
    assert references is not None
    assert questions is not None
    assert references["y"] + references["height"] < questions["y"]
    if size[0] > 1000:
        assert page.evaluate("document.documentElement.scrollHeight") == size[1]


def test_everything_has_a_name_for_those_who_do_not_see(page: Page, file: Path) -> None:
    page.goto(file.as_uri())
    page.get_by_role("button", name="Start").click()
    question = page.get_by_role("group", name="Which keeps the reference better?")
    for option in ("Left", "No difference", "Right"):
        assert question.get_by_role("radio", name=option).count() == 1
    assert page.get_by_role("progressbar", name="Pairs answered").count() == 1
    assert page.locator("img:not([alt])").count() == 0
    assert json.loads(page.locator("#study").inner_text())["items"] == SETTINGS.items
