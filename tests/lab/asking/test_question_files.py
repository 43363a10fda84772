"""Questions from files of every layout, and one readable line for everything that is wrong with one."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.asking.question_rows import Columns, question_of_row
from autocoa_plugin.lab.asking.questions import questions_identity, read_questions

DATA = Path(__file__).parents[3] / "../shared/data"


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def write_table(path: Path, rows: list[dict[str, Any]]) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def verl_row(index: int | None = 0, **changes: Any) -> dict[str, Any]:
    row = {
        "data_source": "nq",
        "prompt": [{"role": "user", "content": "Who wrote it ?"}],
        "reward_model": {"style": "rule", "ground_truth": ["Kipling"]},
        "extra_info": {"index": index, "question": "Who wrote it ?", "needs_search": [True, False], "hops": 2},
    }
    return {**row, **changes}


PLAIN = {"id": "q1", "question": "Who wrote it?", "answers": ["Kipling", "Rudyard Kipling"]}


# ------------------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("name", ["answers", "golds", "golden_answers", "answer"])
def test_gold_answers_are_found_under_each_usual_name(name, tmp_path):
    source = write(tmp_path / "dev.jsonl", [{"id": "q1", "question": "Who?", name: ["Kipling"]}])
    assert read_questions(source) == [Question("q1", "Who?", ("Kipling",))]


def test_a_single_gold_answer_may_be_a_text_and_further_columns_are_kept(tmp_path):
    row = {"id": 7, "question": "Who?", "answer": "Kipling", "level": "easy", "needs_search": True, "group": "bridge"}
    (question,) = read_questions(write(tmp_path / "dev.jsonl", [row]))
    assert question == Question("7", "Who?", ("Kipling",), "bridge", None, True, {"level": "easy"})


def test_rows_without_id_are_called_by_file_and_number_from_zero(tmp_path):
    rows = [{"question": "Who?", "answer": "a"}, {"id": "own", "question": "Where?", "answer": "b"}, {"question": "x"}]
    rows[2]["answer"] = "c"
    assert [each.id for each in read_questions(write(tmp_path / "dev.jsonl", rows))] == ["dev-0", "own", "dev-2"]


def test_json_csv_tsv_and_parquet_hold_the_same_questions(tmp_path):
    rows = [PLAIN, {"id": "q2", "question": 'Is "it", old?', "answers": ["yes"]}]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    (tmp_path / "data.json").write_text(json.dumps({"version": "1", "data": rows}))
    for name, delimiter in (("dev.csv", ","), ("dev.tsv", "\t")):
        with (tmp_path / name).open("w", newline="") as file:
            table = csv.writer(file, delimiter=delimiter)
            table.writerow(["id", "question", "answers"])
            table.writerow(["q1", "Who wrote it?", '["Kipling", "Rudyard Kipling"]'])
            table.writerow(["q2", 'Is "it", old?', "yes"])  # one answer needs no list
    write_table(tmp_path / "dev.parquet", rows)
    expected = read_questions(write(tmp_path / "dev.jsonl", rows))
    for name in ("list.json", "data.json", "dev.csv", "dev.tsv", "dev.parquet"):
        assert read_questions(str(tmp_path / name)) == expected, name


def test_columns_name_the_fields_of_another_layout(tmp_path):
    source = write(tmp_path / "x.jsonl", [{"key": "k", "query": "Who?", "gold": "Kipling", "kind": "people"}])
    (question,) = read_questions(source, columns=Columns("key", "query", "gold", "kind"))
    assert question == Question("k", "Who?", ("Kipling",), "people")


def test_verls_prompts_are_questions_with_what_they_need(tmp_path):
    source = write_table(tmp_path / "val.parquet", [verl_row(0), verl_row(1)])
    first, second = read_questions(source)
    # the prompt is the question alone, so there is no conversation besides it
    assert first == Question("nq-0", "Who wrote it ?", ("Kipling",), "nq", None, (True, False), {"index": 0, "hops": 2})
    assert second.id == "nq-1"


def test_verls_prompt_with_instructions_stays_a_conversation(tmp_path):
    prompt = [{"role": "system", "content": ""}, {"role": "user", "content": "Answer. Question: Who?"}]
    row = verl_row(
        0, prompt=prompt, reward_model={"ground_truth": {"target": ["a", "b"]}}, id="test_0", question="Who?"
    )
    (question,) = read_questions(write(tmp_path / "test.jsonl", [row]))
    # Search-R1's files: an id and a question of their own, gold answers below "target"
    assert (question.id, question.question, question.golds) == ("test_0", "Who?", ("a", "b"))
    assert question.conversation() == tuple(prompt)


def test_verls_indices_that_begin_anew_in_a_joined_file_get_ids_by_row(tmp_path):
    source = write(tmp_path / "joined.jsonl", [verl_row(0), verl_row(1), verl_row(0), verl_row(None)])
    assert [each.id for each in read_questions(source)] == ["nq-0", "nq-1", "joined-2", "joined-3"]


def test_the_embedded_worlds_validation_questions_are_read(tmp_path, world):
    from autocoa_plugin.tinyworld.questions import validation_questions
    from autocoa_plugin.tinyworld.world_files import write_questions

    held = [each for group in validation_questions(world).values() for each in group]
    write_questions(held, "val", tmp_path / "val.parquet")
    questions = read_questions(str(tmp_path / "val.parquet"))
    assert [each.question for each in questions] == [each.text for each in held]
    assert [each.needs_search for each in questions] == [each.needs_search for each in held]
    assert {each.group for each in questions} == {each.source for each in held}
    assert len({each.id for each in questions}) == len(questions) == 600


def test_limit_takes_the_first_questions_only(tmp_path):
    source = write(tmp_path / "dev.jsonl", [{**PLAIN, "id": str(n)} for n in range(5)] + ["rubbish behind the limit"])
    assert [each.id for each in read_questions(source, limit=3)] == ["0", "1", "2"]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs hotpotqa_*.jsonl in {DATA}")
def test_real_questions_are_read():
    questions = read_questions(str(DATA / "hotpotqa_mini_questions.jsonl"))
    assert len(questions) == 100 and questions[0].id == "5a77ec115542992a6e59dff7"
    assert questions[0].meta["level"] == "easy"


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"id": "q", "question": "Who?"},
            r"there is no column answers, one of answers, golds, .*; the row has id, quest",
        ),
        ({"id": "q", "question": "Who?", "anwsers": ["a"]}, r"no column answers.*\(did you mean 'anwsers'\?\)"),
        ({"id": "q", "que\nstion": "Who?"}, "there is no column 'question'.* the row has id, que stion"),
        ({**PLAIN, "answers": []}, "answers: there is no gold answer"),
        ({**PLAIN, "answers": None}, "answers: there is no gold answer"),
        ({**PLAIN, "answers": [None, "  "]}, r"answers: there is no gold answer, .* got \[None, '  '\]"),
        ({**PLAIN, "answers": True}, "answers: gold answers must be text or numbers, got True"),
        (
            {**PLAIN, "answers": {"text": "a"}},
            r"gold answers stand under ground_truth or target, .*\['text'\]",
        ),
        ({**PLAIN, "question": " \n "}, "question: expected text that is not blank, got"),
        ({**PLAIN, "question": None}, "question: expected text"),
        ({"id": "q", "answers": ["a"]}, "there is no column 'question'"),
        ({**PLAIN, "id": True}, "id: expected text or a whole number, got True"),
        ({**PLAIN, "id": " "}, "id: expected text"),
        ({**PLAIN, "group": 3}, "group: expected text"),
        ({**PLAIN, "needs_search": "yes"}, "needs_search: expected true, false or a list"),
        (["not", "an", "object"], "expected an object, got list"),
        (verl_row(0, reward_model={}), "reward_model.ground_truth: there is no gold answer"),
        (verl_row(0, reward_model={"ground_truth": {"target": None}}), "reward_model.ground_truth: there is no gold"),
        (verl_row(0, prompt="Who?"), "prompt: expected a list of messages that ends with the user's, got 'Who"),
        (verl_row(0, prompt=[]), "prompt: expected a list of messages"),
        (verl_row(0, prompt=[{"role": "assistant", "content": "x"}]), "that ends with the user's"),
        (
            verl_row(0, prompt=[{"role": "user", "content": [{"type": "text"}]}]),
            "expected messages with role and content",
        ),
        (verl_row(0, prompt=[{"role": "user", "content": "  "}]), "prompt: expected text that is not blank"),
        (verl_row(0, extra_info="none"), "extra_info: expected an object, got str 'none'"),
    ],
)
def test_a_bad_row_is_named_with_file_and_line(row, message, tmp_path):
    source = write(tmp_path / "dev.jsonl", [{**PLAIN, "id": "first"}, row])
    with pytest.raises(DataError, match=message) as caught:
        read_questions(source)
    assert str(caught.value).startswith(f"{source}:2: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dev.jsonl", b"", "holds no question"),
        ("dev.json", b"[]", "holds no question"),
        ("dev.csv", b"", "holds no question"),
        ("dev.csv", b"id,question,answer\n", "holds no question"),
        ("dev.csv", b"id,question,answer\n1,Who?\n", "row 1: has another number of columns than the heading"),
        ("dev.csv", b"id,question,answer\n1,Who?,a,b\n", "row 1: has another number of columns"),
        ("dev.csv", b"id,question,answer\n1,Who?,\n", "row 1: answer: there is no gold answer"),
        ("dev.csv", b"id,question,answer\n1,,a\n", "row 1: question: expected text that is not blank, got ''"),
        ("dev.csv", b'id,question,answer\n1,"Who?,a\n', "not readable after row 0"),
        ("dev.csv", b"id,question,answer\n1,\xff,a\n", "not readable after row 0"),
        ("dev.json", b'[{"id": 1', "not readable JSON, was it written completely"),
        ("dev.json", b"\xff", "not readable JSON"),
        ("dev.json", b'{"rows": []}', "expected a list of objects or"),
        ("dev.json", b"[1]", "row 1: expected an object, got int 1"),
        ("dev.jsonl", b'{"id": "q1", "que', r":1: not a JSON object.*was it written completely"),
        ("dev.parquet", b"PAR1 no PAR1", "no readable parquet file"),
        ("dev.jsnl", b"{}", r"suffix must be one of .*got '.jsnl' \(did you mean '.jsonl'\?\)"),
        ("dev", b"{}", "suffix must be one of"),
    ],
)
def test_an_unreadable_file_is_named_in_one_line(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_questions(str(path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def asking(*rows: Any, name: str = "dev.jsonl", **options: Any) -> Any:
    """Read a file of these rows, or what is called `name` beside it."""
    return lambda folder: read_questions(str(Path(write(folder / "dev.jsonl", list(rows))).parent / name), **options)


MISSPELLED = (Columns(id="idd"), Columns(question="questoin"), Columns(answers="answer"), Columns(group="grp"))


@pytest.mark.parametrize(
    ("read", "kind", "message"),
    [
        (
            asking(PLAIN, {**PLAIN, "id": "q2"}, PLAIN),
            DataError,
            r"dev.jsonl:3: id 'q1' stands at .*dev.jsonl:1 already",
        ),
        # a number and a text of the same spelling
        (asking({**PLAIN, "id": 1}, {**PLAIN, "id": "1"}), DataError, "id '1' stands at"),
        (asking(PLAIN, name="dev.json"), DataError, r"did you mean 'dev\.jsonl'"),
        (asking(PLAIN, name=""), DataError, "is a folder, expected a file of questions"),
        (
            lambda _: read_questions("hotpotq"),
            DataError,
            r"hotpotq: no such file of questions, nor one of .* \(did you mean 'hotpotqa'",
        ),
        # before anything is read
        *(
            (asking(name="no/such/file.jsonl", limit=limit), ConfigError, f"limit must be >= 1, got {limit}")
            for limit in (0, -1)
        ),
        (asking(PLAIN, split="dev"), ConfigError, "split is for data sets of the hub"),
        *(
            (
                asking(PLAIN, columns=columns),
                DataError,
                r"dev.jsonl:1: there is no column '.*the row has id, question, answers",
            )
            for columns in MISSPELLED
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_nearest(tmp_path, read, kind, message):
    with pytest.raises(kind, match=message):
        read(tmp_path)


# ------------------------------------------------------------------------------------------------------------ identity


def test_the_same_questions_have_the_same_identity_wherever_they_lie(tmp_path):
    (tmp_path / "copy").mkdir()
    first = write(tmp_path / "dev.jsonl", [PLAIN])
    second = write(tmp_path / "copy" / "dev.jsonl", [{**PLAIN, "note": "columns that nobody asks for do not count"}])
    identity = questions_identity(first, read_questions(first))
    assert identity == questions_identity(second, read_questions(second))
    assert (identity["source"], identity["count"], len(identity["sha256"])) == ("dev.jsonl", 1, 64)


@pytest.mark.parametrize(
    "other",
    [
        Question("q2", "Who?", ("a",)),
        Question("q1", "Where?", ("a",)),
        Question("q1", "Who?", ("a", "b")),
        Question("q1", "Who?", ("a",), messages=({"role": "user", "content": "Who? Be brief."},)),
    ],
)
def test_another_id_wording_gold_or_conversation_is_another_identity(other):
    one = questions_identity("x.jsonl", [Question("q1", "Who?", ("a",))])
    assert questions_identity("x.jsonl", [other])["sha256"] != one["sha256"]


def test_the_order_of_questions_is_part_of_their_identity():
    asked = [Question("q1", "Who?", ("a",)), Question("q2", "Where?", ("b",))]
    assert questions_identity("x", asked) != questions_identity("x", asked[::-1])


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("runs/of/me/dev.jsonl", "dev.jsonl"),
        ("hf:owner/name", "hf:owner/name"),
        ("HotpotQA", "hotpotqa"),
        ("hotpotqa=/copies/dev.jsonl", "hotpotqa"),
        ("nq, triviaqa=t.jsonl", "nq,triviaqa"),
        ("a,b.jsonl", "a,b.jsonl"),
    ],
)
def test_a_source_is_called_without_its_folder(source, name):
    assert questions_identity(source, [Question("q1", "Who?", ("a",))])["source"] == name


# ------------------------------------------------------------------------------------------------------------ property

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("id", "question", "answers", "answer", "prompt", "reward_model", "extra_info", "data_source", "needs_search")


@given(st.dictionaries(st.sampled_from(KEYS), JSON | st.just("text") | st.just(["text"])) | JSON)
def test_whatever_a_row_holds_it_is_a_question_or_one_line_of_error(row):
    try:
        question = question_of_row(row, Columns(), default_id="f-0", place="f:1")
    except DataError as error:
        assert str(error).startswith("f:1: ") and "\n" not in str(error)
    else:
        assert question.id.strip() and question.question.strip() and question.golds
        assert all(gold.strip() for gold in question.golds)
        assert question.conversation()[-1]["role"] == "user"
