"""What a synthesis says about itself while it runs."""

from __future__ import annotations

from made_attempts import WRONG, made_attempt, made_question

from autocoa_plugin.lab.synthesize.attempt import Attempt, Kind
from autocoa_plugin.lab.synthesize.schedule import SynthesisProgress


def is_right(attempt: Attempt) -> bool:
    return attempt.sample.metrics["exact_match"] == 1.0


def test_it_tells_what_is_kept_and_which_share_of_the_attempts(capsys):
    with SynthesisProgress("Qwen", 4, is_right) as progress:
        assert progress.text() == "Qwen"
        for kind, outcome in ((Kind.COT, WRONG), (Kind.ACT, "right"), (Kind.COA, "right"), (Kind.THINK, WRONG)):
            progress.add(made_attempt("q1", 0, kind, outcome))
        assert progress.text() == "Qwen: kept 0 cot, 1 coa, 1 pairs, 50 % of 4 attempts"
        progress.finish(made_question(1))
    assert capsys.readouterr().out == "    Qwen: kept 0 cot, 1 coa, 1 pairs, 50 % of 4 attempts: 1/4\n"


def test_the_whole_cost_is_estimated_by_the_questions_that_are_finished():
    progress = SynthesisProgress("Qwen", 10, is_right, ceiling=30.0, has_lines=False)
    progress.add(made_attempt("q1", 0, cost=1.5))
    assert progress.text().endswith("; spent 1.50, at most 30.00")
    progress.finish(made_question(1))
    progress.add(made_attempt("q2", 0, cost=0.25))  # under way
    assert progress.text().endswith("; spent 1.75 of about 15.00, at most 30.00")  # 10 x 1.5
    for number in range(2, 11):
        progress.finish(made_question(number))
    assert progress.text().endswith("; spent 1.75, at most 30.00")


def test_the_estimate_is_never_below_what_is_spent():
    progress = SynthesisProgress("Qwen", 2, is_right, has_lines=False)
    progress.add(made_attempt("q1", 0, cost=0.01))
    progress.finish(made_question(1))
    progress.add(made_attempt("q2", 0, cost=0.05))
    assert progress.text().endswith("; spent 0.06 of about 0.06")


def test_a_line_is_told_each_tenth_but_not_about_what_earlier_sessions_did(capsys):
    with SynthesisProgress("Qwen", 20, is_right) as progress:
        progress.add(made_attempt("q0"), is_new=False)
        for number in range(10):
            progress.finish(made_question(number))
        assert capsys.readouterr().out == ""
        progress.add(made_attempt("q10"))
        for number in range(10, 20):
            progress.finish(made_question(number))
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["12/20", "14/20", "16/20", "18/20", "20/20"]


def test_without_lines_nothing_is_printed_where_there_is_no_terminal(capsys):
    with SynthesisProgress("Qwen", 1, is_right, has_lines=False) as progress:
        progress.add(made_attempt("q1"))
        progress.finish(made_question(1))
    assert capsys.readouterr().out == ""
