"""The rows of a data set: written as they come into shards of any size, and near-duplicates left out."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from gate_attempts import attempt, boxed, search
from hypothesis import given, settings
from hypothesis import strategies as st

from autocoa_plugin.data.record_files import read_records
from autocoa_plugin.data.records import TextRecord
from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.lab.synthesize.data_set import NearDuplicates, ShardWriter, row_text, shingles


def records(count):
    return [TextRecord(f"r{number}", f"text {number}", (number, number + 1)) for number in range(count)]


def write(folder, rows, shard_rows):
    with ShardWriter(Path(folder), "coa", shard_rows) as writer:
        for row in rows:
            writer.add(row)
    return writer


@settings(max_examples=25)
@given(st.integers(0, 30), st.integers(1, 31))
def test_shards_of_any_size_hold_the_same_rows(count, shard_rows):
    with tempfile.TemporaryDirectory() as folder:
        writer = write(folder, records(count), shard_rows)
        assert list(read_records(writer.files)) == records(count)
        assert len(writer.files) == -(-count // shard_rows)
        assert sorted(each.name for each in Path(folder).iterdir()) == [each.name for each in writer.files]


def test_full_shards_come_first_and_are_numbered(tmp_path):
    files = write(tmp_path, records(5), 2).files
    assert [each.name for each in files] == [f"coa-{number:05d}-of-00003.parquet" for number in range(3)]
    assert [len(list(read_records(each))) for each in files] == [2, 2, 1]


@pytest.mark.parametrize("count", [999, 1000, 1001, 2050])
def test_rows_that_cross_a_row_group_are_all_there(tmp_path, count):
    assert list(read_records(write(tmp_path, records(count), 5000).files)) == records(count)


def test_a_set_without_rows_writes_no_file(tmp_path):
    assert write(tmp_path, [], 2).files == ()
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_could_not_be_read_again_is_named(tmp_path):
    with pytest.raises(DataError, match=r"coa: row 'r': ids\[0\]: must be a token id from 0 to 2147483647, got -1"):
        write(tmp_path, [TextRecord("r", "x", (-1,))], 2)


def test_no_file_has_a_final_name_while_the_block_lasts(tmp_path):
    with pytest.raises(OSError, match="disk full"), ShardWriter(tmp_path, "coa", 2) as writer:
        for each in records(3):
            writer.add(each)
        raise OSError("disk full")
    assert writer.files == ()
    assert not list(tmp_path.glob("*.parquet"))


def test_a_full_disk_is_one_line_and_leaves_the_old_files(tmp_path):
    write(tmp_path, records(5), 10)
    code = """
import resource, sys
from pathlib import Path
from autocoa_plugin.cli import exit_status
from autocoa_plugin.data.records import TextRecord
from autocoa_plugin.runs.files import exchanging
from autocoa_plugin.lab.synthesize.data_set import ShardWriter

def assemble():
    folder = Path(sys.argv[1])
    with exchanging(folder, lambda name: name == "coa.parquet") as staged, ShardWriter(staged, "coa", 10_000) as writer:
        for number in range(3000):
            writer.add(TextRecord(f"r{number}", f"text {number * 7919 % 99991}"))

resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
sys.exit(exit_status(assemble))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("autocoa: writing: ") and done.stderr.count("\n") == 1
    assert [each.name for each in tmp_path.iterdir()] == ["coa.parquet"]
    assert list(read_records(tmp_path / "coa.parquet")) == records(5)


# Near-duplicates: the first of those alike is kept.


WORDS = [f"word{number}" for number in range(2000)]


def text(seed: int, n_words: int = 200) -> list[str]:
    return random.Random(seed).choices(WORDS, k=n_words)


def kept(texts: list[str], threshold: float | None = 0.9) -> list[bool]:
    seen = NearDuplicates(threshold)
    return [seen.is_new(each) for each in texts]


def test_the_first_of_texts_alike_is_kept():
    words = text(0)
    changed = [*words[:-1], "other"]  # 195 of 197 runs of five words are shared: a similarity of 0.99
    assert kept([" ".join(words), " ".join(changed), " ".join(text(1))]) == [True, False, True]


