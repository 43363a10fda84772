"""Drives the explorer's page in headless Chromium for benchmarks/explorer.py and takes times inside the page.

A time runs from a click, key or letter until the frame after the change is drawn, in milliseconds; `openedMs` is the
page's own: from navigation until the first trajectory is drawn.
"""

from __future__ import annotations

import os
import shutil
import statistics
from pathlib import Path
from typing import Any

_PRELUDE = """
const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
const timed = async (act) => {
  await frame();
  const started = performance.now();
  await act();
  await autocoaExplorer.settled();
  await frame();
  return performance.now() - started;
};
const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const search = (text) => timed(() => new Promise((done) => {
  const field = document.getElementById("search"), count = document.getElementById("count");
  new MutationObserver((_, observer) => { observer.disconnect(); done(); }).observe(count, { childList: true });
  field.value = text;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}));
"""
_ACTS = {
    "filter_ms": """timed(() => document.querySelector("#filter-correct [data-correct='no']").click())""",
    "sort_ms": """timed(() => {
        const sort = document.getElementById("sort");
        sort.value = "reward-low";
        sort.dispatchEvent(new Event("change", { bubbles: true }));
    })""",
    "first_search_ms": """search('"answer 1"')""",
    "search_ms": """search('"answer 2"')""",
    "next_ms": """timed(() => press("j"))""",
    "tokens_ms": """timed(() => press("t"))""",
    "next_tokens_ms": """timed(() => press("j"))""",
    "group_ms": """timed(() => press("g"))""",
}
_NARROWING = ("filter_ms", "first_search_ms", "search_ms")
_CLEAR = """(async () => { document.getElementById("clear-filters").click(); await autocoaExplorer.settled(); })()"""
# three rows per frame for two seconds
_SCROLL = """
async () => {
  const list = document.getElementById("list"), gaps = [];
  let last = await new Promise(requestAnimationFrame);
  for (let i = 0; i < 120; i++) {
    list.scrollTop += 276;
    const now = await new Promise(requestAnimationFrame);
    gaps.push(now - last);
    last = now;
  }
  return gaps;
}
"""


def measure(file: Path, pages: int) -> dict[str, float]:
    """Open the file in `pages` fresh browser contexts; medians by name, the slowest opening, the longest frame."""
    from playwright.sync_api import sync_playwright

    on_path = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    found = os.environ.get("AUTOCOA_CHROMIUM") or next(on_path, None)
    if found is None:
        raise SystemExit("needs Chromium: make browser, or AUTOCOA_CHROMIUM=/path/to/it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found)
        seen = [_measure_page(browser, file) for _ in range(pages)]
        browser.close()
    measured = {name: statistics.median(each[name] for each in seen) for name in seen[0]}
    measured["slowest_open_ms"] = max(each["open_ms"] for each in seen)
    measured["longest_frame_ms"] = max(each["longest_frame_ms"] for each in seen)
    return measured


def _measure_page(browser: Any, file: Path) -> dict[str, float]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.goto(file.as_uri())
    page.evaluate("() => autocoaExplorer.ready")
    measured = {"open_ms": page.evaluate("() => autocoaExplorer.openedMs")}
    gaps = page.evaluate(_SCROLL)
    measured |= {"frame_ms": statistics.median(gaps), "longest_frame_ms": max(gaps)}
    everything = _shown(page)
    for name, act in _ACTS.items():
        measured[name] = page.evaluate(f"async () => {{ {_PRELUDE} return await {act}; }}")
        if name in _NARROWING:
            assert 0 < _shown(page) < everything, f"{name} measured nothing: {_shown(page)} of {everything} are shown"
            page.evaluate(_CLEAR)
        if name == "tokens_ms":
            measured["tokens_shown"] = page.locator(".t").count()
    context.close()
    return measured


def _shown(page: Any) -> int:
    return page.evaluate("() => autocoaExplorer.shown.length")
