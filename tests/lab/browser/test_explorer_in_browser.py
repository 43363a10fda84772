"""The explorer's page in a real browser: filters, search, keys and views show what is there, hostile text stays text.

Rows are numbered in the order of the table in `made_files`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import made_files
import pytest
from page_checks import assert_nothing_ran, faint_texts, sideways_scroll

from autocoa_plugin.cli import main
from autocoa_plugin.dump import read_dump

VIEWS = ("read", "tokens", "group", "diff", "raw")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dump/ and dump.html, hostile/ and hostile.html, verl/ and verl.html."""
    path = tmp_path_factory.mktemp("explorer")
    tokenizer = str(made_files.write_tokenizer(path / "tokenizer"))
    made_files.write_dump(path / "dump")
    made_files.write_hostile_dump(path / "hostile")
    made_files.write_hostile_verl_dump(path / "verl")
    assert main(["explore", str(path / "dump"), "-o", str(path / "dump.html"), "--tokenizer", tokenizer]) == 0
    hostile = ["--tokenizer", tokenizer, "--title", made_files.HOSTILE]
    assert main(["explore", str(path / "hostile"), "-o", str(path / "hostile.html"), *hostile]) == 0
    assert main(["explore", str(path / "verl"), "-o", str(path / "verl.html"), "--title", made_files.HOSTILE]) == 0
    return path


@pytest.fixture
def page(open_page: Any, folder: Path) -> Any:
    """The seven trajectories, opened."""
    return settled(open_page(folder / "dump.html"))


def settled(page: Any) -> Any:
    """The page once nothing is being unpacked or drawn."""
    page.evaluate("async () => { await autocoaExplorer.ready; await autocoaExplorer.settled(); }")
    return page


def shown(page: Any) -> list[int]:
    """The rows in the list, in order."""
    return settled(page).evaluate("() => autocoaExplorer.shown")


def press(page: Any, key: str) -> tuple[int, str]:
    """Press a key; returns the row and the view that stand there afterwards."""
    page.keyboard.press(key)
    detail = settled(page).locator("#detail")
    return int(detail.get_attribute("data-n")), detail.get_attribute("data-view")


def show(page: Any, row: int, view: str) -> Any:
    """Go to a row and a view by the address."""
    page.evaluate("hash => { location.hash = hash; }", f"#r={row}&v={view}")
    page.locator(f"#detail[data-n='{row}'][data-view='{view}'][data-ready='true']").wait_for()
    return settled(page)


def text_of_tokens(page: Any) -> list[str]:
    """The text of every token that the token view shows."""
    return page.evaluate("() => [...document.querySelectorAll('.t')].map(each => each.textContent)")


def test_it_opens_at_the_first_trajectory(page):
    assert shown(page) == [0, 1, 2, 3, 4, 5, 6]
    assert page.locator("#count").inner_text() == "7 trajectories"
    assert page.locator("#question").inner_text() == made_files.QORVIA
    assert page.locator("#detail").get_attribute("data-n") == "0"
    assert page.locator("#list .row").count() == 7
    assert page.evaluate("() => autocoaExplorer.openedMs") > 0


def test_a_trajectory_is_read_as_thought_action_observation_answer(page):
    roles = page.evaluate("() => [...document.querySelectorAll('#view .seg')].map(each => each.dataset.role)")
    assert roles == ["thought", "action", "observation", "thought", "answer"]
    observation = page.locator(".seg[data-role='observation']")
    assert observation.get_attribute("data-origin") == "real"
    assert made_files.REAL in observation.locator(".seg-text").inner_text()
    assert page.locator("#answer").inner_text() == "Ada" and page.locator("#golds .gold").all_inner_texts() == ["Ada"]


def test_an_imagined_observation_is_one_card_with_the_tags_that_the_loop_put_around_it(page):
    show(page, 1, "read")
    roles = page.evaluate("() => [...document.querySelectorAll('#view .seg')].map(each => each.dataset.role)")
    assert roles == ["thought", "action", "observation", "thought", "answer"]
    observation = page.locator(".seg[data-role='observation']")
    assert (observation.get_attribute("data-origin"), observation.get_attribute("data-source")) == (
        "world_model",
        "policy",
    )
    assert page.locator(".seg[data-role='action'] .query").inner_text() == "capital of Qorvia"


FILTERS = (
    ("stop", "max_actions", [2]),
    ("stop", "timeout", [5]),
    ("source", "real", [0, 5]),
    ("source", "world_model", [1]),
    ("source", "cache", [2]),
    ("source", "replay", [3]),
    ("source", "notice", [6]),
    ("flag", "error", [5]),
    ("flag", "refused", [6]),
    ("flag", "forced", [2]),
    ("flag", "format_error", [2, 5]),
    ("flag", "diff", [1]),
    ("step", "1", [0, 1, 2]),
    ("split", "val", [5, 6]),
)