def test_texts_less_alike_than_the_threshold_are_all_kept():
    # 20 of 200 words changed, each in five runs: 96 of 296 runs are shared, a similarity of 0.32
    words = text(0)
    changed = [f"new{number}" if number % 10 == 5 else word for number, word in enumerate(words)]
    texts = [" ".join(words), " ".join(changed)]
    assert kept(texts) == [True, True]
    assert kept(texts, 0.1) == [True, False]


@pytest.mark.parametrize(("threshold", "share"), [(0.5, 0.75), (0.7, 0.9), (0.9, 0.97)])
def test_texts_clearly_more_alike_than_the_threshold_are_found(threshold, share):
    # of 300 runs a share is common to both; a standard error is below 0.03
    common = round(300 * 2 * share / (1 + share))
    for seed in range(30):
        head, first, second = text(seed, common), text(seed + 100, 300 - common), text(seed + 200, 300 - common)
        assert kept([" ".join(head + first), " ".join(head + second)], threshold) == [True, False]


def test_case_punctuation_and_articles_make_no_difference():
    assert kept(["The capital of France is Paris.", "capital of france is: PARIS"]) == [True, False]


def test_texts_shorter_than_a_run_are_compared_whole():
    assert kept(["Paris", "Rome", "paris!", "Paris Rome"]) == [True, True, False, True]


def test_texts_without_a_word_are_alike_when_they_are_equal():
    assert kept(["?", "!", "?", "", " "]) == [True, True, False, True, False]


def test_without_a_threshold_every_text_is_new():
    assert kept(["Paris", "Paris"], None) == [True, True]


@settings(max_examples=50)
@given(st.lists(st.text(), max_size=8), st.sampled_from([0.01, 0.5, 0.9, 1.0]))
def test_an_exact_repeat_is_always_found(texts, threshold):
    seen = NearDuplicates(threshold)
    for each in texts:
        seen.is_new(each)
    assert not any(seen.is_new(each) for each in texts)


@given(st.text())
def test_every_text_has_a_run_to_be_compared_by(text):
    assert shingles(text) and len(set(shingles(text))) == len(shingles(text))


def test_runs_are_five_words_each_once():
    assert shingles("one two three four five six") == ["one two three four five", "two three four five six"]
    assert shingles("a b c d e f a b c d e f") == ["b c d e f", "c d e f b", "d e f b c", "e f b c d", "f b c d e"]


def test_another_process_keeps_the_same_texts():
    # near the threshold the estimate decides, which depends on the hashes
    script = "import sys; sys.path.insert(0, sys.argv[1]); from test_data_set import near; print(near())"
    ran = subprocess.run(
        [sys.executable, "-c", script, str(__file__).rpartition("/")[0]],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"},
    )
    assert ran.stdout.strip() == str(near()) and len(set(near())) == 2


def test_without_datasketch_the_extra_is_named():
    script = (
        "import sys; sys.modules['datasketch'] = None\n"
        "from autocoa_plugin.lab.synthesize.data_set import NearDuplicates\n"
        "assert NearDuplicates(None).is_new('a')\n"
        "NearDuplicates(0.9)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.stderr.rstrip().endswith(
        "ConfigError: near-duplicates need datasketch: pip install 'autocoa-plugin[data]', or keep them all"
    )


def near() -> list[bool]:
    """What is kept of texts whose similarity is just at the threshold."""
    return kept([" ".join(text(0, 285) + text(seed, 15)) for seed in range(1, 20)])


def test_a_row_is_compared_by_its_question_and_what_the_policy_wrote():
    chain = attempt(["I need " + search("capital France"), "so " + boxed("Paris")], {"capital France": "Paris it is"})
    said = row_text("Which city?", chain.sample.trajectory)
    assert said.split() == ["Which", "city?", "I", "need", "capital", "France", "so", "Paris}<eos>"]


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ConfigError, match="similarity must be above 0 and at most 1, got"):
        NearDuplicates(threshold)
