"""The report in a real browser: everything is there, readable in light and dark, and hostile names stay text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_runs
import pytest
from made_files import HOSTILE
from page_checks import assert_nothing_ran, faint_texts, overlapping_texts, sideways_scroll

from autocoa_plugin.cli import main

NAME = "<img src=x onerror=window.pwned=8>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ten.html, of ten methods, a training and a scorecard; hostile.html; one.html, of a single evaluation."""
    path = tmp_path_factory.mktemp("report")
    for number, made in enumerate(made_runs.TEN):
        made_runs.write_evaluation(path / "ten" / f"{number}", made)
    made_runs.write_training(path / "ten" / "rl12")
    write_hostile(path / "hostile")
    made_runs.write_evaluation(path / "one", made_runs.TEN[4])
    for name in ("ten", "hostile", "one"):
        assert main(["report", str(path / name), "-o", str(path / f"{name}.html"), "--title", f"{name} {HOSTILE}"]) == 0
    return path


def write_hostile(path: Path) -> None:
    """`HOSTILE` as method, group, corpus, prompt, model, command and folder."""
    made = made_runs.Made(HOSTILE, (0.5, 0.4, 0.3, 0.6), prompt={HOSTILE: HOSTILE}, real_calls=12)
    for number, world in enumerate(({"corpus": HOSTILE}, {"corpus": HOSTILE, HOSTILE: 1})):
        folder = made_runs.write_evaluation(path / f"{number} {NAME}", replace(made, world=world))
        summary = made_runs.summary(replace(made, world=world))
        groups = {**summary.groups, HOSTILE: summary.groups["1hop"]}
        content = replace(summary, groups=groups, judge={"model": HOSTILE}).to_dict()
        (folder / "summary.json").write_text(json.dumps(content), encoding="utf-8")
    made_runs.write_training(path / NAME)
    card = {"cards": [made_runs.card(model=HOSTILE).to_dict()]}
    (path / "card.json").write_text(json.dumps(card), encoding="utf-8")


def ids(page: Any, selector: str) -> list[str]:
    """The ids of what a selector finds, in order."""
    return page.evaluate("selector => [...document.querySelectorAll(selector)].map(each => each.id)", selector)


def test_every_picture_says_its_words_as_text_that_does_not_overlap(open_page, folder):
    page = open_page(folder / "ten.html")
    for section in ("metrics", "actions", "training", "frontier", "ledger", "scorecard"):
        pictures = page.locator(f"#{section} svg").all()
        assert pictures, f"no picture in {section}"
        for picture in pictures:
            assert picture.locator("text").count() > 0
            assert overlapping_texts(picture) == [], f"in {section}"
    names = page.locator("#frontier svg").first.text_content()
    assert all(made.method in names for made in made_runs.TEN if made.real_calls)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_background(open_page, folder, scheme):
    page = open_page(folder / "ten.html", scheme=scheme)
    page.evaluate("() => document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert faint_texts(page) == []


def test_the_theme_can_be_switched_without_a_script(open_page, folder):
    page = open_page(folder / "ten.html")
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.locator("label[for='theme-dark']").click()
    assert page.evaluate(background) != light
    assert faint_texts(page) == []
    page.locator("#theme-dark").press("ArrowLeft")  # dark, light
    assert page.evaluate(background) == light
    assert page.evaluate("() => document.scripts.length") == 0


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("file", ["ten.html", "hostile.html", "one.html"])
def test_the_page_never_scrolls_sideways(open_page, folder, width, file):
    assert sideways_scroll(open_page(folder / file, width=width)) == 0


def test_hostile_names_are_shown_and_never_run(open_page, folder):
    page = open_page(folder / "hostile.html")
    assert_nothing_ran(page)
    shown = "<script>window.pwned=1</script></script></style></textarea></title></template>"
    assert shown in page.title() and shown in page.locator("h1").text_content()
    assert shown in page.locator("#table1 tbody th").first.text_content()
    found = set("\u202e\u2066\x1b\x00\u2028") & set(page.locator("main").text_content())
    assert found == set()


def test_the_page_could_not_ask_the_network_or_run_a_script_if_it_tried(open_page, folder, complaints):
    page = open_page(folder / "ten.html")
    page.evaluate("""() => {
        document.body.insertAdjacentHTML("beforeend", "<img src='https://example.invalid/x.png' onerror='pwned=1'>");
        const script = document.createElement("script");
        script.textContent = "window.pwned = 1";
        document.body.append(script);
    }""")
    page.wait_for_timeout(100)
    assert page.evaluate("() => typeof window.pwned") == "undefined"
    assert complaints and all("Content Security Policy" in each for each in complaints if "console" in each), complaints
    complaints.clear()


def test_it_is_printed_on_white_in_any_theme(open_page, folder):
    page = open_page(folder / "ten.html", scheme="dark")
    assert page.pdf().startswith(b"%PDF")
    page.emulate_media(media="print")
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#theme").is_visible()
    assert faint_texts(page) == []
