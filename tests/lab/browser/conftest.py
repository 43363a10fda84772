"""A real browser for the pages that the package writes, and the hygiene that every test of a page demands.

A page that complains on its console, raises an error, opens a dialog or asks for anything but its own file fails the
test that opened it. What the pages show is tested in the files next to this one.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "report"))  # made_runs: what the report's own tests read

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
HARMLESS = ("file://", "about:", "data:", "blob:")


def find_chromium() -> str:
    """The browser named by AUTOCOA_CHROMIUM, else the first on the path; skips the test when there is none."""
    found = os.environ.get("AUTOCOA_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    return found or pytest.skip("needs Chromium: `make browser`, or AUTOCOA_CHROMIUM=/path/to/it")


# per file, not per session: while playwright runs, its event loop keeps `asyncio.run` in other files from working
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'autocoa-plugin[dev]'")
    path = find_chromium()
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def tab(browser: Any) -> Any:
    """One page for all tests of a file: a new one for each takes longer than most tests."""
    page = browser.new_context().new_page()
    page.set_default_timeout(20_000)  # a shared machine may be slow; what is there is found at once
    return page


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the opened pages did and must not do; a test that provokes some asserts them and clears the list."""
    found: list[str] = []
    yield found
    assert found == []


@pytest.fixture
def open_page(tab: Any, complaints: list[str]) -> Iterator[Callable[..., Any]]:
    """`open_page(file, fragment="", width=1280, scheme="light")` shows the file; a second call leaves the first."""

    def opened(file: Path, fragment: str = "", *, width: int = 1280, scheme: str = "light") -> Any:
        tab.goto("about:blank")  # else only the fragment might change
        tab.set_viewport_size({"width": width, "height": 800})
        tab.emulate_media(media="screen", color_scheme=scheme)
        tab.goto(file.as_uri() + fragment)
        return tab

    listeners = listeners_of(complaints)
    for event, listener in listeners.items():
        tab.on(event, listener)
    yield opened
    tab.evaluate("() => localStorage.clear()")  # a theme that was chosen
    tab.goto("about:blank")
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)


def listeners_of(complaints: list[str]) -> dict[str, Callable[[Any], None]]:
    """Collect what a page says on its console, its errors, its dialogs and its requests."""

    def on_dialog(dialog: Any) -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def on_console(message: Any) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"console {message.type}: {message.text}")

    def on_request(request: Any) -> None:
        if not request.url.startswith(HARMLESS):
            complaints.append(f"request: {request.url}")

    def on_error(error: Any) -> None:
        complaints.append(f"error: {error}")

    return {"dialog": on_dialog, "console": on_console, "request": on_request, "pageerror": on_error}
