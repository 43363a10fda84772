"""Gates about the rollout itself, which of them are asked, and their settings."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from gate_attempts import ROOMY, attempt, boxed, found, search

from autocoa_plugin import Limits
from autocoa_plugin.config import from_mapping, to_mapping
from autocoa_plugin.environments.base import Observation
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.lab.synthesize.attempt import Attempt, Kind
from autocoa_plugin.lab.synthesize.gate import GATE_NAMES, GateSettings
from autocoa_plugin.lab.synthesize.gates import GATES
from autocoa_plugin.protocol import REACT
from autocoa_plugin.trajectory import Origin, Outcome

SOUND = ["Perhaps Paris. " + search("capital France"), "So it is Paris. " + boxed("Paris")]
WORLD = {"capital France": "Paris is the capital of France."}
GUESS = ["I guess. " + boxed("Paris")]


def test_a_sound_chain_of_action_passes_every_gate():
    assert found(attempt(SOUND, WORLD)) == ()


def test_a_sound_chain_of_thought_passes_every_gate():
    assert found(attempt(["Paris, of course. " + boxed("Paris")], kind=Kind.COT)) == ()


def test_the_gates_are_those_that_settings_can_switch_off_each_with_a_sentence():
    assert tuple(GATES) == GATE_NAMES
    assert all(gate.name == name and gate.description for name, gate in GATES.items())


def test_every_gate_that_finds_something_is_named_in_the_order_of_the_registry():
    subject = attempt([search("What is the capital of France?"), "I do not know.<eos>"])
    assert found(subject) == ("unfinished", "format", "copied_query", "unsupported")


def test_of_a_wrong_chain_only_the_gates_that_concern_wrong_chains_are_asked():
    copied = attempt([search("What is the capital of France?"), "I guess " + boxed("Rome")])
    assert found(copied, is_right=True) == ("copied_query", "unsupported")
    assert found(copied, is_right=False) == ()


def test_a_gate_that_is_off_is_not_asked():
    subject = attempt(GUESS)
    assert found(subject) == ("unsupported",)
    assert found(subject, GateSettings(off=("unsupported",))) == ()


def test_the_same_attempt_is_judged_the_same_after_a_round_trip_through_its_row():
    subject = attempt([search("q"), search("q"), "so " + boxed("Paris")], {"q": RuntimeError("boom")})
    again = Attempt.from_row(json.loads(json.dumps(subject.to_row())))
    assert found(again) == found(subject) == ("tool_failed", "unsupported")


def test_a_refused_attempt_is_found():
    refused = attempt(GUESS, error="HTTP 400: too long")
    assert "refused" in found(refused, is_right=False)


def test_a_chain_without_an_answer_is_unfinished_and_badly_formed():
    subject = attempt(["I do not know.<eos>"])
    assert found(subject, is_right=False) == ("unfinished", "format")


def test_a_forced_answer_is_unfinished_though_it_be_right():
    subject = attempt(["Paris Paris Paris", "Paris}"], limits=Limits(60, max_turn_tokens=10, answer_reserve_tokens=40))
    assert subject.sample.reward.parts["exact_match"] == 1.0
    assert found(subject)[:2] == ("unfinished", "format")


def test_an_empty_action_breaks_the_format_and_is_an_empty_query():
    assert found(attempt([search(" "), "Paris " + boxed("Paris")])) == ("format", "empty_query")


def test_an_action_is_a_fault_of_a_chain_of_thought_and_of_no_other():
    assert found(attempt(SOUND, WORLD, kind=Kind.COT)) == ("acted",)
    assert found(attempt(SOUND, WORLD, kind=Kind.ACT)) == found(attempt(SOUND, WORLD, kind=Kind.THINK)) == ()


@pytest.mark.parametrize(
    "failure", [RuntimeError("boom"), TimeoutError(), Observation("-", Origin.REPLAY, Outcome.MISS)]
)
def test_a_call_that_failed_is_found(failure):
    assert found(attempt(SOUND, {"capital France": failure}), is_right=False) == ("tool_failed",)


def test_a_call_that_failed_in_a_prefix_taken_over_is_found_though_the_counts_do_not_know_it():
    subject = attempt(SOUND, {"capital France": RuntimeError("boom")})
    counts = replace(subject.sample.trajectory.counts, tool_errors=0)
    trajectory = replace(subject.sample.trajectory, counts=counts)
    assert found(replace(subject, sample=replace(subject.sample, trajectory=trajectory))) == ("tool_failed",)


def test_an_empty_result_is_no_failure():
    assert found(attempt(SOUND, {})) == ()


def test_an_observation_that_a_world_model_wrote_is_found():
    imagined = Observation("Paris is the capital.", Origin.WORLD_MODEL)
    assert found(attempt(SOUND, {"capital France": imagined}), is_right=False) == ("imagined",)


def test_an_observation_longer_than_the_limit_is_found():
    # 46 characters and ids around the body leave 14 of "Paris is the capital of France."
    subject = attempt(SOUND, WORLD, limits=replace(ROOMY, max_observation_tokens=60))
    assert found(subject) == found(subject, is_right=False) == ("long_observation",)


@pytest.mark.parametrize("query", ["?", "the", " - "])
def test_a_query_without_a_word_is_empty(query):
    assert found(attempt([search(query), "Paris " + boxed("Paris")])) == ("empty_query",)


@pytest.mark.parametrize("query", ["What is the capital of France?", "what is capital of FRANCE"])
def test_a_query_equal_to_the_question_after_normalisation_is_copied(query):
    assert found(attempt([search(query), "Paris " + boxed("Paris")])) == ("copied_query",)


@pytest.mark.parametrize("query", ["capital of France", "What is the capital of France today"])
def test_a_query_that_leaves_out_or_adds_a_word_is_not_copied(query):
    assert found(attempt([search(query), "Paris " + boxed("Paris")])) == ()


def test_a_chain_of_another_protocol_is_read_alike():
    turns = ["Thought: hm\nAction: search\nAction Input: capital France\nObservation:", "So Paris \\boxed{Paris}<eos>"]
    assert found(attempt(turns, WORLD, protocol=REACT)) == ()


def test_an_unknown_gate_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"gates off must be of refused, .*got 'repetitions' \(did you mean 'repet"):
        GateSettings(off=("repetitions",))


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"leaked_answer_characters": 0}, "leaked_answer_characters must be >= 1, got 0"),
        ({"repeated_run_words": 0}, "repeated_run_words must be >= 1, got 0"),
        ({"repeated_times": 1}, "repeated_times must be >= 2, got 1"),
        ({"repeated_words": 1}, "repeated_words must be >= 2, got 1"),
        ({"compression_window_characters": 99}, "compression_window_characters must be >= 100, got 99"),
        ({"compression_ratio": 1.0}, "compression_ratio must be above 1, got 1.0"),
        ({"compression_ratio": float("nan")}, "compression_ratio must be above 1, got nan"),
        ({"foreign_letter_share": 0.0}, "foreign_letter_share must be above 0 and at most 1, got 0.0"),
        ({"foreign_letter_share": 1.5}, "foreign_letter_share must be above 0 and at most 1, got 1.5"),
    ],
)
def test_a_threshold_out_of_range_is_refused_by_name(setting, told):
    with pytest.raises(ConfigError, match=told):
        GateSettings(**setting)


def test_settings_survive_a_trip_through_json():
    settings = GateSettings(off=("acted", "format"), compression_ratio=4.0)
    assert from_mapping(GateSettings, json.loads(json.dumps(to_mapping(settings))), where="job.json") == settings
