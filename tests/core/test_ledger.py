"""What a run cost: sums by hand, a resumed run, a file that is whole or not there."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.engines.base import FinishReason, Generation
from autocoa_plugin.environments.base import Observation
from autocoa_plugin.errors import DataError, ToolError
from autocoa_plugin.ledger import FIELDS, Ledger, LedgerEntry, entry_of
from autocoa_plugin.loop import rollout
from autocoa_plugin.protocol import AUTOCOA
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment
from autocoa_plugin.tokenization import Codec
from autocoa_plugin.trajectory import Counts, Origin, Outcome, Role, Segment, Source, StopReason, Trajectory

CODEC = Codec(CharTokenizer(), AUTOCOA)
THOUGHT, ACTION, ANSWER = "Who? ", "<begin_search>x</end_search>", "\\boxed{y}"
REAL = Observation("Kipling", Origin.REAL, cost=0.005)
IMAGINED = Generation(tuple(CODEC.encode("Rome")), (-0.5,) * 4, FinishReason.STOP)


def run(*answers):
    """A rollout that thinks, acts once per answer, and answers; the environment plays `answers`."""
    turns = [THOUGHT + ACTION for _ in answers] + ["</think>" + ANSWER + "<eos>"]
    engine = ScriptedEngine(turns, encode=CODEC.encode, decode=CODEC.decode)
    played = iter(answers)
    environment = ScriptedEnvironment(lambda action: next(played))
    return asyncio.run(rollout(CODEC.encode("Q <think>"), engine=engine, environment=environment, codec=CODEC))


def entries(**numbers):
    return LedgerEntry(trajectories=1, **numbers)


def test_a_trajectory_with_one_real_call_costs_its_tokens_its_call_and_its_money():
    trajectory = run(REAL)
    entry = entry_of(trajectory)
    observation = next(each for each in trajectory.segments if each.role is Role.OBSERVATION)
    assert (entry.trajectories, entry.actions, entry.real_calls, entry.cost) == (1, 1, 1, 0.005)
    assert entry.thought_tokens == len(THOUGHT) + len("</think>") and entry.action_tokens == len(ACTION)
    assert entry.answer_tokens == len(ANSWER) + 1  # <eos> is one token
    assert entry.real_observation_tokens == entry.injected_tokens == len(observation.ids)
    assert (entry.sampled_observation_tokens, entry.simulated_calls, entry.cached_calls) == (0, 0, 0)
    assert entry.tool_seconds == trajectory.counts.tool_seconds > 0


def test_an_imagined_observation_is_sampled_and_no_real_token():
    imagined = Observation(
        "Rome", Origin.WORLD_MODEL, generation=IMAGINED, counts=Counts(discarded_observation_tokens=7)
    )
    entry = entry_of(run(imagined))
    assert (entry.simulated_calls, entry.real_calls, entry.cost) == (1, 0, 0.0)
    assert (entry.sampled_observation_tokens, entry.discarded_observation_tokens) == (4, 7)
    assert entry.real_observation_tokens == 0 and entry.injected_tokens > 0  # the tags around it


def test_a_call_that_fails_was_a_real_call_and_its_notice_no_real_observation():
    entry = entry_of(run(ToolError("down"), Observation("old", Origin.CACHE), Observation("taped", Origin.REPLAY)))
    assert (entry.real_calls, entry.tool_errors, entry.cached_calls, entry.replayed_calls) == (1, 1, 1, 1)
    assert 0 < entry.real_observation_tokens < entry.injected_tokens


@given(st.lists(st.sampled_from([REAL, ToolError("x"), Observation("", Origin.REAL, Outcome.EMPTY)]), max_size=4))
def test_every_token_of_a_response_is_counted_once(answers):
    trajectory = run(*answers)
    entry = entry_of(trajectory)
    sampled = entry.thought_tokens + entry.action_tokens + entry.answer_tokens
    assert sampled == trajectory.counts.sampled_tokens == sum(trajectory.response_mask)
    assert sampled + entry.sampled_observation_tokens + entry.injected_tokens == len(trajectory.response_ids)


def test_tokens_that_the_loop_wrote_for_the_answer_are_not_sampled_ones():
    segments = (
        Segment(Role.ANSWER, Source.TEMPLATE, (1, 2, 3), "box{"),
        Segment(Role.ANSWER, Source.POLICY, (4, 5), "x}"),
    )
    assert entry_of(Trajectory((), segments, StopReason.MAX_ACTIONS, "autocoa")).answer_tokens == 2


def test_fields_that_counts_has_too_are_taken_from_there():
    shared = [name for name in FIELDS if name in vars(Counts())]
    counts = Counts(**{name: index + 1 for index, name in enumerate(shared)})
    entry = entry_of(Trajectory((), (), StopReason.ANSWERED, "autocoa", counts))
    assert [getattr(entry, name) for name in shared] == list(range(1, len(shared) + 1)) and len(shared) == 13


def test_entries_add_up_field_by_field():
    ones = LedgerEntry(**dict.fromkeys(FIELDS, 1))
    assert ones + ones + LedgerEntry() == LedgerEntry(**dict.fromkeys(FIELDS, 2))


def test_totals_are_by_split_and_for_the_run():
    ledger = Ledger()
    ledger.add("val", 0, entries(real_calls=100))
    ledger.add("train", 1, entries(real_calls=2, cost=0.5))
    ledger.add("train", 1, entries(real_calls=3))
    ledger.add("train", 2, entries(simulated_calls=7, cost=0.25))
    assert ledger.entries["train", 1] == LedgerEntry(trajectories=2, real_calls=5, cost=0.5)
    assert ledger.total("train") == LedgerEntry(trajectories=3, real_calls=5, simulated_calls=7, cost=0.75)
    assert ledger.total().real_calls == 105 and ledger.total("scorecard") == LedgerEntry()
    assert ledger.splits == ["train", "val"]


def test_a_resumed_run_counts_no_step_twice_and_forgets_no_money():
    ledger = Ledger()
    for step in (1, 2, 3):
        ledger.add("train", step, entries(real_calls=10**step))
    ledger.add("val", 2, entries(real_calls=5))
    ledger.add("val", 3, entries(real_calls=6))
    ledger.resume(3)  # the checkpoint of step 2 was the last one
    assert ledger.entries.keys() == {("train", 1), ("train", 2), ("val", 2)}
    ledger.add("train", 3, entries(real_calls=1))
    assert ledger.total("train").real_calls == 111
    assert {key: entry.real_calls for key, entry in ledger.repeated.items()} == {("train", 3): 1000, ("val", 3): 6}


def test_a_step_that_is_lost_twice_is_repeated_twice():
    ledger = Ledger()
    for calls in (4, 5):
        ledger.add("train", 1, entries(real_calls=calls))
        ledger.resume(1)
    assert ledger.entries == {} and ledger.repeated["train", 1] == LedgerEntry(trajectories=2, real_calls=9)


def test_a_run_that_resumes_after_its_last_step_keeps_all():
    ledger = Ledger()
    ledger.add("train", 4, entries(real_calls=1))
    ledger.resume(5)
    assert ledger.total().real_calls == 1 and not ledger.repeated


def test_a_validation_that_is_done_again_replaces_its_first_count():
    ledger = Ledger()
    ledger.begin("val", 2)  # nothing there yet
    ledger.add("val", 2, entries(real_calls=5))
    ledger.begin("val", 2)
    ledger.add("val", 2, entries(real_calls=1))
    ledger.add("val", 2, entries(real_calls=1))  # the second batch of the same validation
    assert ledger.total("val").real_calls == 2 and ledger.repeated["val", 2].real_calls == 5


numbers = st.integers(0, 10**9)
ledgers = st.builds(
    Ledger,
    *[
        st.dictionaries(
            st.tuples(st.sampled_from(["train", "val", "scorecard"]), st.integers(0, 99)),
            st.builds(LedgerEntry, real_calls=numbers, cost=st.floats(0, 1e6), tool_seconds=st.floats(0, 1e6)),
            max_size=5,
        )
    ]
    * 2,
)


@given(ledgers)
def test_a_ledger_survives_json(ledger):
    assert Ledger.from_dict(json.loads(json.dumps(ledger.to_dict()))) == ledger


@given(ledgers, st.integers(0, 100))
def test_resuming_loses_and_invents_nothing(ledger, first_step):
    spent = sum((*ledger.entries.values(), *ledger.repeated.values()), LedgerEntry()).real_calls
    ledger.resume(first_step)
    assert sum((*ledger.entries.values(), *ledger.repeated.values()), LedgerEntry()).real_calls == spent
    assert all(step < first_step for _, step in ledger.entries)


def test_the_file_says_the_totals_and_is_replaced_as_a_whole(tmp_path):
    ledger, path = Ledger(), tmp_path / "new" / "ledger.json"
    for step in (1, 2):
        ledger.add("train", step, entries(real_calls=step))
        ledger.save(path)
    assert json.loads(path.read_text())["totals"]["train"]["real_calls"] == 3
    assert Ledger.load(path) == ledger and [each.name for each in path.parent.iterdir()] == ["ledger.json"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "ledger.json is not a ledger: Expecting"),
        ("[]", "schema_version must be 1, got None"),
        ('{"schema_version": 2}', "schema_version must be 1, got 2"),
        ('{"schema_version": 1, "entries": []}', "KeyError: 'repeated'"),
        ('{"schema_version": 1, "entries": [3], "repeated": []}', "entries is not a list of entries"),
        ('{"schema_version": 1, "entries": [{"split": "train", "step": 1}], "repeated": []}', "field trajectories"),
        ('{"schema_version": 1, "entries": [{"split": "train", "step": "x"}], "repeated": []}', "field step must be"),
    ],
)
def test_a_file_that_is_no_ledger_is_named_with_what_is_wrong(tmp_path, text, complaint):
    (tmp_path / "ledger.json").write_text(text)
    with pytest.raises(DataError, match=complaint) as caught:
        Ledger.load(tmp_path / "ledger.json")
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.json is not a ledger: .*No such file"):
        Ledger.load(tmp_path / "nothing.json")


def test_numbers_may_come_as_floats_and_counts_stay_whole():
    entry = LedgerEntry.read({**dict.fromkeys(FIELDS, 2.0), "cost": 0.5, "unknown": "ignored"})
    assert entry.real_calls == 2 and type(entry.real_calls) is int and entry.cost == 0.5
