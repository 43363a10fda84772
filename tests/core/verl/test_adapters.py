"""The small translators: metrics, errors that end a run, `compute_score` for other loops."""

from __future__ import annotations

import pytest

pytest.importorskip("verl", reason="needs the extra verl")

from autocoa_plugin.errors import ConfigError, DataError, TrainingError
from autocoa_plugin.ledger import FIELDS
from autocoa_plugin.verl_adapters.chain_output import FATAL, raise_if_fatal
from autocoa_plugin.verl_adapters.reward import compute_score
from autocoa_plugin.verl_adapters.run_ledger import TOTALS, step_metrics

FOUND = "<search_result> \\boxed{Rome} </search_result> so </think> \\boxed{Paris}"


def test_means_and_totals_of_a_step_have_their_own_names():
    rows = [{**dict.fromkeys(TOTALS, 1.0), "exact_match": 1.0}, {**dict.fromkeys(TOTALS, 3.0), "exact_match": 0.0}]
    metrics = step_metrics(rows)
    assert metrics["autocoa/exact_match"] == 0.5 and metrics["autocoa/real_calls/sum"] == 4.0
    assert metrics["autocoa/real_calls"] == 2.0 and metrics["autocoa/trajectories"] == 2.0


def test_every_field_of_the_ledger_is_summed_in_the_metrics_of_a_step():
    metrics = step_metrics([dict.fromkeys(TOTALS, 1.0)] * 2)
    assert {name for name in FIELDS if metrics.get(f"autocoa/{name}/sum") == 2.0} == {*FIELDS} - {"trajectories"}


def test_no_trajectories_give_no_metrics():
    assert step_metrics([]) == {}


def test_rows_without_a_message_end_nothing():
    raise_if_fatal([{FATAL: ""}, {}], split="train", step=3)
    raise_if_fatal([], split="train", step=3)


def test_one_fatal_rollout_ends_the_run_with_its_message():
    rows = [{FATAL: ""}, {FATAL: "no answer on the tape"}, {FATAL: ""}]
    with pytest.raises(TrainingError) as caught:
        raise_if_fatal(rows, split="val", step=3)
    assert str(caught.value) == "step 3, val: 1 of 3 rollouts could not go on: no answer on the tape"


def test_of_several_messages_the_most_frequent_is_told():
    rows = [{FATAL: message} for message in ("a", "b", "b", "c")]
    with pytest.raises(TrainingError, match=r"4 of 4 rollouts could not go on: b \(2 other messages\)$"):
        raise_if_fatal(rows, split="train", step=1)


def test_compute_score_reads_the_answer_after_the_last_observation():
    result = compute_score("hotpotqa", FOUND, ["Paris"], {})
    assert result["score"] == result["acc"] == 1.0 and result["pred"] == "Paris"


@pytest.mark.parametrize(
    "text",
    ["<search_result> \\boxed{Paris} </search_result>", "<search_result> unclosed \\boxed{Paris}", "no box at all"],
)
def test_compute_score_gives_nothing_for_a_box_inside_an_observation(text):
    assert compute_score("hotpotqa", text, ["Paris"], {})["score"] == 0.0


def test_compute_score_takes_metric_and_protocol_from_the_configuration():
    result = compute_score("nq", "<answer>the Paris</answer>", "Paris", protocol="search_r1", metric="f1")
    assert result["score"] == 1.0
    with pytest.raises(ConfigError, match="did you mean 'search_r1'"):
        compute_score("nq", "", "x", protocol="serch_r1")
    with pytest.raises(ConfigError, match="did you mean 'exact_match'"):
        compute_score("nq", "", "x", metric="exact_macth")


def test_compute_score_takes_a_metric_of_ones_own(tmp_path):
    (tmp_path / "own.py").write_text("def first(answer, golds):\n    return answer[:1] == golds[0][:1]\n")
    result = compute_score("nq", FOUND, ["Pisa"], metric=f"{tmp_path}/own.py:first")
    assert (result["score"], result["acc"]) == (1.0, 0.0)


def test_compute_score_names_the_data_source_of_a_row_without_gold():
    with pytest.raises(DataError, match="'nq': ground_truth: there is no gold answer"):
        compute_score("nq", "x", [])
