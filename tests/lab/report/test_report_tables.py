"""Which numbers stand in one table, and which of them are marked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import NO_WORLD, TEN, WORLD, Made, fingerprint, interval, summary

from autocoa_plugin.errors import DataError
from autocoa_plugin.lab.evaluate.summary import GroupSummary, Interval
from autocoa_plugin.lab.report.comparable import comparisons, leaders
from autocoa_plugin.lab.report.material import ROWS, Evaluation
from autocoa_plugin.lab.report.page import Cell
from autocoa_plugin.lab.report.table_one import table_one
from autocoa_plugin.lab.report.tables import decisions_table, metrics_table

FEW = (0.5, 0.5, 0.5, 0.5)


def evaluation(made: Made, folder: Path = Path("nowhere")) -> Evaluation:
    return Evaluation(made.method, folder, summary(made))


def test_runs_on_another_world_stand_in_a_table_of_their_own_headed_by_what_differs():
    other = {**WORLD, "top_k": 5}
    found = comparisons([evaluation(Made("a", FEW)), evaluation(Made("b", FEW, world=other))])
    assert [[each.name for each in table.evaluations] for table in found] == [["a"], ["b"]]
    assert [table.heading for table in found] == ["world.top_k = 3", "world.top_k = 5"]


def test_a_closed_book_control_stands_in_every_table_of_its_questions():
    control = Made("control", FEW, world=NO_WORLD)
    runs = [control, Made("a", FEW), Made("b", FEW, world={**WORLD, "top_k": 5})]
    found = comparisons([evaluation(each) for each in runs])
    assert [[each.name for each in table.evaluations] for table in found] == [["control", "a"], ["control", "b"]]
    assert found[0].footnotes == {"control": ("closed book: asked without a tool",)}


def test_another_prompt_gets_a_footnote_in_the_same_table():
    (table,) = comparisons([evaluation(each) for each in TEN])
    assert table.heading == ""
    # model only and ReAct have prompts of their own, the other eight share one
    assert table.footnotes == {
        "model only": ("closed book: asked without a tool", "another prompt than most rows"),
        "ReAct": ("another prompt than most rows",),
    }


def test_questions_metric_and_sampling_split_tables_as_well():
    base = evaluation(Made("a", FEW))
    for part in ("questions", "metric", "sampling"):
        changed = replace(fingerprint(Made("b", FEW)), **{part: {"other": 1}})
        other = replace(base, name="b", summary=replace(base.summary, fingerprint=changed))
        assert len(comparisons([base, other])) == 2, part


def test_a_judge_asked_for_some_runs_only_is_a_footnote():
    runs = [evaluation(Made(name, FEW)) for name in "abc"]
    judged = replace(fingerprint(Made("c", FEW)), metric={"version": 1, "judge": "another"})
    runs[2] = replace(runs[2], summary=replace(runs[2].summary, fingerprint=judged))
    (table,) = comparisons(runs)
    assert table.footnotes == {"c": ("another judge than most rows",)}


def test_without_evaluations_there_is_no_table():
    assert comparisons([]) == []


@pytest.mark.parametrize(
    ("means", "marks"),
    [
        # n = 100: 0.9 +- 0.06 and 0.5 +- 0.1 lie apart, 0.9 and 0.85 +- 0.07 do not
        ({"a": 0.9, "b": 0.5}, {"a": "best"}),
        ({"a": 0.9, "b": 0.85, "c": 0.5}, {"a": "tied", "b": "tied"}),
        ({"a": 0.9}, {}),
    ],
)
def test_only_intervals_that_lie_apart_make_a_best_row(means, marks):
    runs = [evaluation(Made(name, (mean, 0.5, 0.5, 0.5))) for name, mean in means.items()]
    assert leaders(runs, "1hop") == marks


def test_a_single_question_tells_nothing_apart():
    first, second = (evaluation(Made(name, FEW)) for name in "ab")
    first, second = with_exact(first, interval(1.0, 1)), with_exact(second, interval(0.0, 1))
    assert leaders([first, second], "all") == {"a": "tied", "b": "tied"}


def test_a_group_that_nobody_measured_has_no_leader():
    runs = [with_exact(evaluation(Made(name, FEW)), Interval(None, None, None, 0)) for name in "ab"]
    assert leaders(runs, "all") == {}
    assert leaders(runs, "no such group") == {}


def with_exact(each: Evaluation, exact: Interval) -> Evaluation:
    group: GroupSummary = each.summary.groups["all"]
    metrics = {**group.metrics, "exact_match": exact}
    return replace(each, summary=replace(each.summary, groups={"all": replace(group, metrics=metrics)}))


def samples(folder: Path, right: list[bool]) -> Path:
    folder.mkdir()
    rows = [
        {"uid": f"q{place}", "info": {"data_source": "1hop"}, "reward_parts": {"exact_match": float(each)}}
        for place, each in enumerate(right)
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_samples_of_the_same_questions_tell_apart_what_intervals_cannot(tmp_path):
    # 8 questions won, none lost: McNemar's p = 2 * 0.5**8 = 0.008, though 0.85 and 0.77 of 100 overlap
    better = samples(tmp_path / "a", [True] * 85 + [False] * 15)
    worse = samples(tmp_path / "b", [True] * 77 + [False] * 23)
    runs = [evaluation(Made("a", (0.85,) * 4), better), evaluation(Made("b", (0.77,) * 4), worse)]
    assert leaders(runs, "1hop") == {"a": "best"}
    apart = [replace(each, folder=Path("nowhere")) for each in runs]
    assert leaders(apart, "1hop") == {"a": "tied", "b": "tied"}


def test_a_broken_line_of_samples_is_named(tmp_path):
    folder = samples(tmp_path / "a", [True])
    (folder / "samples.jsonl").write_text('{"uid": "q0"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"samples\.jsonl:1"):
        leaders([evaluation(Made("a", FEW), folder), evaluation(Made("b", FEW), folder)], "all")


def test_table_one_has_groups_intervals_marks_and_letters():
    (comparison,) = comparisons([evaluation(each) for each in TEN])
    table = table_one(comparison, paper_rows=False)
    assert [column.text for column in table.columns] == ["1hop", "2hop", "3hop", "known", "all"]
    assert [row[0].text for row in table.rows] == list(ROWS)
    assert table.rows[0][0] == Cell("model only", "ab")
    # 0.92 +- 1.96 sqrt(0.92 * 0.08 / 100) = 0.92 +- 0.0532
    assert table.rows[-1][1] == Cell("92.0", "86.7 to 97.3", "tied")


def test_what_all_groups_begin_with_is_left_out_of_the_columns():
    run = evaluation(Made("a", FEW))
    groups = {f"tinyworld_{name}" if name != "all" else name: each for name, each in run.summary.groups.items()}
    (comparison,) = comparisons([replace(run, summary=replace(run.summary, groups=groups))])
    table = table_one(comparison, paper_rows=False)
    assert [column.text for column in table.columns] == ["1hop", "2hop", "3hop", "known", "all"]


def test_methods_of_the_paper_that_were_not_run_are_listed_on_demand():
    (comparison,) = comparisons([evaluation(TEN[4]), evaluation(Made("mine", FEW))])
    table = table_one(comparison, paper_rows=True)
    assert [row[0].text for row in table.rows] == [*ROWS, "mine"]
    assert [row[0].note for row in table.rows].count("not run") == 9
    assert {len(row) for row in table.rows} == {len(table.columns) + 1}


def test_the_average_of_groups_is_shown_where_groups_differ_in_size():
    run = evaluation(Made("a", (0.9, 0.5, 0.1, 0.3)))
    groups = dict(run.summary.groups)
    groups["known"] = replace(groups["known"], questions=10)
    (comparison,) = comparisons([replace(run, summary=replace(run.summary, groups=groups))])
    table = table_one(comparison, paper_rows=False)
    assert [column.text for column in table.columns][-2:] == ["average", "all"]
    # (0.9 + 0.5 + 0.1 + 0.3) / 4 = 0.45
    assert table.rows[0][-2].text == "45.0"


def test_the_metrics_table_says_how_far_recall_inflates_exact_match():
    (comparison,) = comparisons([evaluation(Made("a", FEW, inflation=0.08))])
    table = metrics_table(comparison)
    assert [column.text for column in table.columns] == [
        "exact match",
        "F1",
        "cover-EM",
        "0.7-recall",
        "0.7-recall adds",
    ]
    assert table.rows[0][-1].text == "+8.0"


def test_decisions_are_left_out_where_no_question_tells_them():
    run = evaluation(Made("a", FEW))
    groups = {"all": replace(run.summary.groups["all"], deciding=None)}
    (comparison,) = comparisons([replace(run, summary=replace(run.summary, groups=groups))])
    assert decisions_table(comparison).rows == ()


def test_an_interval_of_no_width_is_not_left_without_a_word():
    one, none = evaluation(Made("a", (0.0, 0.5, 0.5, 0.5))), evaluation(Made("b", FEW))
    flat = Interval(0.0, 0.0, 0.0, 200)
    groups = {
        name: replace(group, metrics={**group.metrics, "exact_match": flat}) if name == "1hop" else group
        for name, group in one.summary.groups.items()
    }
    one = replace(one, summary=replace(one.summary, groups=groups))
    for runs, is_told in (([one, none], True), ([none], False)):
        (table,) = comparisons(runs)
        assert any("of no width" in note for note in table_one(table, paper_rows=False).notes) is is_told
