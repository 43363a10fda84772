"""What a RUN may be, and what is said of one that is none."""

from __future__ import annotations

import json
import shutil

import pytest
from made_runs import TEN, card, write_evaluation, write_training

from autocoa_plugin.errors import AutoCoAError, DataError
from autocoa_plugin.lab.report.material import COLUMNS, ROWS, method_order, ordered_groups
from autocoa_plugin.lab.report.read import read_runs
from autocoa_plugin.lab.scorecard.scorecard import save_cards


def test_a_folder_of_folders_gives_everything_in_it_in_the_papers_order(tmp_path):
    for number, made in enumerate(reversed(TEN)):
        write_evaluation(tmp_path / "results" / f"{number}", made)
    write_training(tmp_path / "stages" / "sft1-rl12")
    save_cards([card()], tmp_path / "scorecard.json")
    material = read_runs([tmp_path])
    assert [each.name for each in material.evaluations] == list(ROWS)
    assert material.evaluations[0].command == "autocoa evaluate val.parquet --name 'model only'"
    (training,) = material.trainings
    # scorecards of steps 0, 6, 12, 18, 24
    assert (training.name, len(training.steps), len(training.cards)) == ("sft1-rl12", 24, 5)
    assert len(material.cards) == 1
    assert material.left_out == ()


def test_a_folder_given_twice_is_read_once_and_equal_methods_get_numbers(tmp_path):
    first = write_evaluation(tmp_path / "a", TEN[1])
    write_evaluation(tmp_path / "b", TEN[1])
    material = read_runs([first, tmp_path, first])
    assert [each.name for each in material.evaluations] == ["ReAct", "ReAct (2)"]


def evaluation(folder, **files):
    """A finished evaluation, with other contents of some files."""
    write_evaluation(folder / "done", TEN[1])
    for name, text in files.items():
        (folder / "done" / f"{name}.json").write_text(text, encoding="utf-8")
    return [folder / "done"]


def without_all(folder):
    (run,) = evaluation(folder)
    content = json.loads((run / "summary.json").read_text())
    del content["groups"]["all"]
    (run / "summary.json").write_text(json.dumps(content), encoding="utf-8")
    return [run]


def broken_ledger(folder):
    run = write_training(folder / "rl12")
    (run / "checkpoints" / "ledger.json").write_text("{}", encoding="utf-8")
    return [run]


def numbers(folder, text):
    (folder / "numbers.json").write_text(text, encoding="utf-8")
    return [folder / "numbers.json"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: [], "at least one RUN"),
        (lambda folder: [folder / "missing"], r"missing: .*expected a results folder of autocoa evaluate"),
        (lambda folder: [folder], r"expected a results folder of autocoa evaluate"),
        *(
            (lambda folder, text=text: numbers(folder, text), r"numbers\.json: .*expected a results folder")
            for text in ("no json", "[]", '{"rows": []}', '{"cards": [1]}')
        ),
        (lambda folder: evaluation(folder, summary="{"), r"summary\.json"),
        (lambda folder: evaluation(folder, summary='{"schema_version": 99}'), r"summary\.json"),
        (lambda folder: evaluation(folder, run="[]"), r"run\.json"),
        (lambda folder: evaluation(folder, run="{"), r"run\.json"),
        (without_all, "expected a group 'all'"),
        (broken_ledger, r"ledger\.json is not a ledger"),
    ],
)
def test_a_run_that_is_none_is_named_with_what_was_expected(tmp_path, make, message):
    with pytest.raises(AutoCoAError, match=message):
        read_runs(make(tmp_path))


def test_an_evaluation_that_is_not_finished_is_refused_alone_and_told_of_among_others(tmp_path):
    write_evaluation(tmp_path / "done", TEN[1])
    begun = write_evaluation(tmp_path / "begun", TEN[2])
    (begun / "summary.json").unlink()
    shutil.copytree(begun, tmp_path / "only" / "begun")
    with pytest.raises(DataError, match="begun is not finished"):
        read_runs([begun])
    with pytest.raises(DataError, match="begun is not finished"):
        read_runs([tmp_path / "only"])
    shutil.rmtree(tmp_path / "only")
    material = read_runs([tmp_path])
    assert [each.name for each in material.evaluations] == ["ReAct"]
    assert "begun is not finished" in material.left_out[0]


def test_a_half_written_last_line_of_metrics_is_dropped_and_a_broken_middle_is_named(tmp_path):
    folder = write_training(tmp_path / "rl12")
    metrics = folder / "launches" / "000" / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"step": 25, "da', encoding="utf-8")
    assert len(read_runs([folder]).trainings[0].steps) == 24
    metrics.write_text("rubbish\n" + metrics.read_text(), encoding="utf-8")
    with pytest.raises(DataError, match="launches: not readable"):
        read_runs([folder])


def test_a_training_that_is_not_finished_is_shown_as_far_as_it_came(tmp_path):
    folder = write_training(tmp_path / "rl12")
    (folder / "stage.json").unlink()
    (training,) = read_runs([folder]).trainings
    assert (training.name, training.seconds, len(training.steps)) == ("rl12", None, 24)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("SFT-1&2 + RL-2", "SFT-1&2 RL-2"),
        ("sft1-sft2-sft3-rl1-rl2", "SFT-1&2&3 RL-1&2"),
        ("sft1-sft2-sft3-rl12", "SFT-1&2&3 RL-1&2"),
        ("ReAct prompting", "ReAct"),
        ("Model only", "model only"),
    ],
)
def test_a_method_finds_its_row_of_the_paper_in_other_spellings(name, row):
    assert ROWS[method_order(name)] == row


def test_other_methods_and_sets_come_after_the_papers():
    assert method_order("my own") == len(ROWS)
    assert ordered_groups(["mine", "all", "Bamboogle", "2wiki", "nq", "mine"]) == ["nq", "2wiki", "Bamboogle", "mine"]
    assert COLUMNS[0] == "NQ"
