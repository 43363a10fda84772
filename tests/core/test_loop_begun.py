"""A rollout that goes on from segments of another one, as if it had made them itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizer_families import FAMILIES

from autocoa_plugin import AUTOCOA, SEARCH_R1, Codec, Limits, Role, Segment, Source, StopReason, Trajectory, rollout
from autocoa_plugin.engines.base import Engine, FinishReason, Generation, Sampling
from autocoa_plugin.environments.base import Observation
from autocoa_plugin.errors import EngineError, TrajectoryError
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment
from autocoa_plugin.trajectory import Origin, final_run

ROOMY = Limits(max_response_tokens=4000, answer_reserve_tokens=100)
CODEC = Codec(CharTokenizer(), AUTOCOA)
SEARCH = "<begin_search>{}</end_search>"
ANSWER = "</think> \\boxed{Paris}<eos>"


class Recorder:
    """Passes calls on, and keeps where each turn began and what it was."""

    def __init__(self, engine: Engine) -> None:
        self.max_context_tokens, self._engine = engine.max_context_tokens, engine
        self.turns: list[tuple[int, Generation]] = []

    async def generate(self, ids: Sequence[int], **options: Any) -> Generation:
        begin = len(ids)
        self.turns.append((begin, await self._engine.generate(ids, **options)))
        return self.turns[-1][1]


class TheRest:
    """Goes on with recorded turns: shown the first n ids, it samples what followed them in their turn."""

    max_context_tokens = None

    def __init__(self, turns: Sequence[tuple[int, Generation]]) -> None:
        self._turns = turns
        self.shown: list[tuple[int, ...]] = []

    async def generate(
        self, ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], sampling: Sampling
    ) -> Generation:
        self.shown.append(tuple(ids))
        for begin, turn in self._turns:
            done = len(ids) - begin
            if 0 <= done < len(turn.ids) or (done == 0 and not turn.ids):
                assert turn.logprobs is not None
                return Generation(turn.ids[done:], turn.logprobs[done:], turn.finish_reason)
        raise EngineError(f"nothing was recorded after {len(ids)} ids")


def observe(action: Any) -> str:
    return f"{action.parameters} is a thing"


def run(
    engine: Engine, begun: Sequence[Segment] = (), *, codec: Codec = CODEC, limits: Limits = ROOMY, **changed: Any
) -> Trajectory:
    environment = ScriptedEnvironment(observe)
    options = {"environment": environment, "prompt_ids": codec.encode("q<think>"), **changed}
    return asyncio.run(rollout(engine=engine, codec=codec, limits=limits, begun=begun, **options))


def play(turns: Sequence[str], begun: Sequence[Segment] = (), **changed: Any) -> tuple[Trajectory, ScriptedEngine]:
    engine = ScriptedEngine(turns, encode=CODEC.encode, decode=CODEC.decode)
    return run(engine, begun, **changed), engine


def thought(text: str, codec: Codec = CODEC) -> Segment:
    ids = tuple(codec.encode(text))
    return Segment(Role.THOUGHT, Source.POLICY, ids, text, (-0.25,) * len(ids))


def first_tokens(trajectory: Trajectory, n_tokens: int, codec: Codec) -> list[Segment]:
    """The first tokens as segments; the text of one that is cut is what its ids decode to."""
    begun: list[Segment] = []
    for segment in trajectory.segments:
        if n_tokens == 0:
            break
        ids = segment.ids[:n_tokens]
        n_tokens -= len(ids)
        if len(ids) < len(segment.ids):
            logprobs = None if segment.logprobs is None else segment.logprobs[: len(ids)]
            segment = replace(segment, ids=ids, text=codec.decode(ids), logprobs=logprobs)
        begun.append(segment)
    return begun


def by_token(trajectory: Trajectory) -> list[tuple[int, Role, Source, float | None]]:
    return [
        (token, each.role, each.source, None if each.logprobs is None else each.logprobs[index])
        for each in trajectory.segments
        for index, token in enumerate(each.ids)
    ]


def check_going_on(whole: Trajectory, n_tokens: int, turns: Any, codec: Codec, limits: Limits, **changed: Any) -> None:
    begun, engine = first_tokens(whole, n_tokens, codec), TheRest(turns)
    again = run(engine, begun, codec=codec, limits=limits, **changed)
    assert by_token(again) == by_token(whole)
    next_segment = again.segments[len(begun)]
    forced = next_segment.ids if next_segment.source is Source.TEMPLATE else ()  # nothing was left for a turn
    assert engine.shown[0] == (*whole.prompt_ids, *whole.response_ids[:n_tokens], *forced)
    assert again.segments[: len(begun)] == tuple(begun)
    assert (again.stop_reason, again.forced_answer) == (whole.stop_reason, whole.forced_answer)
    assert again.counts.actions == whole.counts.actions
    if "\ufffd" not in begun[-1].text:
        assert again.text() == whole.text()


def may_go_on(whole: Trajectory, n_tokens: int, codec: Codec) -> bool:
    """Whether token n_tokens is sampled, and what stands before it ends in a thought, with nothing opened in it."""
    roles = [segment.role for segment in whole.segments for _ in segment.ids]
    if roles[n_tokens - 1] is not Role.THOUGHT or n_tokens == len(roles) or roles[n_tokens] is Role.OBSERVATION:
        return False
    text = final_run(first_tokens(whole, n_tokens, codec))
    return codec.protocol.find_open_action(text) is None and codec.protocol.find_invented_observation(text) is None


# --------------------------------------------------------------------------------------- the same, wherever it is cut

WORDS = [
    "so ",
    "Paris. ",
    "é ",
    "<begin_",
    "</think>",
    "<think>",
    "\\boxed{Rome} ",
    "<search_result>",
    "</",
    "_search>",
]
ACTIONS = [
    SEARCH.format("a"),
    SEARCH.format(" "),
    "</end_search>",
    "<begin_calculate>1+1</end_calculate>",
    "<begin_search>",
]
TURNS = st.lists(st.lists(st.sampled_from([*WORDS, *ACTIONS]), min_size=1, max_size=8).map("".join), max_size=4)
MERGES = ["</end_search>\n\n", ". <begin", "</think> x", "k> ", "so <", "h><", "is. "]
TIGHT = Limits(max_response_tokens=160, answer_reserve_tokens=40, max_turn_tokens=1000, max_actions=2)


@given(turns=TURNS, merges=st.lists(st.sampled_from(MERGES), max_size=4), tight=st.booleans(), data=st.data())
def test_a_rollout_cut_at_any_token_of_a_thought_goes_on_to_the_same_tokens_and_roles(turns, merges, tight, data):
    codec, limits = Codec(CharTokenizer(merges), AUTOCOA), TIGHT if tight else ROOMY
    script = [*turns, *[ANSWER] * 9]
    recorder = Recorder(ScriptedEngine(script, encode=codec.encode, decode=codec.decode))
    whole = run(recorder, codec=codec, limits=limits)
    cuts = [n for n in range(1, len(whole.response_ids)) if may_go_on(whole, n, codec)]
    assume(cuts)
    check_going_on(whole, data.draw(st.sampled_from(cuts)), recorder.turns, codec, limits)


R1_WORDS = ["<think>", "</think>", " hm ", "<answer>", "</answer>", "<search>q</search>", "<search>", "<ans"]


@given(turns=st.lists(st.lists(st.sampled_from(R1_WORDS), min_size=1, max_size=6).map("".join), max_size=3))
def test_so_it_does_under_a_protocol_that_acts_outside_the_thought_and_tags_its_answer(turns):
    codec = Codec(CharTokenizer(["k> ", "</think><"]), SEARCH_R1)
    script = [*turns, *["<answer>Paris</answer><eos>"] * 9]
    recorder = Recorder(ScriptedEngine(script, encode=codec.encode, decode=codec.decode))
    whole = run(recorder, codec=codec, prompt_ids=codec.encode("q"))
    for n in range(1, len(whole.response_ids)):
        if may_go_on(whole, n, codec):
            check_going_on(whole, n, recorder.turns, codec, ROOMY, prompt_ids=codec.encode("q"))


@pytest.mark.parametrize("family", sorted({*FAMILIES} - {"wordpiece", "word_level"}))  # these cannot spell a tag
def test_every_tokenizer_family_goes_on_from_every_token_of_a_thought(family):
    codec = Codec(FAMILIES[family](), AUTOCOA)
    end = codec.decode([min(codec.end_ids)])
    script = ["Où est Zürich ? 北京 " + SEARCH.format("Zürich"), " voilà, 北京. </think> \\boxed{Zürich}" + end]
    recorder = Recorder(ScriptedEngine(script, encode=codec.encode, decode=codec.decode))
    whole = run(recorder, codec=codec)
    cuts = [n for n in range(1, len(whole.response_ids)) if may_go_on(whole, n, codec)]
    assert len(cuts) > 10
    for n in cuts:
        check_going_on(whole, n, recorder.turns, codec, ROOMY)


# ------------------------------------------------------------------------------------------------- what begun becomes


def test_the_engine_is_first_shown_prompt_and_beginning_and_the_next_turn_is_a_segment_of_its_own():
    trajectory, engine = play(["pital." + ANSWER], [thought("The ca")])
    assert engine.prompts == [tuple(CODEC.encode("q<think>The ca"))]
    assert [(each.role, each.text) for each in trajectory.segments] == [
        (Role.THOUGHT, "The ca"),
        (Role.THOUGHT, "pital.</think>"),
        (Role.ANSWER, " \\boxed{Paris}<eos>"),
    ]
    assert trajectory.response_logprobs[:7] == [-0.25] * 6 + [-0.5]


def test_a_tag_that_was_begun_is_completed_by_what_is_sampled():
    trajectory, _ = play(["ink> \\boxed{Paris}<eos>"], [thought("ab</th")])
    assert [(each.role, each.text) for each in trajectory.segments] == [
        (Role.THOUGHT, "ab</th"),
        (Role.THOUGHT, "ink>"),
        (Role.ANSWER, " \\boxed{Paris}<eos>"),
    ]
    trajectory, _ = play(["n_search>a</end_search>", ANSWER], [thought("ab<begi")])
    assert [(each.role, each.text) for each in trajectory.segments[:2]] == [
        (Role.THOUGHT, "ab<begi"),
        (Role.ACTION, "n_search>a</end_search>"),
    ]
    assert trajectory.calls()[0].parameters == "a"


def test_after_a_closed_thought_all_that_follows_is_the_answer():
    trajectory, _ = play([" \\boxed{Paris}<eos>"], [thought("ab</think>")])
    assert [(each.role, each.text) for each in trajectory.segments[1:]] == [(Role.ANSWER, " \\boxed{Paris}<eos>")]


def test_an_action_after_a_closed_thought_is_outside_of_it():
    trajectory, _ = play([SEARCH.format("b"), "<eos>"], [thought("ab</think>")])
    assert trajectory.counts.actions_outside_thought == 1


def searched(*queries: str) -> tuple[Segment, ...]:
    """Up to the observation of the last query."""
    trajectory, _ = play([*(f"I need {query} " + SEARCH.format(query) for query in queries), ANSWER])
    return trajectory.segments[:-2]


def test_a_rollout_goes_on_after_an_observation():
    begun = searched("a")
    assert begun[-1].role is Role.OBSERVATION
    trajectory, engine = play(["now I know " + ANSWER], begun)
    assert trajectory.segments[:3] == begun and trajectory.segments[3].text == "now I know </think>"
    assert engine.prompts[0][len(trajectory.prompt_ids) :] == tuple(token for each in begun for token in each.ids)


def test_actions_that_were_begun_count_towards_the_limit_and_all_other_counts_are_of_what_was_added():
    limits = replace(ROOMY, max_actions=2)
    trajectory, _ = play([SEARCH.format("b"), SEARCH.format("c"), "Paris}"], searched("a"), limits=limits)
    assert (trajectory.stop_reason, trajectory.counts.actions) == (StopReason.MAX_ACTIONS, 2)
    assert trajectory.counts.real_calls == 1 and trajectory.counts.turns == 3


def test_an_action_that_was_asked_in_the_beginning_is_a_repeated_one():
    trajectory, _ = play([SEARCH.format("a"), ANSWER], searched("a"))
    assert trajectory.counts.repeated_actions == 1


def test_an_action_that_was_refused_in_the_beginning_is_not_repeated_when_it_is_asked():
    short = replace(ROOMY, max_action_tokens=5)
    refused, _ = play(["I need a " + SEARCH.format("a"), ANSWER], limits=short)
    trajectory, _ = play([SEARCH.format("a"), ANSWER], refused.segments[:3])
    assert refused.counts.long_actions == 1 and trajectory.counts.repeated_actions == 0


def test_the_environment_is_told_which_call_it_is_with_the_beginning_counted():
    indexes = []

    class Counting:
        stops_at_observation = True

        async def answer(self, action, context):
            indexes.append(context.call_index)
            return Observation("found", Origin.REAL)

    play([SEARCH.format("b"), ANSWER], searched("a"), environment=Counting())
    assert indexes == [1]


def test_a_beginning_that_leaves_no_room_for_a_turn_gets_a_forced_answer():
    # 60 tokens less the reserve of 40: 20 for what was begun
    limits = Limits(max_response_tokens=60, answer_reserve_tokens=40)
    trajectory, _ = play(["Paris}"], [thought("x" * 20)], limits=limits)
    assert (trajectory.stop_reason, trajectory.forced_answer) == (StopReason.MAX_RESPONSE_TOKENS, True)
    assert trajectory.text() == "x" * 20 + "\n</think>\n\n\\boxed{Paris}"


def test_a_beginning_that_leaves_no_room_for_an_answer_samples_nothing():
    limits = Limits(max_response_tokens=60, answer_reserve_tokens=40)
    trajectory, engine = play([], [thought("x" * 21)], limits=limits)
    assert trajectory.stop_reason is StopReason.PROMPT_TOO_LONG
    assert engine.prompts == [] and trajectory.text() == "x" * 21


def test_a_watcher_is_told_what_is_added_and_not_what_was_begun():
    told: list[Segment] = []
    trajectory, _ = play([ANSWER], [thought("ab")], on_segment=told.append)
    assert tuple(told) == trajectory.segments[1:]


def test_a_turn_that_was_begun_twice_is_still_read_as_one():
    trajectory, _ = play(["nk> \\boxed{Paris}<eos>"], [thought("ab</"), thought("thi")])
    assert [each.text for each in trajectory.segments] == ["ab</", "thi", "nk>", " \\boxed{Paris}<eos>"]


def test_an_engine_that_samples_nothing_leaves_the_beginning_alone():
    trajectory = run(ScriptedEngine([Generation((), (), FinishReason.ABORT)]), [thought("ab")])
    assert trajectory.segments == (thought("ab"),) and trajectory.stop_reason is StopReason.ABORTED


# ----------------------------------------------------------------------------------------------------- what is refused


def segment(role: Role, text: str, source: Source = Source.POLICY) -> Segment:
    return Segment(role, source, tuple(CODEC.encode(text)), text)


RESULT = segment(Role.OBSERVATION, "\n\n<search_result> it </search_result>\n\n", Source.ENVIRONMENT)
ACTION = segment(Role.ACTION, SEARCH.format("a"))


@pytest.mark.parametrize(
    ("begun", "seen"),
    [
        ([thought("ab"), ACTION], "ends inside an action that nobody answered"),
        ([thought("ab"), segment(Role.ACTION, "<begin_search>a")], "'<begin_search>a'\\) ends inside an action"),
        ([thought("ab<begin_search>a")], "ends inside an action;"),
        ([thought("ab" + SEARCH.format("a"))], "ends inside an action;"),
        ([thought("ab</end_search>")], "ends inside an action;"),
        ([thought("ab</think>"), segment(Role.ANSWER, " \\boxed{P")], "ends inside an answer"),
        ([ACTION, segment(Role.OBSERVATION, "\n\n<search_result> i")], "ends inside an observation;"),
        ([thought("ab<search_result>")], "an observation that the policy opened itself"),
        ([ACTION, thought("ab")], "has an action that a thought follows"),
        ([thought("ab<eos>")], "has come to its end-of-sequence token"),
        ([replace(thought("ab"), text="cd")], "is not its ids', which say 'ab'"),
    ],
)
def test_a_beginning_that_no_rollout_can_go_on_from_is_refused_and_shown(begun, seen):
    with pytest.raises(TrajectoryError, match=seen) as raised:
        play([ANSWER], begun)
    assert "cut it inside a thought or after an observation" in str(raised.value)


def test_a_policy_that_imagines_its_observations_may_have_opened_one_in_its_thought():
    imagining = ScriptedEnvironment({}, stops_at_observation=False)
    trajectory, _ = play([ANSWER], [thought("ab<search_result>")], environment=imagining)
    assert trajectory.stop_reason is StopReason.ANSWERED
