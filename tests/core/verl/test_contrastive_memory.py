"""What the contrastive stage remembers: the displacement alarm, its history, and the reference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("verl", reason="needs the extra verl")

import torch
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.data.settings import ContrastiveConfig
from autocoa_plugin.errors import DataError, TrainingError
from autocoa_plugin.verl_adapters.contrastive import reference
from autocoa_plugin.verl_adapters.contrastive.displacement import History, Watch

CONFIG = ContrastiveConfig(displacement_window_steps=2, displacement_drop_nats=0.5)
STOP = ContrastiveConfig(displacement_window_steps=2, displacement_drop_nats=0.5, on_displacement="stop")


def observe(watch: Watch, steps: list[tuple[float, float]]) -> list[bool]:
    return [watch.observe(chosen, rejected) for chosen, rejected in steps]


def test_the_alarm_goes_off_while_both_sides_have_lost_more_than_the_limit() -> None:
    # first two steps: means -1 and -2; the last two: -1.4/-2.4 (0.4 lost), -1.8/-2.8 (0.8 lost), then chosen is back
    steps = [(-1.0, -2.0), (-1.0, -2.0), (-1.4, -2.4), (-1.4, -2.4), (-2.2, -3.2), (0.0, -3.2)]
    assert observe(Watch(CONFIG), steps) == [False, False, False, False, True, False]


@given(st.lists(st.tuples(st.floats(-9, 0), st.floats(-9, 0)), min_size=1, max_size=12))
def test_a_rejected_side_that_falls_alone_is_no_displacement(steps: list[tuple[float, float]]) -> None:
    rising = sorted(chosen for chosen, _ in steps)
    assert not any(observe(Watch(CONFIG), [(c, r) for c, (_, r) in zip(rising, steps, strict=True)]))


def test_the_warning_is_one_line_told_once_with_numbers_and_remedy(tmp_path: Path, capsys) -> None:
    observe(Watch(CONFIG, history=History(tmp_path)), [(-1.0, -1.5), (-1.0, -1.5), (-3.0, -4.0), (-3.0, -4.0)])
    (line,) = capsys.readouterr().err.splitlines()
    # the third step's window still holds the second: (-1 - 3) / 2 = -2 and (-1.5 - 4) / 2 = -2.75
    assert line.startswith("autocoa: step 3: displacement: over the last 2 steps chosen has -2.000 and rejected -2.750")
    assert "they had -1.000 and -1.500" in line and "raise autocoa.contrastive.alpha (now 0.2)" in line


def test_other_ranks_and_a_switched_off_alarm_say_nothing(tmp_path: Path, capsys) -> None:
    off = ContrastiveConfig(displacement_window_steps=2, displacement_drop_nats=0.5, on_displacement="off")
    for watch in (Watch(CONFIG), Watch(off, history=History(tmp_path))):
        assert observe(watch, [(-1.0, -1.0), (-1.0, -1.0), (-9.0, -9.0)]) == [False, False, True]
    assert capsys.readouterr().err == ""


def test_stop_ends_the_training_with_the_same_line() -> None:
    watch = Watch(STOP)
    observe(watch, [(-1.0, -1.0), (-1.0, -1.0)])
    with pytest.raises(TrainingError, match=r"^step 3: displacement: over the last 2 steps chosen has -2\.000"):
        watch.observe(-3.0, -3.0)


@pytest.mark.parametrize("interrupted", [1, 3, 5])
def test_an_interruption_changes_nothing_about_the_alarm(interrupted: int, tmp_path: Path) -> None:
    steps = [(-1.0, -2.0), (-1.0, -2.0), (-1.4, -2.4), (-1.4, -2.4), (-2.2, -3.2), (-2.2, -3.2)]
    history = History(tmp_path)
    before = observe(Watch(CONFIG, history=history), steps[:interrupted])
    past = history.restart(interrupted)
    after = observe(Watch(CONFIG, interrupted, past, history), steps[interrupted:])
    assert before + after == observe(Watch(CONFIG), steps)
    assert [line["step"] for line in written(history)] == [1, 2, 3, 4, 5, 6]


def test_a_warning_given_before_the_interruption_is_not_repeated(tmp_path: Path, capsys) -> None:
    past = [(-1.0, -1.0), (-1.0, -1.0), (-9.0, -9.0)]
    observe(Watch(CONFIG, 3, past, History(tmp_path)), [(-9.0, -9.0)])
    assert capsys.readouterr().err == ""


def test_steps_after_the_checkpoint_and_half_a_line_are_dropped_from_the_history(tmp_path: Path) -> None:
    history = History(tmp_path)
    for step in (1, 2, 3):
        history.append(step, -step / 2, -float(step))
    with history.path.open("a") as file:
        file.write('{"step": 4, "chos')
    assert history.restart(2) == [(-0.5, -1.0), (-1.0, -2.0)]
    assert [line["step"] for line in written(history)] == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == [history.path.name]  # no temporary file stays


def test_a_run_that_starts_anew_empties_the_history(tmp_path: Path) -> None:
    history = History(tmp_path / "not" / "there")
    assert history.restart(0) == []
    history.append(1, -1.0, -1.0)
    assert history.restart(0) == [] and written(history) == []


def written(history: History) -> list[dict[str, float]]:
    return [json.loads(line) for line in history.path.read_text().splitlines()]


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 4))
def test_ranks_share_all_pairs_in_equally_many_whole_batches(items: int, share: int, ranks: int) -> None:
    taken = [list(reference.batches_of_rank(items, share * ranks, rank, ranks)) for rank in range(ranks)]
    assert {len(batches) for batches in taken} == {-(-items // (share * ranks))}
    assert {len(batch) for batches in taken for batch in batches} == {share}
    assert {index for batches in taken for batch in batches for index in batch} == set(range(items))


TABLE = torch.tensor([[-1.25, -0.1], [torch.nan, torch.nan], [-3.0, -1 / 3]])
NAMES = ["pair-1", "text-1", "pair-2"]


def test_the_reference_comes_back_as_it_was_written(tmp_path: Path) -> None:
    reference.write(tmp_path, TABLE, NAMES, "mean")
    found = reference.read(tmp_path, NAMES, "mean")
    assert found is not None and torch.equal(found.nan_to_num(9.0), TABLE.nan_to_num(9.0))
    assert "NaN" not in (tmp_path / reference.REFERENCE_FILE).read_text()  # which would be no JSON


def test_no_file_is_no_reference(tmp_path: Path) -> None:
    assert reference.read(tmp_path, NAMES, "mean") is None


@pytest.mark.parametrize(
    ("names", "unit", "message"),
    [
        (["pair-1", "text-1", "pair-9"], "mean", "row 2 is 'pair-2' in it and 'pair-9' here"),
        (["text-1", "pair-1", "pair-2"], "mean", "row 0 is 'pair-1' in it and 'text-1' here"),
        ([*NAMES, "pair-3"], "mean", "row 3 is None in it and 'pair-3' here"),
        (NAMES, "sum", "normalise is 'mean', this launch has 'sum'"),
    ],
)
def test_a_reference_of_other_pairs_is_refused(names: list[str], unit: str, message: str, tmp_path: Path) -> None:
    reference.write(tmp_path, TABLE, NAMES, "mean")
    with pytest.raises(DataError, match=message):
        reference.read(tmp_path, names, unit)
