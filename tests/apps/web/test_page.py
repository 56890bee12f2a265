"""The page in a real browser: what a person does on it, by mouse, by keyboard, on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import Visit
from served import Server, png

from dynaip.pipeline.provenance import read_settings

PHONE = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "color_scheme": "dark"}
LIGHT = {"color_scheme": "light"}
# Of a group of radio buttons, Tab reaches the one that is chosen, and arrow keys the others.
CONTROLS = """() => [...document.querySelectorAll(
    "button, input, select, textarea, a, summary, [tabindex='0']")]
  .filter((e) => e.checkVisibility() && !e.disabled && !(e.type === "radio" && !e.checked))
  .map((e) => e.outerHTML)"""
# The control that has focus, and whether one sees that.
FOCUSED = """() => {
  const shown = document.activeElement.closest(".button") ?? document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(shown);
  const isMarked = outlineStyle !== "none" && parseFloat(outlineWidth) > 1;
  return [document.activeElement.outerHTML, isMarked];
}"""
# Text whose contrast with what is behind it is below WCAG's 4.5.
FAINT = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    const own = channels(getComputedStyle(e).backgroundColor);
    return (own[3] ?? 1) > 0 || !e.parentElement ? own : behind(e.parentElement);
  };
  return [...document.querySelectorAll("body *")]
    .filter((e) => e.checkVisibility() && !e.disabled && !e.closest("svg, canvas, option") &&
      [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
    .filter((e) => {
      const two = [channels(getComputedStyle(e).color), behind(e)].map(light);
      return (Math.max(...two) + 0.05) / (Math.min(...two) + 0.05) < 4.5;
    }).map((e) => e.outerHTML.slice(0, 80));
}"""


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
    # Both cards stand there before the settings are in: wait for what they say.
    playwright = pytest.importorskip("playwright.sync_api")
    playwright.expect(page.locator(".card").first.get_by_label("Strength")).to_have_value("1")
    generate(page)
    again = read_download(page, tmp_path)
    assert again == settings

    page.reload()
    page.locator("figure").nth(1).wait_for()
    page.locator("#generate:not([disabled])").wait_for()
    page.get_by_role("button", name="Load these settings").first.click()
    page.locator(".card").nth(1).wait_for()
    page.locator("#prompt:focus").wait_for()
    generate(page)
    assert read_download(page, tmp_path) == settings


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
    made_next = list(server.studio._jobs.values())[-1].made
    assert made_next[0].settings.seed == made[0].settings.seed
    mixtures = [e.settings.subjects[0] for e in made_next]
    assert [e.granularity for e in mixtures[:3]] == [None, (1, 0, 0), (0, 1, 0)]


def test_words_in_the_prompt_see_their_subject(page: Any, tmp_path: Path) -> None:
    upload(page, "rex.png", "mug.png")
    page.get_by_label("What the picture shows").fill("a red dog in the snow")
    words = page.get_by_label("Words in the prompt for rex.png")
    words.fill("dog")
    generate(page)
    made = read_download(page, tmp_path)
    assert (made.branches, [subject.phrase for subject in made.subjects]) == ("both", ["dog", None])
    words.fill("cat")
    page.get_by_role("button", name="Generate").click()
    page.get_by_text("does not say 'cat'").wait_for()
    page.locator("#generate:not([disabled])").wait_for()
    page.get_by_role("button", name="Load these settings").click()
    playwright = pytest.importorskip("playwright.sync_api")
    playwright.expect(words).to_have_value("dog")
    page.locator("#prompt:focus").wait_for()
    words.fill("")
    generate(page)
    assert read_download(page, tmp_path).branches == "image"


def test_reload_takes_up_the_job_and_cancel_stops_it(page: Any, server: Server) -> None:
    page.get_by_label("Steps", exact=True).fill("100")
    page.get_by_role("spinbutton", name="Pictures").fill("4")
    page.get_by_role("button", name="Generate").click()
    page.locator("#preview:visible").wait_for()
    page.reload()
    page.locator("#steps-done", has_text="of 400").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.locator("#generate:not([disabled])").wait_for()
    job = list(server.studio._jobs.values())[-1]
    assert job.state == "cancelled"
    assert job.steps < 400


