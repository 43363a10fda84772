"""Query files and dumps: what they become, and what is wrong with them, file and line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from autocoa_plugin.dump import TrajectoryDump
from autocoa_plugin.environments.base import Observation
from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.lab.scorecard.queries import (
    QueryRow,
    choose,
    dump_queries,
    encode_query,
    last_action,
    read_queries,
    write_queries,
)
from autocoa_plugin.loop import rollout
from autocoa_plugin.protocol import AUTOCOA, SEARCH_R1
from autocoa_plugin.rewards import score
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD, build_tokenizer, prompt_text
from autocoa_plugin.tinyworld.world_files import GROUPS, world_queries, write_world_queries
from autocoa_plugin.tokenization import Codec
from autocoa_plugin.trajectory import Origin

CHARS = Codec(CharTokenizer(), AUTOCOA)
PREFIX = "<think> Who ? <begin_search> q </end_search>"
GOOD = {"question": "Who ?", "prefix": PREFIX, "query": "q", "golds": ["Kipling"], "group": "held"}
TWO_TURNS = (
    "<think> <begin_search> a </end_search>\n\n<search_result> x </search_result>\n\n<begin_search> b </end_search>"
)


def file_of(folder: Path, *rows: object) -> Path:
    path = folder / "q.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def test_a_row_is_read_with_its_query_and_place(tmp_path):
    path = file_of(tmp_path, GOOD)
    (row,) = read_queries(path, AUTOCOA)
    assert row == QueryRow("Who ?", PREFIX, ("Kipling",), "q", "held", f"{path}:1")


def test_query_and_group_may_be_left_out_and_one_gold_may_be_a_string(tmp_path):
    (row,) = read_queries(file_of(tmp_path, {"question": "Who ?", "prefix": PREFIX, "golds": "Kipling"}), AUTOCOA)
    assert (row.query, row.group, row.golds) == ("q", "all", ("Kipling",))


def test_what_is_written_is_read_back(tmp_path):
    rows = read_queries(file_of(tmp_path, GOOD, {**GOOD, "group": "train"}), AUTOCOA)
    write_queries(rows, tmp_path / "again" / "q.jsonl")
    again = read_queries(tmp_path / "again" / "q.jsonl", AUTOCOA)
    assert [(each.prefix, each.golds, each.query, each.group) for each in again] == [
        (PREFIX, ("Kipling",), "q", "held"),
        (PREFIX, ("Kipling",), "q", "train"),
    ]


HELD = QueryRow("q", PREFIX, ("g",), "q", "held")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        *(
            ([GOOD, {**GOOD, **change}], rf"q\.jsonl:2: {message}")
            for change, message in [
                ({"golds": []}, r"golds: there is no gold answer, .*, got \[\]"),
                ({"golds": [" "]}, "golds: there is no gold answer"),
                ({"golds": None}, "golds: there is no gold answer"),
                ({"question": ""}, "question must be text"),
                ({"prefix": 7}, "prefix must be text, got 7"),
                (
                    {"prefix": "<think> no action"},
                    r"prefix must end with a closed action \(</end_search> or </end_calculate>\)",
                ),
                ({"prefix": PREFIX + " and more"}, "prefix must end with a closed action"),
                ({"prefix": "<think> <begin_search> </end_search>"}, "the action that prefix ends with is empty"),
                ({"prefix": "<think> q </end_search>"}, "the action that prefix ends with is malformed"),
                ({"query": "other"}, "query is 'other', but prefix ends with the query 'q'"),
                ({"gruop": "held"}, r"unknown field 'gruop' \(did you mean 'group'\?\)"),
            ]
        ),
        *(([GOOD, line], r"q\.jsonl:2: ") for line in ("{", "[1]", '"text"')),
        ([], "holds no query"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        read_queries(file_of(tmp_path, *rows), AUTOCOA)


@pytest.mark.parametrize(
    ("ask", "kind", "message"),
    [
        (
            lambda folder: read_queries(file_of(folder).with_name("qq.jsonl"), AUTOCOA),
            DataError,
            r"no such file of queries \(did you mean 'q.jsonl'\?\)",
        ),
        (lambda _: last_action(PREFIX, SEARCH_R1, "q.jsonl:1"), DataError, "</search>"),  # another protocol's action
        (
            lambda _: choose([HELD], ["hold"]),
            ConfigError,
            r"group 'hold' \(did you mean 'held'\?\); there are \['held'\]",
        ),
        (lambda _: choose([], limit=0), ConfigError, "limit must be >= 1, got 0"),
        (
            lambda folder: dump_queries(dump_of(folder), "val", Codec(CharTokenizer(), SEARCH_R1)),
            DataError,
            "'u' of step 3 was written in protocol 'autocoa', asked for 'search_r1'",
        ),
        (
            lambda folder: dump_queries(dump_of(folder), "train", CHARS),
            DataError,
            r"no real answer in split 'train'; there are the splits \['val'\]",
        ),
        (
            lambda folder: dump_queries(dump_of(folder), "val", CHARS, step=4),
            DataError,
            "no real answer in split 'val' at step 4",
        ),
        (
            # 3,000,000 is the tag in the dump, and a word here
            lambda folder: dump_queries(
                dump_of(folder, codec=Codec(CharTokenizer(["<begin_search>"]), AUTOCOA)),
                "val",
                Codec(CharTokenizer(["word"]), AUTOCOA),
            ),
            DataError,
            "is another tokenizer's: an action decodes to",
        ),
        (
            lambda folder: dump_queries(dump_of(folder, golds=()), "val", CHARS),
            DataError,
            r"'u' of step 3: golds: there is no gold answer",
        ),
    ],
    ids=["file", "action", "group", "limit", "protocol", "split", "step", "tokenizer", "golds"],
)
def test_what_cannot_be_asked_is_refused(tmp_path, ask, kind, message):
    with pytest.raises(kind, match=message):
        ask(tmp_path)


def test_the_last_of_several_actions_is_the_query():
    assert last_action(TWO_TURNS, AUTOCOA, "").parameters == "b"


def test_a_limit_is_per_group_and_groups_keep_their_order():
    rows = [QueryRow("q", PREFIX, ("g",), "q", group) for group in ("b", "b", "a", "b", "a")]
    assert [each.group for each in choose(rows, limit=1)] == ["b", "a"]
    assert [each.group for each in choose(rows, ["a"])] == ["a", "a"]


# ------------------------------------------------------------------------------------------------------ the ids


@pytest.fixture(scope="module")
def words(world):
    return Codec(build_tokenizer(world), TINYWORLD)


def test_a_row_becomes_prompt_and_prefix_as_the_chat_template_spells_them(words, world):
    row = world_queries(world, 1)[0]
    query = encode_query(row, words)
    assert list(query.ids) == words.encode(f"{prompt_text(row.question)} {row.prefix}")
    assert (query.action.parameters, query.group) == (row.query, "train")


def test_a_thought_that_the_template_opens_is_not_opened_again(world):
    tokenizer = build_tokenizer(world)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "<|assistant|>{% endif %}", "<|assistant|> <think>{% endif %}"
    )
    codec, row = Codec(tokenizer, TINYWORLD), world_queries(world, 1)[0]
    ids = encode_query(row, codec).ids
    assert list(ids) == codec.encode(f"{prompt_text(row.question)} {row.prefix}")
    assert ids.count(codec.encode("<think>")[0]) == 1


def test_the_embedded_worlds_file_asks_150_facts_of_each_group_and_is_read_by_its_protocol(world, tmp_path):
    rows = read_queries(write_world_queries(tmp_path, world), TINYWORLD)
    assert [sum(each.group == group for each in rows) for group in GROUPS] == [150, 150]
    for row in rows:
        (entity,) = [each for name, each in world.entities.items() if row.query.rsplit(" ", 1)[0] == name]
        assert entity.group == row.group and entity.facts[row.query.split()[-1]] == row.golds[0]


# ---------------------------------------------------------------------------------------------------- from dumps


def dump_of(folder: Path, golds=("Bombay",), codec: Codec = CHARS, **info: object) -> Path:
    """Two real answers, one imagined and one refused action between them."""
    imagined = Observation("dreamt", Origin.WORLD_MODEL)
    turns = ["<think>a <begin_search>r1</end_search>", "<begin_search>w</end_search>", "<begin_search> </end_search>"]
    turns += ["b <begin_search>r2</end_search>", "</think>\\boxed{x}<eos>"]
    trajectory = asyncio.run(
        rollout(
            codec.encode("Q?"),
            engine=ScriptedEngine(turns, encode=codec.encode, decode=codec.decode),
            environment=ScriptedEnvironment({"r1": "One", "w": imagined, "r2": "Two"}),
            codec=codec,
        )
    )
    row = {"golds": list(golds), "question": "Q?", **info}
    TrajectoryDump(folder).write(
        trajectory, score(trajectory, ["Bombay"], codec.protocol), step=3, split="val", uid="u", info=row
    )
    return folder


def test_every_real_answer_of_a_dump_is_a_query_with_the_very_ids_before_it(tmp_path):
    first, second = dump_queries(dump_of(tmp_path, data_source="hotpot"), "val", CHARS)
    assert CHARS.decode(first.ids) == "Q?<think>a <begin_search>r1</end_search>"
    assert CHARS.decode(first.recorded_ids or ()) == "\n\n<search_result> One </search_result>\n\n"
    assert CHARS.decode(second.ids).endswith("</search_result>\n\nb <begin_search>r2</end_search>")
    assert [each.action.parameters for each in (first, second)] == ["r1", "r2"]
    assert (first.group, first.golds, first.question) == ("hotpot", ("Bombay",), "Q?")


def test_without_data_source_the_split_is_the_group(tmp_path):
    assert {each.group for each in dump_queries(dump_of(tmp_path), "val", CHARS, step=3)} == {"val"}
