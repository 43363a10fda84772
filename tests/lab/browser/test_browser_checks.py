"""The checks themselves: they see what they are there to see."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_checks import assert_nothing_ran, faint_texts, overlapping_texts, sideways_scroll


def written(folder: Path, body: str) -> Path:
    """A page with this body."""
    path = folder / "page.html"
    path.write_text(f"<!doctype html><html><meta charset='utf-8'><body>{body}</body></html>", encoding="utf-8")
    return path


def test_dialogs_errors_console_messages_and_requests_are_complaints(open_page, complaints, tmp_path):
    open_page(written(tmp_path, "<script>console.warn('w'); alert('a'); nothing()</script>"))
    open_page(written(tmp_path, "<img src='http://127.0.0.1:9/x.png'>")).wait_for_load_state()
    said = " ".join(complaints)
    assert "console warning: w" in said and "dialog: a" in said and "error: nothing is not defined" in said
    assert "request: http://127.0.0.1:9/x.png" in said
    complaints.clear()


@pytest.mark.parametrize(
    "body", ["<svg onload='window.pwned=3'></svg>", "<a href='JavaScript:x()'>a</a>", "<iframe></iframe>"]
)
def test_hostile_text_that_became_an_element_is_seen(open_page, tmp_path, body):
    with pytest.raises(AssertionError):
        assert_nothing_ran(open_page(written(tmp_path, body)))


def test_contrast_is_that_of_wcag_whatever_lies_below(open_page, tmp_path):
    # WCAG: #767676 on white is 4.54, #777777 is 4.48; half of black over white is #808080, 3.95
    page = open_page(
        written(
            tmp_path,
            "<p style='color:#767676'>passes</p><p style='color:#777777'>fails</p>"
            "<p style='opacity:.5'>faded</p><h1 style='color:#777777'>large passes</h1>"
            "<div style='background:#000'><p style='color:#333'>dark</p></div>"
            "<svg><rect width='90' height='40' fill='#000'/><text x='5' y='20' fill='#222'>bar</text></svg>"
            "<svg><rect width='90' height='40' fill='#000'/><text x='5' y='20' fill='#fff'>fine</text></svg>",
        )
    )
    assert [each.split("'")[1] for each in faint_texts(page)] == ["dark", "faded", "fails", "bar"]


def test_what_is_wider_than_the_page_is_seen(open_page, tmp_path):
    # the body has a margin of 8 pixels to the left
    assert sideways_scroll(open_page(written(tmp_path, "<div style='width:500px'>w</div>"), width=400)) == 108
    scrolling = "<div style='overflow:auto'><div style='width:500px'>w</div></div>"
    assert sideways_scroll(open_page(written(tmp_path, scrolling), width=400)) == 0


def test_texts_that_cover_one_another_are_seen(open_page, tmp_path):
    page = open_page(
        written(tmp_path, "<svg><text y='20'>one</text><text y='22'>two</text><text y='60'>three</text></svg>")
    )
    assert overlapping_texts(page.locator("svg")) == ["one | two"]
