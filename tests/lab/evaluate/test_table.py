"""Tables show every figure in 80 columns, and names as the text they are."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_samples import made_sample, made_summary
from rich.console import Console

from autocoa_plugin.errors import ConfigError
from autocoa_plugin.lab.evaluate.table import (
    actions_table,
    endings_table,
    methods_table,
    notes,
    short_names,
    summary_table,
)


def shown(table: object, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def cells(text: str, first: str) -> list[str]:
    """The words of the row that begins with this word."""
    (row,) = [line.split() for line in text.splitlines() if line.split()[:1] == [first]]
    return row


def two_groups(**more: object) -> list:
    gold = "one river two lakes three hills four woods five fields"
    return [
        made_sample("q0", gold, gold, group="1hop", origins=["real"], **more),
        made_sample("q1", "four three two one river lakes hills", gold, group="1hop", origins=["cache"], **more),
        made_sample("q2", None, gold, group="2hop", stop="timeout", **more),
        made_sample("q3", "Rome", gold, group="2hop", stop="max_actions", forced=True, **more),
    ]


@given(st.lists(st.text("abc [/]", min_size=1, max_size=30), min_size=1, max_size=3), st.booleans())
def test_no_figure_is_cut_off_in_80_columns(names, has_judge):
    more = {"judge": {"correct": True}} if has_judge else {}
    samples = [made_sample(f"q{i}", "Paris", group=name, **more) for i, name in enumerate(names * 2)]
    summary = made_summary(samples)
    for table in (summary_table(summary), endings_table(summary), actions_table(summary)):
        text = shown(table)
        assert "…" not in text and all(len(line) <= 80 for line in text.splitlines())


def test_the_figures_of_a_group_stand_in_its_row_and_a_judge_where_one_was_asked():
    summary = made_summary(two_groups())
    # 1hop: one of two exact; 7 of 10 words pass 0.7-recall: 100 %, 50 points above; F1 (1 + 14 / 17) / 2
    row = "1hop 2 50.0 91.2 50.0 100.0 +50.0 1.00 0.50 0.0 0.0"
    assert " ".join(cells(shown(summary_table(summary)), "1hop")) == row
    # of 4 samples 2 answered (1 right), 1 forced (wrong), 1 truncated (wrong), none without an answer
    endings = "all 50.0 (50.0) 25.0 (0.0) 25.0 (0.0) 0.0 (-)"
    assert " ".join(cells(shown(endings_table(summary)), "all")) == endings
    assert " ".join(cells(shown(actions_table(summary)), "1")) == "1 2 50.0 (0.0 to 100.0) 100.0"
    judged = shown(summary_table(made_summary(two_groups(judge={"correct": True}))))
    assert "judge" in judged and cells(judged, "1hop")[7] == "100.0"


def test_names_are_text_and_steer_neither_markup_nor_terminal():
    samples = [made_sample(f"q{i}", "Paris", group=name) for i, name in enumerate(["[b]x[/b]", "\x1b[2Jy"])]
    summary = made_summary(samples, method="[red]m[/red]\x07")
    text = shown(summary_table(summary))
    assert "[b]x[/b]" in text and "[red]m[/red]" in text and "[2Jy" in text
    table = shown(methods_table([summary]))
    assert "[red]m[/red]" in table and "[b]x[/b]" in table
    assert not {"\x1b", "\x07"} & {*text, *table}


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["all", "tinyworld_1hop", "tinyworld_2hop"], ["all", "1hop", "2hop"]),
        (["all", "hotpotqa", "hotels"], ["all", "hotpotqa", "hotels"]),  # no separator
        (["all", "nq", "a_b"], ["all", "nq", "a_b"]),
        (["all", "a_", "a_b"], ["all", "a_", "b"]),  # nothing would be left of the first
        (["all"], ["all"]),
    ],
)
def test_what_all_groups_begin_with_is_cut(names, short):
    assert list(short_names(names).values()) == short


# --------------------------------------------------------------------------------------------------------------- notes


def test_notes_tell_stop_reasons_calls_and_costs():
    lines = notes(made_summary([made_sample("q0", "Paris", origins=["real"], cost=0.25), made_sample("q1", None)]))
    assert lines == [
        "stop reasons: answered 1, no_answer 1",
        "calls: 1 real, 0 cached, 0 replayed, 0 simulated; per sample: 0 tokens sampled, 0 injected, 0.50 s",
        "2.0 s in all, tools cost 0.25",
    ]


def test_notes_tell_decisions_several_samples_and_missing_ones():
    samples = [made_sample("q0", "Paris", needs=False), made_sample("q0", "Rome", sample=1, needs=False)]
    text = "\n".join(notes(made_summary([*samples, made_sample("q1", "Rome", needs=True)], per_question=2)))
    assert "1 of 4 samples are missing: means are over the questions that have one" in text
    assert "when to act: right 50.0 (0.0 to 100.0) %, unneeded 0.0 %, missed 50.0 %, of 3 samples" in text
    assert "pass@1 25.0 (0.0 to 50.0)  pass@2 100.0 (-)\nmaj@2 100.0 (-)" in text


def test_questions_without_any_sample_are_missing_too():
    assert (
        "1 of 3 samples are missing"
        in notes(made_summary([made_sample("q0", "a"), made_sample("q1", "a")], questions={"count": 3}))[0]
    )
    assert notes(made_summary([], questions={"count": 0})) == ["no question was asked"]


def test_notes_tell_how_many_verdicts_a_judge_gave():
    verdict = {"model": "m", "cost": 0.5}
    samples = [
        made_sample("q0", "Paris", judge={**verdict, "correct": True}),
        made_sample("q1", "Paris", judge={**verdict, "correct": None}),
        made_sample("q2", "Paris"),
    ]
    line = "judge: m, verdicts on 2 of 3 samples, 1 of them undecided and left out, cost 1"
    assert line in notes(made_summary(samples))


# ------------------------------------------------------------------------------------------------------------- methods


def test_methods_stand_below_each_other_with_the_mean_over_groups():
    first, second = made_summary(two_groups(), method="first"), made_summary(two_groups()[:2], method="second")
    text = shown(methods_table([first, replace(second, groups={"1hop": second.groups["all"]})]))
    # 1hop: 1 of 2, 2hop: 0 of 2; the mean over groups is 25; the second has no 2hop, so no mean
    assert cells(text, "first") == ["first", "50.0", "0.0", "25.0"]
    assert cells(text, "second") == ["second", "50.0", "-", "-"]
    assert "0 to 100" in text


def test_unlike_questions_do_not_stand_in_one_table():
    runs = [made_summary([made_sample("q", "Paris")], questions={"sha256": each}, method=each) for each in "ab"]
    with pytest.raises(ConfigError, match=r"'b' and 'a' are not one table: they differ in questions\.sha256"):
        methods_table(runs)
    with pytest.raises(ConfigError, match="at least one run"):
        methods_table([])


def test_methods_may_differ_in_prompt_protocol_and_world():
    samples = [made_sample("q", "Paris")]
    other = made_summary(samples, prompt={"system": "react"}, protocol={"name": "react"}, world={"environment": "none"})
    assert shown(methods_table([made_summary(samples), other])).count("SFT-1") == 2
