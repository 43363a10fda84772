"""Questions as verl's prompt rows: read back they are the same, and a rollout carries no gold answer along."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.asking.questions import questions_identity, read_questions
from autocoa_plugin.lab.prepare.prompt_rows import is_written_here, write_prompt_rows
from autocoa_plugin.rewards import golds_of_row

KIPLING = Question("q1", "Who wrote it?", ("Kipling", "Rudyard Kipling"), "HotpotQA", meta={"level": "easy", "hops": 2})


def rows_of(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()


def written(questions: list[Question], folder: Path, **options: Any) -> list[dict[str, Any]]:
    write_prompt_rows(questions, "train", folder / "train.parquet", **options)
    return rows_of(folder / "train.parquet")


def read_back(questions: list[Question], folder: Path) -> list[Question]:
    write_prompt_rows(questions, "train", folder / "train.parquet")
    return read_questions(str(folder / "train.parquet"))


def test_a_row_has_what_verl_and_our_agent_loop_read(tmp_path):
    (row,) = written([KIPLING], tmp_path)
    assert row == {
        "data_source": "HotpotQA",
        "prompt": [{"role": "user", "content": "Who wrote it?"}],
        "ability": "qa",
        "reward_model": {"style": "rule", "ground_truth": ["Kipling", "Rudyard Kipling"]},
        "extra_info": {
            "index": 0,
            "id": "q1",
            "split": "train",
            "question": "Who wrote it?",
            "level": "easy",
            "hops": 2,
        },
    }
    assert golds_of_row(row["reward_model"], "") == ("Kipling", "Rudyard Kipling")


def test_indices_count_the_rows_of_the_file_whatever_file_a_question_was_read_from(tmp_path):
    rows = written([Question(str(n), f"{n}?", ("a",), meta={"index": 70, "split": "test"}) for n in range(3)], tmp_path)
    assert [(row["extra_info"]["index"], row["extra_info"]["split"]) for row in rows] == [
        (n, "train") for n in range(3)
    ]


def test_a_system_prompt_goes_first_where_there_is_none(tmp_path):
    own = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where?"})
    rows = written([KIPLING, Question("q2", "Where?", ("b",), messages=own)], tmp_path, system_prompt="autocoa_no_tool")
    assert [message["role"] for message in rows[0]["prompt"]] == ["system", "user"]
    assert "\\boxed{answer}" in rows[0]["prompt"][0]["content"]
    assert rows[1]["prompt"] == list(own)


def test_needs_search_of_a_whole_question_and_per_hop_share_a_column_as_lists(tmp_path):
    whole = Question("q1", "Who?", ("a",), needs_search=True)
    per_hop = Question("q2", "Where?", ("b",), needs_search=(True, False))
    unknown = Question("q3", "When?", ("c",))
    assert [each.needs_search for each in read_back([whole, unknown], tmp_path)] == [True, None]
    needed = [each.needs_search for each in read_back([whole, per_hop, unknown], tmp_path)]
    assert needed == [(True,), (True, False), None]


# ----------------------------------------------------------------------------------------------------------------- meta


def test_meta_is_stored_where_a_column_can_hold_it_and_the_rest_is_counted(tmp_path):
    meta = [
        {"level": "easy", "titles": ["a"], "share": 1, "mixed": 1, "large": 2**63, "none": None},
        {"level": None, "share": 0.5, "mixed": "one", "known": True},
    ]
    questions = [Question(str(n), f"{n}?", ("gold",), meta=each) for n, each in enumerate(meta)]
    left_out = write_prompt_rows(questions, "val", tmp_path / "val.parquet")
    assert left_out == {"titles": 1, "mixed": 2, "large": 1}
    first, second = read_questions(str(tmp_path / "val.parquet"))
    assert first.meta == {"index": 0, "split": "val", "level": "easy", "share": 1.0}
    assert second.meta == {"index": 1, "split": "val", "share": 0.5, "known": True}


@pytest.mark.parametrize(
    "meta",
    [
        {"answer": "no more than a name that gold answers have"},
        {"golden_answers": "x"},
        {"obj": "KIPLING."},
        {"sentence": "It was written by Rudyard Kipling, in India."},
        {"choice": "A"},  # an article, so nothing of it is left when it is normalised
    ],
)
def test_no_gold_answer_goes_along_with_a_rollout_under_another_name(meta, tmp_path):
    question = Question("q1", "Who?", ("Kipling", "A"), meta={**meta, "level": "easy"})
    write_prompt_rows([question], "train", tmp_path / "train.parquet")
    (row,) = rows_of(tmp_path / "train.parquet")
    assert {name: value for name, value in row["extra_info"].items() if value is not None} == {
        "index": 0,
        "id": "q1",
        "split": "train",
        "question": "Who?",
        "level": "easy",
    }


def test_a_value_that_only_contains_the_letters_of_a_gold_answer_is_kept(tmp_path):
    (row,) = written([Question("q1", "Which?", ("art", "no"), meta={"kind": "northern artist"})], tmp_path)
    assert row["extra_info"]["kind"] == "northern artist"


# --------------------------------------------------------------------------------------------------------- round trip

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8).filter(str.strip)
META = st.dictionaries(
    st.sampled_from(["type", "level", "hops", "pop", "is_hard"]), st.none() | st.text(max_size=3), max_size=3
)
MESSAGES = st.none() | st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": TEXT}), max_size=2
).flatmap(lambda turns: TEXT.map(lambda text: (*turns, {"role": "user", "content": text})))
PER_HOP = st.none() | st.lists(st.booleans(), min_size=1, max_size=3).map(tuple)


@st.composite
def questions(draw: st.DrawFn) -> list[Question]:
    needs = draw(st.sampled_from([PER_HOP, st.none() | st.booleans()]))
    ids = draw(st.lists(TEXT, min_size=1, max_size=4, unique=True))
    golds = st.lists(TEXT, min_size=1, max_size=3).map(tuple)
    return [Question(id, draw(TEXT), draw(golds), draw(TEXT), draw(MESSAGES), draw(needs), draw(META)) for id in ids]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all examples, each of which writes its file anew."""
    return tmp_path_factory.mktemp("rows")


