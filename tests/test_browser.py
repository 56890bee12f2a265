"""The browser of the tests sees a page, and blocks and records what would leave the machine."""

from __future__ import annotations

from browser import Visit


def test_what_leaves_the_machine_is_blocked_and_recorded(visit: Visit) -> None:
    visit.page.set_content("<h1>Here</h1><img src='http://example.invalid/a.png'>")
    assert visit.page.locator("h1").inner_text() == "Here"
    assert visit.outside == ["http://example.invalid/a.png"]
    visit.outside.clear()
