"""`autocoa scorecard` as a user types it, with the shipped base model and the embedded world; and wrong input."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import shutil
from pathlib import Path

import pytest
from played_world import build_world

from autocoa_plugin.dump import TrajectoryDump
from autocoa_plugin.errors import AutoCoAError, ConfigError, DataError, EngineError, TokenizerError
from autocoa_plugin.lab.scorecard.cli import add_parser
from autocoa_plugin.lab.scorecard.scorecard import read_cards
from autocoa_plugin.loop import rollout
from autocoa_plugin.rewards import score
from autocoa_plugin.testing import ScriptedEngine
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD, load_tokenizer, prompt_text
from autocoa_plugin.tinyworld.world_files import (
    Files,
    open_environment,
    world_queries,
    write_world_queries,
)
from autocoa_plugin.tokenization import Codec


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    """The base model, the corpus and its index, and the queries."""
    files = build_world(tmp_path_factory.mktemp("world"), questions=1)
    write_world_queries(files.folder)
    return files


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(required=True))
    parsed = parser.parse_args(["scorecard", *map(str, arguments)])
    return parsed.run(parsed) or 0


def test_the_command_writes_cards_details_and_plot_and_shows_tables(files, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    output, details, plot = tmp_path / "card.json", tmp_path / "details.jsonl", tmp_path / "card.png"
    assert (
        run(files.base, "--settings", files.settings, "--limit", 2, "-o", output, "--details", details, "--plot", plot)
        == 0
    )
    (card,) = read_cards(output)
    assert [(group.group, group.compared) for group in card.groups] == [("train", 2), ("held", 2)]
    assert card.real["sha256"] == hashlib.sha256(files.corpus.read_bytes()).hexdigest()
    assert card.queries["sha256"] == hashlib.sha256((files.folder / "scorecard.jsonl").read_bytes()).hexdigest()
    assert (card.protocol, card.scored_by, card.spent.real_calls, card.step) == (
        "tinyworld",
        "TransformersEngine",
        4,
        None,
    )
    for group in card.groups:
        assert group.measures["real_holds_gold"].mean == 1.0  # the ceiling: the tool finds every fact
        assert (group.measures["cross_entropy"].mean or 0) > 0
    rows = [json.loads(line) for line in details.read_text().splitlines()]
    assert (
        len(rows) == 4 and rows[0]["real"].split()[: len(rows[0]["query"].split()) - 1] == rows[0]["query"].split()[:-1]
    )
    assert plot.stat().st_size > 5000
    shown = capsys.readouterr().out
    assert "imagined against real observations: train" in shown and "queries compared" in shown


def test_a_query_file_and_a_corpus_give_what_the_world_folder_gives(files, tmp_path):
    run(files.base, "--settings", files.settings, "--limit", 2, "-o", tmp_path / "a.json")
    queries = ("--queries", files.folder / "scorecard.jsonl", "--protocol", "tinyworld", "--limit", 2)
    real = ("--corpus", files.corpus, "--index-dir", files.index, "--top-k", 1, "--max-observation-tokens", 40)
    run(files.base, *queries, *real, "-o", tmp_path / "b.json")
    ((a,), (b,)) = read_cards(tmp_path / "a.json"), read_cards(tmp_path / "b.json")
    assert (a.groups, a.real, a.sampling) == (b.groups, b.real, b.sampling)


def test_groups_and_cross_entropy_can_be_left_out_and_it_is_said(files, tmp_path, capsys):
    world = ("--settings", files.settings, "--limit", 1, "--group", "held")
    run(files.base, *world, "--no-cross-entropy", "-o", tmp_path / "card.json")
    (card,) = read_cards(tmp_path / "card.json")
    assert [group.group for group in card.groups] == ["held"] and card.scored_by is None
    assert card.groups[0].measures["cross_entropy"].mean is None
    assert "no cross-entropy, because" in capsys.readouterr().out


def test_a_dump_brings_its_queries_and_its_real_observations(files, world, tmp_path):
    (row,) = world_queries(world, 1)[:1]
    codec = Codec(load_tokenizer(files.base), TINYWORLD)
    turns = [row.prefix, f"</think> \\boxed{{ {row.golds[0]} }} <|im_end|>"]
    trajectory = asyncio.run(
        rollout(
            codec.encode(prompt_text(row.question)),
            engine=ScriptedEngine(turns, encode=codec.encode, decode=codec.decode),
            environment=open_environment(files, 1),
            codec=codec,
        )
    )
    reward, info = (
        score(trajectory, list(row.golds), TINYWORLD),
        {"golds": list(row.golds), "data_source": "tinyworld_1hop"},
    )
    TrajectoryDump(tmp_path / "dump").write(trajectory, reward, step=5, split="val", uid="u", info=info)
    run(files.base, "--from-dump", tmp_path / "dump", "--protocol", "tinyworld", "-o", tmp_path / "card.json")
    (card,) = read_cards(tmp_path / "card.json")
    assert card.real == {"backend": "recorded", "dump": str(tmp_path / "dump")}
    assert card.spent.real_calls == 0 and card.groups[0].group == "tinyworld_1hop"
    # the same query asked for real gives the same card
    run(files.base, "--settings", files.settings, "--from-dump", tmp_path / "dump", "-o", tmp_path / "asked.json")
    (asked,) = read_cards(tmp_path / "asked.json")
    assert asked.spent.real_calls == 1
    for name, found in card.groups[0].measures.items():
        assert asked.groups[0].measures[name].mean == pytest.approx(found.mean), name


def test_several_models_share_the_real_answers(files, tmp_path):
    world = ("--settings", files.settings, "--limit", 2, "--no-cross-entropy")
    run(files.base, files.base, *world, "-o", tmp_path / "card.json")
    first, second = read_cards(tmp_path / "card.json")
    assert (first.spent.real_calls, first.spent.cached_calls) == (4, 0)
    assert (second.spent.real_calls, second.spent.cached_calls) == (0, 4) and first.groups == second.groups


def test_cards_that_were_written_before_are_shown_without_a_model(files, tmp_path, capsys):
    run(files.base, "--settings", files.settings, "--limit", 1, "-o", tmp_path / "a.json")
    capsys.readouterr()
    run("--cards", tmp_path / "a.json", "-o", tmp_path / "b.json")
    assert read_cards(tmp_path / "b.json") == read_cards(tmp_path / "a.json")
    assert "queries compared" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "scorecard needs a MODEL folder, or --cards"),
        (("{world}/bas", "--settings", "{settings}"), r"bas is no folder, .*\(did you mean '.*base'\?\)"),
        (("{base}",), "needs --queries FILE, --from-dump FOLDER or --settings with lab.queries"),
        (("{base}", "--queries", "{queries}", "--protocol", "tinyworld"), "the real answers need --corpus FILE"),
        (
            ("{base}", "--settings", "{settings}", "--group", "hold"),
            r"group 'hold' \(did you mean 'held'\?\)",
        ),
        (("{base}", "--settings", "{settings}", "--limit", "0"), "limit must be >= 1, got 0"),
        (("{base}", "--settings", "{world}/base/settings.yaml"), "base/settings.yaml does not exist"),
        (("{base}", "--settings", "{settings}", "--protocol", "autocao"), r"\(did you mean 'autocoa'\?\)"),
        (("{base}", "--settings", "{settings}", "--plot", "x.txt"), "the suffix of a plot must be one of"),
        (
            ("{base}", "{base}", "--settings", "{settings}", "--server", "http://127.0.0.1:9/v1"),
            "samples one model, got 2",
        ),
        (("{base}", "--settings", "{settings}", "--temperature", "-1"), "temperature must be >= 0"),
    ],
)
def test_a_wrong_setting_is_one_line(files, arguments, message):
    queries = files.folder / "q.jsonl"
    queries.write_text('{"question": "q", "prefix": "<think> <begin_search> q </end_search>", "golds": ["g"]}\n')
    given = [
        each.format(world=files.folder, settings=files.settings, base=files.base, queries=queries) for each in arguments
    ]
    with pytest.raises((ConfigError, AutoCoAError), match=message) as error:
        run(*given)
    assert "\n" not in str(error.value)


def test_an_empty_query_file_and_one_without_golds_are_refused_before_a_model_is_loaded(files, tmp_path):
    empty, bad = tmp_path / "empty.jsonl", tmp_path / "bad.jsonl"
    empty.write_text("")
    bad.write_text('{"question": "q", "prefix": "<think> <begin_search> q </end_search>"}\n')
    for path, message in ((empty, "holds no query"), (bad, "bad.jsonl:1: golds: there is no gold answer")):
        with pytest.raises(DataError, match=message):
            run(files.base, "--queries", path, "--corpus", files.corpus)


def test_a_server_that_is_down_and_a_folder_without_tokenizer_are_named(files, tmp_path):
    world = ("--settings", files.settings, "--limit", 1, "--server", "http://127.0.0.1:9/v1")
    with pytest.raises(EngineError, match=r"http://127\.0\.0\.1:9/v1 failed"):
        run(files.base, *world)
    with pytest.raises(ConfigError, match="holds no tokenizer"):
        run(tmp_path, *world)


def test_a_model_of_another_vocabulary_is_refused_for_the_embedded_world(files, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(files.base, folder)
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace('"Shipping"', '"Shopping"'))
    with pytest.raises(TokenizerError, match="'Shipping' is token None of this model's tokenizer"):
        run(folder, "--settings", files.settings, "--limit", 1)


def test_a_world_folder_keeps_its_other_files(files):
    before = {path.name for path in Path(files.folder).iterdir()}
    run(files.base, "--settings", files.settings, "--limit", 1)
    assert {path.name for path in Path(files.folder).iterdir()} - before <= {"scorecard.jsonl", "index", "index.lock"}
