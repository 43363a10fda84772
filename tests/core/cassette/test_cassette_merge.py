"""Several tapes into one, a tape as JSON lines and back."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import ANY_TEXT, HEADER, TRICKY, entry, read, write

from autocoa_plugin.cassette.exchange import export_lines, import_lines, merge
from autocoa_plugin.cassette.tape import Tape
from autocoa_plugin.errors import ConfigError, DataError

EARLY, LATE = "2026-11-21T10:00:00.000000+00:00", "2026-11-21T11:00:00.000000+00:00"


def two_in_conflict(folder):
    """Both answer `c`; the tape named first has the later answer."""
    one = write(folder / "one", entry("a"), entry("same"), entry("c", "late", created=LATE))
    two = write(folder / "two", entry("b"), entry("same", pid=8), entry("c", "early", created=EARLY))
    return one, two


def test_a_merge_holds_the_answers_of_all_tapes_once(tmp_path):
    one = write(tmp_path / "one", entry("a", "1"), entry("both", "x"))
    two = write(tmp_path / "two", entry("both", "x", pid=8), entry("b", "2"))
    merged = merge(tmp_path / "out", [one, two])
    assert (merged.answers, merged.same, merged.conflicts) == (3, 1, 0)
    assert read(tmp_path / "out") == [entry("a", "1"), entry("both", "x"), entry("b", "2")]
    assert sorted(os.listdir(tmp_path)) == ["one", "out", "two"]


@pytest.mark.parametrize(
    ("prefer", "order", "kept"),
    [("first", 1, "late"), ("first", -1, "early"), ("newest", 1, "late"), ("newest", -1, "late")],
)
def test_a_preference_decides_conflicts(tmp_path, prefer, order, kept):
    merged = merge(tmp_path / "out", two_in_conflict(tmp_path)[::order], prefer=prefer)
    assert (merged.answers, merged.same, merged.conflicts) == (4, 1, 1)
    assert {each.query: each.text for each in read(tmp_path / "out")}["c"] == kept


def of_two_configurations(folder):
    other = write(folder / "two", entry("b"), header=replace(HEADER, top_k=5, corpus="web"))
    return [write(folder / "one", entry("a")), other]


def found_and_found_nothing(folder):
    return [write(folder / "1", entry("q", "t")), write(folder / "2", entry("q", "t", outcome="empty"))]


@pytest.mark.parametrize(
    ("make", "target", "message"),
    [
        (two_in_conflict, "out", r"1 queries have different answers .* 'c' \(4 answers in all\)"),
        # a conflict even with the same text
        (found_and_found_nothing, "out", "1 queries"),
        (of_two_configurations, "out", r'two was recorded with top_k=5 \(in .*one 3\), corpus="web" \(in .*one "http'),
        (lambda folder: [write(folder / "one", entry("a"))], "one", "one exists"),
        (lambda folder: [write(folder / "one", entry("a")), folder / "none"], "out", "there is no cassette"),
        (lambda folder: [write(folder / "one", entry("a"))], "no/out", "there is no folder"),
        (lambda folder: [], "out", "at least one"),
    ],
    ids=["conflict", "found nothing", "configuration", "overwriting", "missing", "no folder", "no tape"],
)
def test_a_merge_that_cannot_be_is_refused_and_leaves_nothing(tmp_path, make, target, message):
    tapes = make(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=message):
        merge(tmp_path / target, tapes)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_merged_tape_can_be_recorded_on(tmp_path):
    merge(tmp_path / "out", [write(tmp_path / "one", entry("a"))])
    with Tape.record(tmp_path / "out", HEADER) as tape:
        tape.keep(entry("b"))
        assert len(tape) == 2


def test_export_writes_one_whole_object_per_line(tmp_path):
    write(tmp_path / "t", entry("ünï", "a\nb\u2028c"), entry("q2", "\ud83d\ude00"))
    assert export_lines(tmp_path / "t", tmp_path / "out.jsonl") == 2
    text = (tmp_path / "out.jsonl").read_bytes().decode("utf-8")
    lines = text.removesuffix("\n").split("\n")
    assert json.loads(lines[0]) == {
        "protocol": "autocoa",
        "corpus": "http://localhost/retrieve",
        **vars(entry("ünï", "a\nb\u2028c")),
    }
    assert "ünï" in lines[0]
    # ED A0 BD ED B8 80: the two halves, each as "surrogatepass" spells it
    assert json.loads(lines[1])["text_base64"] == "7aC97biA"
    assert len(lines) == 2


def test_export_and_import_lose_nothing(tmp_path):
    entries = [entry(query, text) for query, text in TRICKY.items()]
    write(tmp_path / "t", *entries)
    export_lines(tmp_path / "t", tmp_path / "lines")
    assert import_lines(tmp_path / "lines", tmp_path / "again") == len(TRICKY)
    assert read(tmp_path / "again") == entries
    with Tape.play(tmp_path / "again") as tape:
        assert tape.header == HEADER
    export_lines(tmp_path / "again", tmp_path / "lines again")
    assert (tmp_path / "lines again").read_bytes() == (tmp_path / "lines").read_bytes()


@settings(max_examples=15)  # each makes two tapes
@given(st.dictionaries(ANY_TEXT, ANY_TEXT, min_size=1, max_size=8))
def test_any_answers_survive_export_and_import(answers):
    with tempfile.TemporaryDirectory() as name:
        folder, entries = Path(name), [entry(query, text) for query, text in answers.items()]
        export_lines(write(folder / "t", *entries), folder / "lines")
        import_lines(folder / "lines", folder / "again")
        assert read(folder / "again") == entries


def test_an_export_or_import_from_or_to_nowhere_is_refused(tmp_path):
    one = write(tmp_path / "one", entry("a"))
    with pytest.raises(ConfigError, match="one exists"):
        export_lines(one, one)
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        export_lines(one, tmp_path / "no" / "out")
    with pytest.raises(ConfigError, match="there is no cassette"):
        export_lines(tmp_path / "none", tmp_path / "out")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        import_lines(tmp_path / "none", tmp_path / "out")
    assert os.listdir(tmp_path) == ["one"]


GOOD = {"protocol": "autocoa", "corpus": "web", **vars(entry())}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("{", "lines:2: Expecting property name"),
        ("[]", "lines:2: expected an object, got list"),
        ("{}", "lines:2: missing protocol, corpus, tool, query"),
        (json.dumps({**GOOD, "query": 3}), "lines:2: query must be str, got 3"),
        (json.dumps({**GOOD, "top_k": True}), "lines:2: top_k must be int, got True"),
        (json.dumps({**GOOD, "seconds": "1"}), "lines:2: seconds must be float, got '1'"),
        (json.dumps({**GOOD, "outcome": "error"}), "lines:2: outcome must be 'ok' or 'empty', got 'error'"),
        (json.dumps({**GOOD, "text_base64": "%"}), "lines:2: "),
        (json.dumps({**GOOD, "text_base64": 1}), "lines:2: text_base64 must be text, got 1"),
        (json.dumps({**GOOD, "text_base64": "/w=="}), "lines:2: "),
        (json.dumps(GOOD), "lines:2: search 'q' was answered on an earlier line"),
        (
            json.dumps({**GOOD, "query": "2", "corpus": "x"}),
            "lines:2: recorded with .*corpus='x'.* the first line with",
        ),
        (b"\xff\xfe", "lines is not UTF-8"),
        (None, "holds no answers"),
    ],
)
def test_a_line_that_is_no_exported_answer_is_named_and_nothing_is_made(tmp_path, second, message):
    second = second.encode() if isinstance(second, str) else second
    first = json.dumps(GOOD).encode() + b"\n"
    (tmp_path / "lines").write_bytes(b"\n" if second is None else first + second + b"\n")
    with pytest.raises(DataError, match=message):
        import_lines(tmp_path / "lines", tmp_path / "out")
    assert os.listdir(tmp_path) == ["lines"]