@settings(max_examples=60)
@given(questions())
def test_questions_read_back_are_the_same(folder, asked):
    left_out = write_prompt_rows(asked, "train", folder / "train.parquet")
    again = read_questions(str(folder / "train.parquet"))
    source = str(folder / "train.parquet")
    assert questions_identity(source, again) == questions_identity(source, asked)  # ids, wordings, golds, conversations
    assert [(each.group, each.needs_search) for each in again] == [(each.group, each.needs_search) for each in asked]
    for before, after in zip(asked, again, strict=True):
        kept = {name: value for name, value in after.meta.items() if name not in ("index", "split")}
        known = {name: value for name, value in before.meta.items() if value is not None}
        assert kept.items() <= known.items()
        assert known.keys() - kept.keys() <= left_out.keys()


@settings(max_examples=40)
@given(questions())
def test_whatever_is_known_of_a_question_a_row_tells_no_gold_answer(folder, asked):
    told = [Question(each.id, "?", each.golds, meta={**each.meta, "said": each.golds[0]}) for each in asked]
    for question, row in zip(told, written(told, folder), strict=True):
        extra = {name: value for name, value in row["extra_info"].items() if name not in ("id", "question", "split")}
        assert not {value for value in extra.values() if isinstance(value, str)} & set(question.golds)


# ------------------------------------------------------------------------------------------------------- files, errors


def test_a_file_is_known_as_written_here_and_no_other_is(tmp_path):
    written([KIPLING], tmp_path)
    assert is_written_here(tmp_path / "train.parquet")
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(tmp_path / "train.parquet").replace_schema_metadata(None), tmp_path / "other.parquet")
    (tmp_path / "broken.parquet").write_text("PAR1")
    assert not any(is_written_here(tmp_path / name) for name in ("other.parquet", "broken.parquet", "gone.parquet"))


def test_text_that_no_file_can_hold_is_one_line_and_leaves_the_old_file(tmp_path):
    written([KIPLING], tmp_path)
    half = json.loads('"\\ud83d"')  # half a character: JSON can spell it
    with pytest.raises(DataError, match=r"train\.parquet: cannot hold these questions: .*surrogates") as caught:
        written([Question("q2", f"Who is {half}?", ("a",))], tmp_path)
    assert "\n" not in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["train.parquet"]
    assert rows_of(tmp_path / "train.parquet")[0]["extra_info"]["id"] == "q1"


def test_an_unknown_system_prompt_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"got 'autocoa_serch' \(did you mean 'autocoa_search'\?\)"):
        written([KIPLING], tmp_path, system_prompt="autocoa_serch")
    assert not list(tmp_path.iterdir())