def test_errors_are_said_on_the_page(page: Any, visit: Visit) -> None:
    broken = {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.locator("#upload").set_input_files([broken])
    page.locator("#error", has_text="a.png: this is not a picture").wait_for()
    good = {"name": "rex.png", "mimeType": "image/png", "buffer": png()}
    page.locator("#upload").set_input_files([good, broken, good])
    page.get_by_role("radio", name="rex-2.png").wait_for()
    page.locator("#error", has_text="a.png: this is not a picture").wait_for()
    page.get_by_role("spinbutton", name="Pictures").fill("9")
    page.get_by_role("button", name="Generate").click()
    page.locator("#error", has_text="Pictures is a whole number").wait_for()
    page.get_by_role("spinbutton", name="Pictures").fill("1")
    upload(page, "rex.png")
    assert page.locator("#error").inner_text() == ""
    # The browser reports the refused request in its console, too.
    assert all("400" in error for error in visit.errors)
    visit.errors.clear()


def test_a_dropped_file_becomes_a_card_that_can_be_renamed(page: Any) -> None:
    dropped = page.evaluate_handle(
        """(bytes) => {
          const dropped = new DataTransfer();
          dropped.items.add(new File([new Uint8Array(bytes)], "rex.png", { type: "image/png" }));
          return dropped;
        }""",
        list(png()),
    )
    page.dispatch_event("#cards", "drop", {"dataTransfer": dropped})
    name = page.get_by_label("Name of the subject")
    name.fill("<b>Rex</b>")
    name.press("Tab")
    page.get_by_role("spinbutton", name="Strength of <b>Rex</b>").wait_for()
    page.get_by_role("radio", name="<b>Rex</b>").wait_for()
    page.get_by_label("What the picture shows").fill("<i>a dog</i>")
    generate(page)
    assert page.locator("h3").inner_text() == "<i>a dog</i>"
    assert page.locator("#result b").last.inner_text().startswith("seed")
    page.get_by_role("button", name="Remove <b>Rex</b>").click()
    assert page.locator(".card").count() == 0
    assert page.evaluate("document.activeElement.id") == "upload"


def test_another_size_takes_the_painted_mask_with_it(page: Any, server: Server) -> None:
    upload(page, "rex.png")
    page.get_by_role("button", name="Right", exact=True).click()
    page.get_by_label("Paint", exact=True).check()
    page.locator("#layout").focus()
    for key in ("ArrowLeft", "Shift+ArrowLeft", "Space", "ArrowUp"):
        page.keyboard.press(key)
    assert "painted, " in page.locator("#where").inner_text()
    page.get_by_label("Width").fill("49")
    page.keyboard.press("Tab")
    assert page.get_by_label("Width").input_value() == "48"
    with page.expect_response("**/api/masks") as answer:
        page.get_by_label("Show the masks really used").check()
    (mask,) = answer.value.json()["masks"]
    assert (len(mask), len(mask[0])) == (8, 12)
    assert mask[4][5] > 0.5 > mask[0][0]
    assert mask[0][11] == 1  # the box is there still
    generate(page)
    (made,) = list(server.studio._jobs.values())[-1].made
    assert made.picture.size == (48, 32)


@pytest.mark.parametrize("visit", [LIGHT, {"color_scheme": "dark"}], indirect=True)
def test_every_control_is_reached_by_tab_and_all_text_is_readable(page: Any) -> None:
    upload(page, "rex.png")
    page.get_by_label("By hand").check()
    generate(page)
    page.get_by_role("button", name="Where it was used").click()
    page.locator(".scale").wait_for()
    assert page.evaluate(FAINT) == []
    wanted = page.evaluate(CONTROLS)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.locator("h1").click()
    reached = {}
    for _ in range(3 * len(wanted)):
        page.keyboard.press("Tab")
        control, is_marked = page.evaluate(FOCUSED)
        reached[control] = is_marked
    assert [control for control in wanted if not reached.get(control)] == []


@pytest.mark.parametrize("visit", [PHONE], indirect=True)
def test_an_example_on_a_phone_in_the_dark(page: Any) -> None:
    page.get_by_role("button", name="Two subjects, each in its half").tap()
    page.locator("figure img").first.wait_for()
    page.locator(".card").first.get_by_label("By hand").check()
    page.get_by_role("button", name="Make a toy").click()
    for summary in page.locator("summary").all():
        summary.click()
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
