"""Unlike runs are not compared unless that is asked for, and alike ones are compared question by question."""

from __future__ import annotations

import json

import pytest
from made_samples import made_fingerprint, made_folder, made_sample

from autocoa_plugin.cli import main
from autocoa_plugin.errors import ConfigError, DataError
from autocoa_plugin.lab.compare.compare import check_vary, compare, side_of, unlike
from autocoa_plugin.lab.statistics import ALL_FLIPS, MCNEMAR

EM = ["exact_match"]


def samples(answers: str, group: str = "all", **more: object) -> list:
    """One sample per letter: "r" is right, "w" wrong."""
    texts = {"r": "Paris", "w": "Rome"}
    return [made_sample(f"{group}{i}", texts[each], group=group, **more) for i, each in enumerate(answers)]


def failed(capsys, *arguments: object) -> str:
    """The one line with which the command refuses."""
    assert main(["compare", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


# -------------------------------------------------------------------------------------------------------- what differs


def test_a_difference_is_paired_by_question():
    # gained: 0 1 2, lost: 3, same: 4; p = 2 * (1 + 4) / 16
    found = compare(side_of(samples("wwwrr")), side_of(samples("rrrwr")), EM).groups["all"]["exact_match"]
    assert (found.first, found.second) == (0.4, 0.8)
    assert found.paired.difference == pytest.approx(0.4) and found.paired.p_value == pytest.approx(0.625)
    assert (found.paired.wins, found.paired.losses, found.paired.ties, found.paired.test) == (3, 1, 1, MCNEMAR)


def test_the_order_of_the_second_run_does_not_matter():
    first, second = samples("wrwr"), samples("rrww")
    assert compare(side_of(first), side_of(second), EM) == compare(side_of(first), side_of(second[::-1]), EM)


def test_several_samples_are_averaged_per_question():
    first = [made_sample("q", each, sample=i) for i, each in enumerate(["Paris", "Rome"])]
    second = [made_sample("q", "Paris", sample=i) for i in range(2)]
    found = compare(side_of(first), side_of(second), EM).groups["all"]["exact_match"]
    assert (found.first, found.second, found.paired.n, found.paired.test) == (0.5, 1.0, 1, ALL_FLIPS)


def test_groups_are_those_of_the_first_run():
    first = [*samples("rr", "1hop"), *samples("w", "2hop")]
    found = compare(side_of(first), side_of(first), EM)
    assert [(name, each["exact_match"].paired.n) for name, each in found.groups.items()] == [
        ("all", 3),
        ("1hop", 2),
        ("2hop", 1),
    ]


def test_questions_without_a_verdict_in_both_runs_are_left_out_of_the_judge():
    first = [made_sample(f"q{i}", "Rome", judge={"correct": each}) for i, each in enumerate([True, None, False])]
    second = [made_sample(f"q{i}", "Rome", judge={"correct": True}) for i in range(3)]
    found = compare(side_of(first), side_of(second), ["judge"]).groups["all"]["judge"]
    assert (found.first, found.second, found.paired.n) == (0.5, 1.0, 2)


def test_other_questions_are_refused_unless_the_shared_ones_do():
    first, second = side_of(samples("rrr")), side_of(samples("rr"))
    with pytest.raises(ConfigError, match=r"1 only in A \(such as 'all2'\)"):
        compare(first, second, EM)
    found = compare(first, second, EM, partly=True)
    assert found.left_out == (1, 0) and found.groups["all"]["exact_match"].paired.n == 2
    with pytest.raises(ConfigError, match=r"3 only in A .* 1 only in B"):
        compare(first, side_of([made_sample("other", "Paris")]), EM, partly=True)


def test_a_run_without_samples_is_refused():
    with pytest.raises(DataError, match="there is no sample to compare"):
        side_of([])


def test_the_tool_is_told_by_what_it_gained_and_lost():
    # with the tool r r w r, without r w r w: half right without, 0 right in both, 1 and 3 gained, 2 lost
    found = compare(side_of(samples("rrwr")), side_of(samples("rwrw")), EM, control=True).tool["all"]
    assert (found.right_without.mean, found.gained.mean, found.lost.mean) == (0.5, 0.5, 0.25)


# -------------------------------------------------------------------------------------------------------- what is alike


def test_models_may_differ_and_nothing_else():
    first = made_fingerprint()
    assert unlike(first, made_fingerprint(model={"name": "other"})) == {}
    assert unlike(first, made_fingerprint(world={"top_k": 5})) == {"world.top_k": ("3", "5")}
    assert unlike(first, made_fingerprint(world={"top_k": 5}), vary=["world"]) == {}
    assert unlike(first, made_fingerprint(world={"top_k": 5}), vary=["world.top_k"]) == {}
    assert unlike(first, made_fingerprint(world={"top_k": 5}), vary=["prompt", "world.corpus"]) != {}


def test_a_closed_book_control_has_the_same_model():
    control = made_fingerprint(world={"environment": "none"}, prompt={"system": "no tool"})
    assert unlike(made_fingerprint(), control, control=True) == {}
    other = made_fingerprint(world={"environment": "none"}, model={"name": "other"})
    assert unlike(made_fingerprint(), other, control=True) == {"model.name": ('"tiny"', '"other"')}
    assert unlike(made_fingerprint(), other, control=True, vary=["model"]) == {}


@pytest.mark.parametrize(("name", "hint"), [("wrold", "did you mean 'world'"), ("world.topk", "'world.top_k'")])
def test_what_may_vary_must_exist(name, hint):
    with pytest.raises(ConfigError, match=hint):
        check_vary([name], made_fingerprint(), made_fingerprint())


# ---------------------------------------------------------------------------------------------------------- the command


def test_the_command_shows_a_table_and_writes_json(tmp_path, capsys):
    a = made_folder(tmp_path / "a", samples("wwwrr"), method="[SFT-1]")
    b = made_folder(tmp_path / "b", samples("rrrwr"), method="SFT-2", model={"name": "other"})
    output = tmp_path / "new" / "compare.json"
    assert main(["compare", str(a.path), str(b.path), "-o", str(output)]) == 0
    text = capsys.readouterr().out
    assert "A: [SFT-1] (" in text and 'differs in model.name: "tiny" against "other"' in text
    (row,) = [line.split() for line in text.splitlines() if line.strip().startswith("all ")]
    assert row[:5] == ["all", "EM", "40.0", "80.0", "+40.0"] and row[-2:] == ["0.625", "3/1/1"]
    assert "EM, F1, cover-EM, 0.7-recall: exact McNemar test" in text
    written = json.loads(output.read_text())
    found = written["groups"]["all"]["exact_match"]
    assert (found["first"], found["second"], found["paired"]["wins"]) == (0.4, 0.8, 3)
    assert written["runs"]["A"]["method"] == "[SFT-1]" and written["differences"] == {"model.name": ["tiny", "other"]}
    assert [each.name for each in output.parent.iterdir()] == ["compare.json"]


def test_unlike_runs_are_refused_in_one_line_that_says_how_to_allow_it(tmp_path, capsys):
    a = made_folder(tmp_path / "a", samples("rw"))
    b = made_folder(tmp_path / "b", samples("rw"), world={"top_k": 5}, sampling={"temperature": 0.6})
    message = failed(capsys, a.path, b.path)
    assert "A and B are not alike: world.top_k: 3 against 5; sampling.temperature: 0.0 against 0.6" in message
    assert "(allow it with --vary world --vary sampling, or --force)" in message
    assert main(["compare", str(a.path), str(b.path), "--vary", "world", "--vary", "sampling.temperature"]) == 0


def test_force_compares_what_is_shared_and_says_what_differs_above_the_table(tmp_path, capsys):
    a = made_folder(tmp_path / "a", samples("rwr"))
    b = made_folder(tmp_path / "b", samples("rw"), world={"top_k": 5})
    assert main(["compare", str(a.path), str(b.path), "--force"]) == 0
    text = capsys.readouterr().out
    assert text.index("differs in world.top_k: 3 against 5") < text.index("paired by question")
    assert "left out: 1 questions only in A, 0 only in B" in text


def test_other_question_ids_are_refused(tmp_path, capsys):
    a, b = made_folder(tmp_path / "a", samples("rw")), made_folder(tmp_path / "b", samples("rw", "x"))
    assert "2 only in A (such as 'all0'), 2 only in B (such as 'x0')" in failed(capsys, a.path, b.path)


def test_a_closed_book_control_shows_what_the_tool_is_for(tmp_path, capsys):
    a = made_folder(tmp_path / "a", samples("rrwr"))
    b = made_folder(tmp_path / "b", samples("rwrw"), world={"environment": "none", "top_k": None})
    assert main(["compare", str(a.path), str(b.path), "--control", "--metric", "exact_match"]) == 0
    text = capsys.readouterr().out
    assert "right without" in text and "gained" in text and "lost" in text
    assert "--control: A must be the run with a tool" in failed(capsys, b.path, a.path, "--control")
    assert "--control: B must be the run without a tool" in failed(capsys, a.path, a.path, "--control")


def test_one_question_has_no_interval(tmp_path, capsys):
    a, b = made_folder(tmp_path / "a", samples("w")), made_folder(tmp_path / "b", samples("r"))
    assert main(["compare", str(a.path), str(b.path), "--metric", "f1"]) == 0
    assert "+100.0 (-)" in capsys.readouterr().out


def test_wrong_metrics_and_files_are_one_line(tmp_path, capsys):
    a = made_folder(tmp_path / "a", samples("rw"))
    judged = made_folder(tmp_path / "b", samples("rw", judge={"correct": True}))
    assert "did you mean 'exact_match'" in failed(capsys, a.path, a.path, "--metric", "exact_mach")
    assert "--metric judge: no judge was asked about A" in failed(capsys, a.path, judged.path, "--metric", "judge")
    assert f"{tmp_path / 'none'} holds no results" in failed(capsys, a.path, tmp_path / "none")
    assert "a file is written there, and this is a folder" in failed(capsys, a.path, a.path, "-o", tmp_path)


def test_broken_results_are_named(tmp_path, capsys):
    a, b = (made_folder(tmp_path / name, samples("rw")) for name in "ab")
    b.samples.write_text(b.samples.read_text()[:-20])
    assert f"{b.samples}:2: " in failed(capsys, a.path, b.path)
    b.samples.write_text("")
    assert f"{b.path}: there is no sample to compare" in failed(capsys, a.path, b.path)