def test_a_filter_leaves_exactly_the_rows_it_names(page):
    page.locator("#open-filters").click()
    for field, value, rows in FILTERS:
        page.locator(f"#filter-{field}").select_option(value)
        assert (field, value, shown(page)) == (field, value, rows)
        assert page.locator("#count").inner_text() == f"{len(rows)} of 7"
        listed = page.locator("#list .row").evaluate_all("rows => rows.map(each => Number(each.dataset.n))")
        assert sorted(listed) == rows
        page.locator("#clear-filters").click()
    assert shown(page) == [0, 1, 2, 3, 4, 5, 6]


def test_filters_narrow_together_and_sorting_keeps_file_order_among_equals(page):
    page.locator("#filter-correct button[data-correct='no']").click()
    assert shown(page) == [1, 2, 4, 5]
    page.locator("#open-filters").click()
    page.locator("#reward-max").fill("-0.05")
    assert shown(page) == [2, 5]
    page.locator("#filter-source").select_option("real")
    assert shown(page) == [5]
    page.locator("#clear-filters").click()
    page.locator("#sort").select_option("reward-high")
    # rewards are 1, 0, -0.1, 1, 0, -0.1, 1
    assert shown(page) == [0, 3, 6, 1, 4, 2, 5]


def test_the_search_finds_what_only_an_observation_says(page):
    page.locator("#search").fill(made_files.ONLY_IN_AN_OBSERVATION.upper())
    page.locator("#count", has_text="1 of 7").wait_for()
    assert shown(page) == [3]
    assert page.locator("#detail").get_attribute("data-n") == "3"
    page.locator("#search").fill("no such words")
    page.locator("#count", has_text="0 of 7").wait_for()
    page.keyboard.press("Escape")
    page.locator("#count", has_text="7 trajectories").wait_for()


def test_every_key_of_the_help_does_what_it_says(page):
    assert press(page, "j") == (1, "read")
    assert press(page, "t") == (1, "tokens")
    assert press(page, "j") == (2, "tokens")
    assert press(page, "g") == (2, "group")
    assert press(page, "k") == (1, "group")
    assert press(page, "d") == (1, "diff")
    assert press(page, "r") == (1, "read")
    assert press(page, "5") == (1, "raw")
    press(page, "?")
    assert page.locator("#help").is_visible()
    press(page, "Escape")
    assert not page.locator("#help").is_visible()
    press(page, "/")
    assert page.evaluate("() => document.activeElement.id") == "search"
    page.keyboard.type("jtg")  # letters, not commands, while one types
    assert page.locator("#search").input_value() == "jtg"
    assert press(page, "Escape")[1] == "raw"
    assert page.locator("#search").input_value() == ""


def test_the_token_view_spells_every_segment_in_one_element_per_token(page, folder):
    played = [row["trajectory"] for row in read_dump(folder / "dump", "train")]
    for number in (0, 1, 4):
        show(page, number, "tokens")
        spelled = text_of_tokens(page)
        assert len(spelled) == len(played[number].response_ids)
        assert "".join(spelled) == played[number].text()
    show(page, 0, "tokens")
    runs = page.evaluate("() => [...document.querySelectorAll('.run')].map(e => [e.dataset.role, e.dataset.trained])")
    assert [trained for role, trained in runs if role == "observation"] == ["false"]
    assert {trained for role, trained in runs if role != "observation"} == {"true"}
    for colour in ("loss", "logprob", "role"):
        page.locator(f"#colour-{colour}").click()
        assert page.locator(".tokens").get_attribute("data-colour") == colour


def test_the_group_view_shows_all_samples_of_a_prompt(page):
    show(page, 1, "group")
    columns = page.locator(".column")
    assert [each.get_attribute("data-n") for each in columns.all()] == ["0", "1", "2"]
    columns.nth(2).locator("button.open").click()
    page.locator("#detail[data-n='2'][data-view='read'][data-ready='true']").wait_for()
    show(page, 5, "group")
    assert page.locator(".column").count() == 1


def test_the_diff_marks_what_was_imagined_and_what_is_real(page):
    show(page, 1, "diff")
    # "is Brug , ruled by Bob" was imagined, "is Tolm , ruled by Ada" is real
    assert [each.strip() for each in page.locator(".pair del.imagined-only").all_inner_texts()] == ["Brug", "Bob"]
    assert [each.strip() for each in page.locator(".pair ins.real-only").all_inner_texts()] == ["Tolm", "Ada"]


def test_the_address_names_the_row_and_the_view(open_page, folder):
    page = settled(open_page(folder / "dump.html", "#r=3&v=tokens"))
    assert press(page, "Shift") == (3, "tokens")
    assert press(page, "j") == (4, "tokens")
    page.wait_for_url("**#r=4&v=tokens")


