"""The page in a real browser: what a person does on it, by mouse, by keyboard, on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import Visit
from served import Server, png

from dynaip.pipeline.provenance import read_settings

PHONE = {"viewport": {"width": 375, "height": 740}, "has_touch": True, "color_scheme": "dark"}


@pytest.fixture
def page(visit: Visit, server: Server) -> Any:
    visit.page.goto(server.url)
    visit.page.locator("body[data-ready]").wait_for()
    visit.page.get_by_label("Steps", exact=True).fill("3")
    yield visit.page
    assert visit.errors == []


def upload(page: Any, *names: str) -> None:
    files = [{"name": n, "mimeType": "image/png", "buffer": png((40, 20))} for n in names]
    page.locator("#upload").set_input_files(files)
    page.locator(".card").nth(len(names) - 1).wait_for()


def generate(page: Any, count: int = 1) -> None:
    before = page.locator("figure").count()
    page.get_by_role("button", name="Generate").click()
    page.locator("figure").nth(before + count - 1).wait_for()
    page.locator("#generate:not([disabled])").wait_for()


def read_download(page: Any, folder: Path) -> Any:
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").first.click()
    download.value.save_as(folder / "made.png")
    return read_settings(folder / "made.png")


def test_two_subjects_painted_boxed_and_weighed(page: Any, tmp_path: Path) -> None:
    upload(page, "rex.png", "mug.png")
    page.get_by_role("radio", name="rex.png").check()
    page.get_by_label("Paint", exact=True).check()
    canvas = page.locator("#layout")
    canvas.scroll_into_view_if_needed()
    frame = canvas.bounding_box()
    page.mouse.move(frame["x"] + 0.2 * frame["width"], frame["y"] + 0.3 * frame["height"])
    page.mouse.down()
    page.mouse.move(frame["x"] + 0.2 * frame["width"], frame["y"] + 0.8 * frame["height"])
    page.mouse.up()
    page.get_by_role("radio", name="mug.png").check()
    page.get_by_role("button", name="Right", exact=True).click()
    with page.expect_response("**/api/masks") as answer:
        page.get_by_label("Show the masks really used").check()
    rex, mug = answer.value.json()["masks"]
    assert rex[4][1] > 0.5 > rex[4][6]
    assert mug[0] == [0, 0, 0, 0, 1, 1, 1, 1]

    card = page.locator(".card").nth(1)
    card.get_by_label("By hand").check()
    triangle = card.get_by_role("application")
    triangle.focus()
    for _ in range(60):
        page.keyboard.press("ArrowUp")
    assert card.get_by_label("mid of mug.png").input_value() > "0.9"
    card.get_by_label("low of mug.png").fill("0.25")
    page.keyboard.press("Tab")
    page.get_by_label("Seed", exact=True).fill("11")
    generate(page)

    settings = read_download(page, tmp_path)
    first, second = settings.subjects
    assert (settings.seed, settings.steps, settings.branches) == (11, 3, "image")
    assert first.mask.startswith("data:image/png;base64,")
    assert second.mask == "0.5,0,1,1"
    assert first.granularity is None
    assert second.granularity[0] == pytest.approx(0.25)

    page.get_by_role("button", name="Where it was used").click()
    page.locator(".shot canvas:visible").wait_for()

    page.locator(".card").first.get_by_label("Strength").fill("3")
    page.get_by_role("button", name="Load these settings").click()
    page.locator(".card").nth(1).wait_for()
    assert page.locator(".card").first.get_by_label("Strength").input_value() == "1"
    generate(page)
    again = read_download(page, tmp_path)
    assert again == settings


def test_a_box_by_mouse_and_by_keys(page: Any) -> None:
    upload(page, "rex.png")
    canvas = page.locator("#layout")
    canvas.scroll_into_view_if_needed()
    frame = canvas.bounding_box()
    page.mouse.move(frame["x"] + 0.25 * frame["width"], frame["y"] + 0.25 * frame["height"])
    page.mouse.down()
    page.mouse.move(frame["x"] + 0.5 * frame["width"], frame["y"] + 0.75 * frame["height"])
    page.mouse.up()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowRight")
    with page.expect_request("**/api/masks") as request:
        page.get_by_label("Show the masks really used").check()
    box = request.value.post_data_json["subjects"][0]["box"]
    assert box == pytest.approx([7 / 32, 1 / 4, 1 / 2, 3 / 4], abs=0.01)


def test_comparisons_keep_the_seed(page: Any, server: Server) -> None:
    upload(page, "rex.png")
    page.get_by_role("button", name="DDS on, off, no reference").click()
    page.locator("figure").nth(2).wait_for()
    labels = page.locator("figcaption > b").all_inner_texts()
    assert labels == ["no reference", "DDS on (image rows)", "DDS off (both)"]
    made = list(server.studio._jobs.values())[-1].made
    assert len({each.settings.seed for each in made}) == 1
    assert len({each.picture.tobytes() for each in made}) == 3
    assert [each.settings.branches for each in made] == ["image", "image", "both"]
    page.locator("#generate:not([disabled])").wait_for()
    page.get_by_role("button", name="Granularities").click()
    page.locator("figure").nth(9).wait_for()
    mixtures = [e.settings.subjects[0] for e in list(server.studio._jobs.values())[-1].made]
    assert [e.granularity for e in mixtures[:3]] == [None, (1, 0, 0), (0, 1, 0)]


def test_reload_takes_up_the_job_and_cancel_stops_it(page: Any, server: Server) -> None:
    page.get_by_label("Steps", exact=True).fill("100")
    page.get_by_role("spinbutton", name="Pictures").fill("4")
    page.get_by_role("button", name="Generate").click()
    page.locator("#preview:visible").wait_for()
    page.reload()
    page.locator("#status", has_text="of 400").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.locator("#generate:not([disabled])").wait_for()
    job = list(server.studio._jobs.values())[-1]
    assert job.state == "cancelled"
    assert job.steps < 400


def test_errors_are_said_on_the_page(page: Any, visit: Visit) -> None:
    broken = {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.locator("#upload").set_input_files([broken])
    page.locator("#error", has_text="not a picture").wait_for()
    upload(page, "rex.png")
    assert page.locator("#error").inner_text() == ""
    # The browser reports the refused request in its console, too.
    assert all("400" in error for error in visit.errors)
    visit.errors.clear()


@pytest.mark.parametrize("visit", [PHONE], indirect=True)
def test_an_example_on_a_phone_in_the_dark(page: Any) -> None:
    page.get_by_role("button", name="Two subjects, each in its half").tap()
    page.locator("figure img").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    names = page.evaluate(
        """[...document.querySelectorAll("button, input, select, textarea, a, [tabindex]")]
        .filter((e) => e.offsetParent && !(e.ariaLabel || e.labels?.length ||
          e.getAttribute("aria-labelledby") || e.innerText.trim()))
        .map((e) => e.outerHTML)"""
    )
    assert names == []
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == "rgb(23, 24, 28)"


def test_a_toy_is_made_and_removed(page: Any) -> None:
    page.get_by_role("button", name="Make a toy").click()
    page.get_by_label("category").select_option("robot")
    page.get_by_label("letters").fill("AB")
    page.get_by_role("button", name="Add this toy").click()
    page.get_by_role("button", name="Remove robot.png").click()
    assert page.locator(".card").count() == 0
