"""The file: every block comes back as it went in, and no text from a document can leave its block."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from explorer_files import Blocks, read_page
from hypothesis import given
from hypothesis import strategies as st

import autocoa_plugin.lab.explore as explorer
from autocoa_plugin.lab.explore.explore import json_text, packed, page_frame, write_page

HOSTILE = [
    "<script>window.pwned=1</script>",
    "</script><script>window.pwned=1</script>",
    "<!-- <script>",
    "-->",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "javascript:alert(1)",
    "\u2028\u2029",
    "\ud800 a lone surrogate",
    "\x00\x1b[31m\u202e",
    "]]>",
    "{{title}} /*{{css}}*/ /*{{js}}*/ <!--{{data}}-->",
    "&lt;&amp;",
]


def written(path: Path, text: str) -> Blocks:
    index = {"title": text, "rows": [{"n": 0, "id": text, "golds": [text]}], "notes": [text]}
    write_page(path, index, [{"prompt": text, "extra": {text: text}}], [text])
    return read_page(path)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_comes_back_and_makes_no_element(tmp_path, text):
    page = written(tmp_path / "e.html", text)
    assert page.json("index")["rows"] == [{"n": 0, "id": text, "golds": [text]}]
    assert page.json("r0") == {"prompt": text, "extra": {text: text}}
    assert page.json("texts") == [text]
    assert page.scripts == written(tmp_path / "harmless.html", "a").scripts


@given(st.text(st.characters(codec=None), max_size=50))
def test_no_text_leaves_a_block(text):
    spelled = json_text([text])
    assert spelled.isascii() and "<" not in spelled
    page = Blocks(f'<script id="index">{spelled}</script><script id="r0">{packed([text])}</script>')
    assert (page.json("index"), page.json("r0"), page.scripts) == ([text], [text], 2)


def test_a_hostile_title_is_text(tmp_path):
    page = written(tmp_path / "e.html", "</title><script>1</script> /*{{js}}*/")
    assert page.texts["title"] == "</title><script>1</script> /*{{js}}*/"


def test_the_same_data_gives_the_same_file(tmp_path):
    for name in "ab":
        written(tmp_path / name, "x")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_placeholder_is_left_and_nothing_is_asked_for():
    head, tail = page_frame("t")
    assert not re.search(r"\{\{(title|css|js|data)\}\}", head + tail)
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!data:)", head + tail)
    assert not re.search(r"https?://(?!www\.w3\.org)", head + tail)


def test_styles_and_scripts_of_ours_cannot_end_their_element():
    folder = Path(explorer.__file__).parent / "page"
    for file in folder.iterdir():
        if file.suffix in (".css", ".js"):
            assert not re.search(r"</(?:script|style)|<!--", file.read_text(encoding="utf-8"), re.IGNORECASE), file.name


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path):
    path = tmp_path / "e.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_page(path, {"title": "t"}, [{"reward": float("nan")}], [])
    assert path.read_text() == "old" and [each.name for each in tmp_path.iterdir()] == ["e.html"]
