"""A real browser without a window, for tests of HTML pages."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

import pytest

# A system's own browsers; those that Playwright downloads are found by Playwright.
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextlib.contextmanager
def open_browser() -> Iterator:
    """A Playwright browser; skips, saying why, where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser by playwright")
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    with playwright.sync_playwright() as driver:
        try:
            # Tests run as root in containers, where Chromium's own sandbox cannot start.
            browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no browser starts here (install chromium, or run playwright install): {error.message[:80]}")
        with contextlib.closing(browser):
            yield browser
