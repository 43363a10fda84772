"""Progress where nobody sees a terminal: whole lines, and few of them."""

from __future__ import annotations

from autocoa_plugin.runs.progress import followed


def test_what_is_followed_is_handed_on_and_told_in_lines(capsys):
    assert list(followed("abc", "letters", 3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("    letters: 3/3\n", "")


def test_what_counts_may_be_something_else_than_items(capsys):
    assert list(followed("abc", "bytes", 30, done=lambda: 10)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("    bytes: 30/30\n", "")  # it ended well, so all was done


def test_what_is_not_shown_is_handed_on_in_silence(capsys):
    assert list(followed("abc", "letters", 3, is_shown=False)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")
