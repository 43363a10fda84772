"""The paper's sets: rows of exactly their schemas become questions, from files and through the library `datasets`."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.asking.question_rows import Columns
from autocoa_plugin.lab.asking.question_sets import SETS
from autocoa_plugin.lab.asking.questions import read_questions

CONTEXT = {"title": ["Alpha"], "sentences": [["Alpha is here."]]}
FACTS = {"title": ["Alpha"], "sent_id": [0]}
PARAGRAPHS = [{"idx": 0, "title": "Alpha", "paragraph_text": "Alpha is here.", "is_supporting": True}]
TRIVIA = {
    "aliases": ["Kipling", "R. Kipling"],
    "normalized_aliases": ["kipling", "r kipling"],
    "matched_wiki_entity_name": "",
    "normalized_matched_wiki_entity_name": "",
    "normalized_value": "rudyard kipling",
    "type": "WikipediaEntity",
    "value": "Rudyard Kipling",
}

ROWS: dict[str, dict[str, Any]] = {
    "nq": {"question": "who wrote it", "answer": ["Rudyard Kipling", "Kipling"]},
    "triviaqa": {
        "question": "Who wrote it?",
        "question_id": "tc_33",
        "question_source": "http://www.triviacountry.com/",
        "entity_pages": {"doc_source": [], "filename": [], "title": [], "wiki_context": []},
        "search_results": {"description": [], "filename": [], "rank": [], "title": [], "url": [], "search_context": []},
        "answer": TRIVIA,
    },
    "hotpotqa": {
        "id": "5a8b57f25542995d1e6f1371",
        "question": "Were both American?",
        "answer": "yes",
        "type": "comparison",
        "level": "hard",
        "supporting_facts": FACTS,
        "context": CONTEXT,
    },
    "2wikimultihopqa": {
        "id": "8813f87c0bdd11eba7f7acde48001122",
        "question": "Who is the mother of the director of it?",
        "answer": "Małgorzata Braunek",
        "type": "compositional",
        "evidences": [["it", "director", "Xawery Żuławski"]],
        "supporting_facts": FACTS,
        "context": CONTEXT,
    },
    "musique": {
        "id": "2hop__460946_294723",
        "paragraphs": PARAGRAPHS,
        "question": "Who is the spouse of the performer?",
        "question_decomposition": [{"id": 1, "question": "x", "answer": "y", "paragraph_support_idx": 0}],
        "answer": "Miquette Giraudy",
        "answer_aliases": ["Giraudy"],
        "answerable": True,
    },
    "bamboogle": {"Question": "Who was president when it was founded?", "Answer": "Ulysses S. Grant"},
    "popqa": {
        "id": 4222362,
        "subj": "George Rankin",
        "prop": "occupation",
        "obj": "politician",
        "s_pop": 142,
        "o_pop": 25692,
        "question": "What is George Rankin's occupation?",
        "possible_answers": '["politician", "political leader", "pol"]',
    },
}

EXPECTED = {
    "nq": Question("nq-0", "who wrote it", ("Rudyard Kipling", "Kipling"), "NQ"),
    # the value before its aliases; normalised forms are no answers of their own
    "triviaqa": Question("tc_33", "Who wrote it?", ("Rudyard Kipling", "Kipling", "R. Kipling"), "TriviaQA"),
    "hotpotqa": Question(
        "5a8b57f25542995d1e6f1371",
        "Were both American?",
        ("yes",),
        "HotpotQA",
        meta={"type": "comparison", "level": "hard"},
    ),
    "2wikimultihopqa": Question(
        "8813f87c0bdd11eba7f7acde48001122",
        "Who is the mother of the director of it?",
        ("Małgorzata Braunek",),
        "2Wiki",
        meta={"type": "compositional"},
    ),
    "musique": Question(
        "2hop__460946_294723", "Who is the spouse of the performer?", ("Miquette Giraudy", "Giraudy"), "MuSiQue"
    ),
    "bamboogle": Question("bamboogle-0", "Who was president when it was founded?", ("Ulysses S. Grant",), "Bamboogle"),
    "popqa": Question(
        "popqa-4222362",
        "What is George Rankin's occupation?",
        ("politician", "political leader", "pol"),
        "PopQA",
        meta={"s_pop": 142, "prop": "occupation"},
    ),
}


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: list[Any]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


WRITERS = {"jsonl": write_jsonl, "parquet": write_parquet}


def test_every_set_has_a_row_to_try_it_on():
    assert set(SETS) == set(ROWS) == set(EXPECTED)


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_a_sets_own_schema_is_read_from_a_file(name, suffix, tmp_path):
    path = WRITERS[suffix](tmp_path / f"dev.{suffix}", [ROWS[name]])
    assert read_questions(f"{name}={path}") == [EXPECTED[name]]


@pytest.mark.parametrize(("name", "suffix"), zip(ROWS, itertools.cycle(WRITERS)))
def test_the_library_reads_the_same_from_a_folder_as_it_stands_on_the_hub(name, suffix, tmp_path):
    held = SETS[name]
    WRITERS[suffix](tmp_path / "data" / f"{held.split}.{suffix}", [ROWS[name]])
    WRITERS[suffix](tmp_path / "data" / f"train.{suffix}", [ROWS[name]] * 2)
    if held.config:  # the card names configurations, as on the hub
        files = [{"split": split, "path": f"data/{split}.{suffix}"} for split in ("train", held.split)]
        card = json.dumps({"configs": [{"config_name": held.config, "data_files": files}]})
        (tmp_path / "README.md").write_text(f"---\n{card}\n---\n")
    assert read_questions(f"{name}={tmp_path}") == [EXPECTED[name]]


def test_popqas_table_is_read_as_it_lies_on_the_hub(tmp_path):
    row = ROWS["popqa"]
    (tmp_path / "test.tsv").write_text(
        "\t".join(row) + "\n" + "\t".join('"' + str(v).replace('"', '""') + '"' for v in row.values()) + "\n"
    )
    (question,) = read_questions(f"popqa={tmp_path / 'test.tsv'}")
    assert question.golds == EXPECTED["popqa"].golds
    assert read_questions(f"popqa={tmp_path}") == [EXPECTED["popqa"]]


@pytest.mark.parametrize("name", ROWS)
def test_search_r1s_copies_of_the_sets_are_read_as_well(name, tmp_path):
    row = {"id": "test_0", "question": "Who?", "golden_answers": ["a", "b"], "metadata": {"type": "bridge"}}
    (question,) = read_questions(f"{name}={write_jsonl(tmp_path / 'test.jsonl', [row])}")
    # counted ids are the same in all of its sets, so the set's name comes before them
    assert (question.id, question.golds, question.group) == (f"{name}-test_0", ("a", "b"), SETS[name].label)


def test_several_sets_are_one_list_with_a_limit_for_each(tmp_path):
    rows = [{"id": f"test_{n}", "question": "Who?", "golden_answers": ["a"]} for n in range(3)]
    path = write_jsonl(tmp_path / "test.jsonl", rows)
    asked = read_questions(f"nq={path}, triviaqa={path},hotpotqa={path}", limit=2)
    assert [each.id for each in asked] == [
        f"{name}-test_{n}" for name in ("nq", "triviaqa", "hotpotqa") for n in (0, 1)
    ]
    assert [each.group for each in asked[::2]] == ["NQ", "TriviaQA", "HotpotQA"]


def test_questions_without_answer_and_repeated_ones_are_left_out_and_counted(tmp_path):
    unanswerable = {**ROWS["musique"], "answerable": False, "answer": "", "answer_aliases": []}
    rows, said = [ROWS["musique"], unanswerable, ROWS["musique"]], []
    questions = read_questions(f"musique={write_jsonl(tmp_path / 'dev.jsonl', rows)}", report=said.append)
    assert questions == [EXPECTED["musique"]]
    assert said == ["MuSiQue: 2 rows left out, without answer or asked before"]


def test_official_json_lists_with_underscored_ids_are_read(tmp_path):
    row = {"_id": "5a8b", "question": "Were both?", "answer": "no", "type": "bridge", "level": "easy"}
    (tmp_path / "dev.json").write_text(json.dumps([row]))
    assert [each.id for each in read_questions(f"hotpotqa={tmp_path / 'dev.json'}")] == ["5a8b"]


def test_any_data_set_in_a_plain_layout_is_read_through_the_library(tmp_path):
    from autocoa_plugin.lab.asking.question_rows import hub_rows

    write_jsonl(tmp_path / "train.jsonl", [{"question": "x", "answer": "y"}])
    write_jsonl(tmp_path / "test.jsonl", [{"question": "Who?", "answer": "a"}])
    assert list(hub_rows(str(tmp_path), None, "test")) == [
        (f"{tmp_path} (test): row 1", {"question": "Who?", "answer": "a"})
    ]
    with pytest.raises(ConfigError, match=r"has the splits \['train', 'test'\]: give one of them"):
        list(hub_rows(str(tmp_path), None, None))
    with pytest.raises(ConfigError, match=r"split must be one of .*got 'tset' \(did you mean 'test'\?\)"):
        list(hub_rows(str(tmp_path), None, "tset"))


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        *((name, 3, "expected an object, got int 3") for name in ROWS),
        ("hotpotqa", {"answer": None}, "answer of hotpotqa: there is no gold answer"),
        ("hotpotqa", {"answer": " "}, "answer of hotpotqa: there is no gold answer"),
        ("hotpotqa", {"question": " "}, "question: expected text that is not blank"),
        ("triviaqa", {"answer": {"value": None, "aliases": []}}, "answer of triviaqa: there is no gold answer"),
        ("popqa", {"possible_answers": "['pol']"}, "possible_answers: expected a JSON list in a text"),
        ("popqa", {"possible_answers": "[]"}, "answer of popqa: there is no gold answer"),
        ("bamboogle", {"Answer": None}, "answer of bamboogle: there is no gold answer"),
        ("bamboogle", {"Question": ""}, "Question: expected text"),
        ("nq", {"answer": [["a"]]}, "answer of nq: gold answers must be text"),
    ],
)
def test_a_bad_row_of_a_set_is_named(name, changes, message, tmp_path):
    path = write_jsonl(tmp_path / "dev.jsonl", [{**ROWS[name], **changes} if isinstance(changes, dict) else changes])
    with pytest.raises(DataError, match=message) as caught:
        read_questions(f"{name}={path}")
    assert str(caught.value).startswith(f"{path}:1: ")


def copy_of_nq(folder: Path, name: str = "dev.jsonl") -> str:
    return f"nq={write_jsonl(folder / name, [ROWS['nq']])}"


@pytest.mark.parametrize(
    ("read", "kind", "message"),
    [
        (
            lambda folder: read_questions(f"nq={folder}/gone.jsonl"),
            DataError,
            "nq=.*gone.jsonl: no such file or folder",
        ),
        (
            lambda folder: read_questions(f"nq={folder}"),
            DataError,
            r"cannot be loaded \(.*\); expected a folder as it stands on the hub",
        ),
        (
            lambda folder: read_questions(copy_of_nq(folder, "dev.jsnl")),
            DataError,
            r"got '.jsnl' \(did you mean '.jsonl'\?\)",
        ),
        (
            lambda folder: read_questions(copy_of_nq(folder), split="validation"),
            ConfigError,
            "split is for data sets of the hub",
        ),
        (
            lambda folder: read_questions(copy_of_nq(folder), columns=Columns(question="q")),
            ConfigError,
            "nq knows its columns",
        ),
        *(
            (
                lambda _, source=source: read_questions(source),
                ConfigError,
                "expected hf:owner/name or hf:owner/name/config, got 'hf:",
            )
            for source in ("hf:", "hf:name", "hf:/name", "hf:owner/")
        ),
    ],
)
def test_a_source_that_is_none_is_refused_in_one_line(read, kind, message, tmp_path):
    with pytest.raises(kind, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_without_network_one_line_says_how_to_do_without_the_hub(tmp_path):
    code = """
from autocoa_plugin.errors import DataError
from autocoa_plugin.lab.asking.questions import read_questions
for source in ("nq", "hf:owner/name"):
    try:
        read_questions(source)
    except DataError as error:
        print(error)
"""
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=offline, capture_output=True, text=True, timeout=50)
    first, second = done.stdout.splitlines()
    assert first.startswith("google-research-datasets/nq_open: cannot be loaded (")
    assert first.endswith("; a local copy does without the hub: nq=path/to/validation.jsonl")
    assert second.startswith("owner/name: cannot be loaded (")
    assert second.endswith("; a local file of questions does without the hub")