def test_an_address_that_names_nothing_opens_the_first_trajectory(open_page, folder):
    for fragment in ("#r=99&v=read", "#r=-1", "#v=__proto__", "#<img src=x onerror=window.pwned=9>"):
        page = settled(open_page(folder / "dump.html", fragment))
        assert (fragment, *press(page, "Shift")) == (fragment, 0, "read")
        assert_nothing_ran(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_background(open_page, folder, scheme):
    page = settled(open_page(folder / "dump.html", scheme=scheme))
    page.locator("#open-filters").click()
    faint = {view: faint_texts(show(page, 1, view)) for view in VIEWS}
    show(page, 1, "tokens")
    for colour in ("loss", "logprob"):
        page.locator(f"#colour-{colour}").click()
        faint[colour] = faint_texts(page)
    assert {view: texts for view, texts in faint.items() if texts} == {}


def test_the_theme_can_be_switched(page):
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.locator("#theme").click()
    assert page.evaluate(background) != light
    page.locator("#theme").click()
    assert page.evaluate(background) == light


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_never_scrolls_sideways(open_page, folder, width):
    for file in ("dump.html", "hostile.html"):
        page = settled(open_page(folder / file, width=width))
        for view in VIEWS:
            assert (view, sideways_scroll(show(page, 1, view))) == (view, 0)


def test_on_a_narrow_screen_the_list_is_a_drawer(open_page, folder):
    page = settled(open_page(folder / "dump.html", width=400))
    page.locator("#open-list").click()
    page.locator("#list .row[data-n='3']").click()
    page.locator("#detail[data-n='3'][data-ready='true']").wait_for()
    assert page.locator("#open-list").get_attribute("aria-expanded") == "false"


def test_one_trajectory_is_printed(page):
    assert page.pdf().startswith(b"%PDF")
    page.emulate_media(media="print")
    assert not page.locator("#list-pane").is_visible()
    assert page.locator("#question").is_visible()


@pytest.mark.parametrize("file", ["hostile.html", "verl.html"])
def test_hostile_text_is_shown_and_never_runs(open_page, folder, file):
    page = settled(open_page(folder / file))
    visible = page.evaluate("text => autocoaExplorer.visible(text)", made_files.HOSTILE)
    assert shown(page) == [0, 1]
    assert page.locator("#title").text_content() == visible
    assert page.locator("#question").text_content() == visible
    for view in VIEWS:
        show(page, 1, view)
        assert_nothing_ran(page)
    assert visible in page.locator("#raw-response").text_content()
    assert visible in page.locator("#raw-extra").text_content()
    page.locator("#open-about").click()
    assert_nothing_ran(page)
    page.keyboard.press("Escape")
    page.locator("#search").fill("<script>window.pwned=1</script>")
    page.wait_for_timeout(200)  # typing pause
    assert shown(page) == [0, 1]
    assert_nothing_ran(page)


def test_hostile_tokens_spell_the_text(open_page, folder):
    page = settled(open_page(folder / "hostile.html", "#r=0&v=tokens"))
    (played, _) = [row["trajectory"] for row in read_dump(folder / "hostile", "train")]
    spelled = text_of_tokens(page)
    assert len(spelled) == len(played.response_ids)
    assert "".join(spelled) == page.evaluate("text => autocoaExplorer.visible(text)", played.text())


def test_characters_that_are_invisible_or_turn_the_text_are_spelled_out(open_page, folder):
    page = settled(open_page(folder / "hostile.html"))
    for view in VIEWS:
        show(page, 0, view)
        text = page.evaluate("() => document.getElementById('detail').textContent")
        assert "U+202E" in text
        assert not set("\u202e\u2066\x1b\x00\u2028\u2029\ufeff") & set(text), view


def test_the_page_could_not_ask_the_network_run_a_script_or_parse_html_if_it_tried(page, complaints):
    page.evaluate("() => { const i = new Image(); i.src = 'https://example.invalid/x.png'; document.body.append(i); }")
    assert page.evaluate("() => fetch('https://example.invalid/').then(() => 'asked', () => 'refused')") == "refused"
    parsed = "() => { try { document.body.innerHTML = '<b>x</b>'; return 'parsed'; } catch { return 'refused'; } }"
    assert page.evaluate(parsed) == "refused"
    page.evaluate("""() => {
        const button = document.createElement("button");
        try { button.setAttribute("onclick", "window.pwned = 1"); } catch {}
        document.body.append(button);
        button.click();
    }""")
    page.wait_for_timeout(100)
    assert page.evaluate("() => typeof window.pwned") == "undefined"
    blocked = [each for each in complaints if each.startswith("console error")]
    assert blocked and all("Content Security Policy" in each or "Trusted" in each for each in blocked), complaints
    complaints.clear()
