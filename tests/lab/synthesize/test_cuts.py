"""Where a wrong chain is cut, and what is tried first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin import AUTOCOA, Codec, Role, Segment, Source, StopReason, Trajectory
from autocoa_plugin.lab.synthesize.attempt import Kind, Strategy
from autocoa_plugin.lab.synthesize.next_attempt import cut_places
from autocoa_plugin.testing import CharTokenizer
from autocoa_plugin.trajectory import Call, Origin, Outcome

CODEC = Codec(CharTokenizer(), AUTOCOA)
SEARCH = "<begin_search>s</end_search>"  # 28 characters
FOUND = "<search_result>d</search_result>"  # 32


def policy(role: Role, text: str, logprob: float | None = -0.5) -> Segment:
    logprobs = None if logprob is None else (logprob,) * len(text)
    return Segment(role, Source.POLICY, tuple(map(ord, text)), text, logprobs)


def found(outcome: str = "ok", origin: str = "real") -> Segment:
    call = Call("search", "s", Outcome(outcome), Origin(origin), 0.0)
    return Segment(Role.OBSERVATION, Source.ENVIRONMENT, tuple(map(ord, FOUND)), FOUND, call=call)


def chain(*segments: Segment) -> Trajectory:
    return Trajectory((113,), segments, StopReason.ANSWERED, "autocoa")


def places(trajectory: Trajectory, kind: Kind, strategy: Strategy = "step", seed: int = 0) -> list[int]:
    return cut_places(trajectory, kind, strategy, CODEC, seed=seed)


# steps begin at 4, 8 and 12, and end at 16, where the tag begins
COT = chain(policy(Role.THOUGHT, "So. Is. It. Me. </think>"), policy(Role.ANSWER, "a"))
# actions begin at 3, 66 (3 + 28 + 32 + 3) and 129
COA = chain(
    *(policy(Role.THOUGHT, "One"), policy(Role.ACTION, SEARCH, -0.25), found()),
    *(policy(Role.THOUGHT, "Two"), policy(Role.ACTION, SEARCH, -2.0), found("empty")),
    *(policy(Role.THOUGHT, "Six"), policy(Role.ACTION, SEARCH, -1.0), found(origin="cache")),
    policy(Role.ANSWER, "a"),
)


def test_a_chain_of_thought_is_cut_where_steps_begin_and_a_chain_of_action_before_its_actions():
    assert sorted(places(COT, Kind.COT)) == [4, 8, 12]
    assert sorted(places(COA, Kind.COA)) == [3, 66, 129]


def test_the_order_is_drawn_by_seed_and_the_same_every_time():
    drawn = [places(COT, Kind.COT, seed=seed) for seed in range(20)]
    assert drawn == [places(COT, Kind.COT, seed=seed) for seed in range(20)]
    assert len({tuple(each) for each in drawn}) > 1
    assert all(sorted(each) == [4, 8, 12] for each in drawn)


def test_the_least_certain_action_is_tried_first():
    assert places(COA, Kind.COA, "uncertainty") == [66, 129, 3]


def test_the_least_certain_step_is_tried_first_and_of_equals_the_earlier_one():
    assert places(COT, Kind.COT, "uncertainty") == [4, 8, 12]
    # So. Is. It. Me.   one doubtful token in the step that begins at 8: its mean is (3 x -0.5 - 4.5) / 4 = -1.5
    logprobs = (*(-0.5,) * 9, -4.5, *(-0.5,) * 5)
    thought = Segment(Role.THOUGHT, Source.POLICY, tuple(map(ord, "So. Is. It. Me.")), "So. Is. It. Me.", logprobs)
    assert places(chain(thought), Kind.COT, "uncertainty") == [8, 4, 12]


def test_without_log_probabilities_there_is_no_uncertainty():
    thought = policy(Role.THOUGHT, "So. Is. It.", None)
    assert places(chain(thought), Kind.COT, "uncertainty") == []
    assert sorted(places(chain(thought), Kind.COT)) == [4, 8]
    actions = [policy(Role.THOUGHT, "One"), policy(Role.ACTION, SEARCH, None), found(), policy(Role.ANSWER, "a")]
    assert places(chain(*actions), Kind.COA, "uncertainty") == []


def test_a_step_whose_log_probabilities_are_partly_known_is_left_out():
    # Is. is in both segments, It. in the second alone: at 8
    assert places(chain(policy(Role.THOUGHT, "So. I", None), policy(Role.THOUGHT, "s. It.")), Kind.COT) != []
    parts = policy(Role.THOUGHT, "So. I", None), policy(Role.THOUGHT, "s. It.")
    assert places(chain(*parts), Kind.COT, "uncertainty") == [8]


@pytest.mark.parametrize(
    ("outcome", "origin"),
    [("refused", "notice"), ("timeout", "real"), ("error", "cache"), ("miss", "replay"), ("ok", "world_model")],
)
def test_an_action_that_no_tool_answered_is_no_place(outcome, origin):
    answered = policy(Role.THOUGHT, "One"), policy(Role.ACTION, SEARCH), found(outcome, origin)
    assert places(chain(*answered, policy(Role.THOUGHT, "b")), Kind.COA) == []


def test_what_stands_first_in_the_response_is_no_place():
    # a pair diverges inside the response: its prefix is never empty
    assert places(chain(policy(Role.ACTION, SEARCH), found(), policy(Role.THOUGHT, "b")), Kind.COA) == []


@pytest.mark.parametrize(("text", "expected"), [("So. It", [4]), ("<think>So. It", [11]), ("<think>So it", [])])
def test_a_chain_of_thought_keeps_its_first_step(text, expected):
    # before it nothing is known to be missing, whether or not the opening tag stands there
    assert places(chain(policy(Role.THOUGHT, text)), Kind.COT) == expected


def test_a_place_after_an_action_that_was_never_closed_is_none():
    # <begin_search> of 14 characters stands in the thought: no rollout can go on from there
    nested = policy(Role.THOUGHT, "Is. <begin_search> "), policy(Role.ACTION, SEARCH), found()
    assert places(chain(*nested, policy(Role.THOUGHT, "b")), Kind.COA) == []


def test_a_chain_that_was_changed_is_not_changed_again():
    assert places(COT, Kind.ACT) == places(COA, Kind.THINK) == []


def test_an_empty_response_has_no_place():
    empty = Trajectory((113,), (), StopReason.PROMPT_TOO_LONG, "autocoa")
    assert places(empty, Kind.COT) == places(empty, Kind.COA, "uncertainty") == []


@given(st.lists(st.integers(-9, 0), min_size=3, max_size=3), st.integers(0, 99))
def test_both_strategies_try_the_same_places(values, seed):
    parts = [
        policy(Role.THOUGHT, text, value) for text, value in zip(("So it. ", "Is it. ", "It is"), values, strict=True)
    ]
    by_doubt = places(chain(*parts), Kind.COT, "uncertainty")
    assert sorted(by_doubt) == sorted(places(chain(*parts), Kind.COT, seed=seed)) == [7, 14]
    assert by_doubt == sorted([7, 14], key=lambda place: values[place // 7])
