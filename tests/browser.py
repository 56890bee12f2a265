"""A real headless Chromium for tests of pages; nothing that a page does may leave the machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

CHROMIUM = Path("/usr/bin/chromium")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 15_000


@dataclasses.dataclass
class Visit:
    """A fresh profile with one page.

    Attributes:
        page: The page, with every request that leaves loopback blocked.
        outside: The addresses of those requests.
        errors: What the page threw, or wrote to the console as an error.
    """

    page: Page
    outside: list[str] = dataclasses.field(default_factory=list)
    errors: list[str] = dataclasses.field(default_factory=list)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, started once for all tests that look at a page."""
    if not CHROMIUM.exists():
        pytest.skip(f"There is no Chromium at {CHROMIUM}; install Debian's package `chromium`.")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A page in a new profile; the test fails where the page asked for anything outside.

    `@pytest.mark.parametrize("visit", [{"color_scheme": "dark"}], indirect=True)` passes options
    to Playwright's `new_context`.
    """
    options: dict[str, Any] = getattr(request, "param", {})
    context = chromium.new_context(accept_downloads=True, **options)
    context.set_default_timeout(PATIENCE_MS)
    seen = Visit(context.new_page())

    def judge(route: Route) -> None:
        address = urlsplit(route.request.url)
        if address.scheme in ("data", "blob", "about") or address.hostname in LOOPBACK:
            route.continue_()
        else:
            seen.outside.append(route.request.url)
            route.abort()

    def hear(message: Any) -> None:
        if message.type == "error":
            seen.errors.append(message.text)

    context.route("**/*", judge)
    seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
    seen.page.on("console", hear)
    yield seen
    context.close()
    assert not seen.outside, f"The page asked for {seen.outside}."
