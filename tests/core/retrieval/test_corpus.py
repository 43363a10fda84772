"""Reading a corpus: two layouts in, passages or a DataError with file and line out."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from autocoa_plugin.errors import DataError
from autocoa_plugin.retrieval import Document
from autocoa_plugin.retrieval.index_build import read_corpus


def test_both_layouts_give_the_same_passage(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"id": 7, "title": "T", "text": "x\\ny"}\n\n{"id": "7", "contents": "\\"T\\"\\nx\\ny"}\n')
    assert list(read_corpus(path)) == [Document("7", "T", "x\ny")] * 2


def test_compressed_corpus_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": "1", "title": "T", "text": "x"}\n'))
    assert [passage.title for passage in read_corpus(path)] == ["T"]


def test_lone_surrogate_becomes_a_question_mark(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"id": "1", "title": "\\ud800", "text": "x"}\n')
    assert next(read_corpus(path)).title == "?"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{not json", "not JSON"),
        ("[1]", "got list"),
        ('{"id": "1", "title": "T"}', "'text' must be a string, got None"),
        ('{"id": "1", "title": 3, "text": "x"}', "'title' must be a string, got 3"),
        ('{"title": "T", "text": "x"}', "'id' must be a string or an integer, got None"),
        ('{"id": "1", "contents": null}', "'contents' must be a string"),
        ('{"id": "1", "title": "\xff', "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_bad_line_is_named_with_file_and_number(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"id": "1", "title": "T", "text": "x"}\n' + line + "\n")
    with pytest.raises(DataError) as caught:
        list(read_corpus(path))
    assert f"{path}:2" in str(caught.value)
    assert told in str(caught.value)


def test_missing_corpus_and_broken_archive_are_data_errors(tmp_path: Path) -> None:
    (tmp_path / "broken.gz").write_bytes(b"no gzip")
    for name in ("missing.jsonl", "broken.gz"):
        with pytest.raises(DataError, match="cannot read the corpus"):
            list(read_corpus(tmp_path / name))
