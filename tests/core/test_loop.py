"""The rollout loop, one property per test. Ids are code points (`CharTokenizer`), so they can be read."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from autocoa_plugin import AUTOCOA, SEARCH_R1, Codec, Limits, Role, Source, StopReason, rollout
from autocoa_plugin.engines.base import FinishReason, Generation
from autocoa_plugin.environments.base import Observation
from autocoa_plugin.errors import ConfigError, EngineError, ToolUnavailableError
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment
from autocoa_plugin.trajectory import Origin, Outcome

TOKENIZER = CharTokenizer()
SEARCH = "<begin_search>{}</end_search>"
ANSWER = "</think> \\boxed{Paris}<eos>"
ROOMY = Limits(max_response_tokens=4000, answer_reserve_tokens=100)


def run(turns, answers=None, *, prompt="q<think>", limits=ROOMY, protocol=AUTOCOA, tokenizer=TOKENIZER, **engine):
    codec = Codec(tokenizer, protocol)
    scripted = ScriptedEngine(turns, encode=codec.encode, decode=codec.decode, **engine)
    environment = answers if isinstance(answers, ScriptedEnvironment) else ScriptedEnvironment(answers or {})
    trajectory = asyncio.run(
        rollout(tokenizer.encode(prompt), engine=scripted, environment=environment, codec=codec, limits=limits)
    )
    return trajectory, scripted, environment


def roles(trajectory):
    return [(segment.role, segment.source, segment.text) for segment in trajectory.segments]


def test_a_search_and_an_answer_become_segments_with_role_and_source():
    trajectory, _, _ = run(["I need it " + SEARCH.format("capital"), "so " + ANSWER], {"capital": "Paris is it"})
    assert roles(trajectory) == [
        (Role.THOUGHT, Source.POLICY, "I need it "),
        (Role.ACTION, Source.POLICY, "<begin_search>capital</end_search>"),
        (Role.OBSERVATION, Source.ENVIRONMENT, "\n\n<search_result> Paris is it </search_result>\n\n"),
        (Role.THOUGHT, Source.POLICY, "so </think>"),
        (Role.ANSWER, Source.POLICY, " \\boxed{Paris}<eos>"),
    ]
    assert trajectory.stop_reason is StopReason.ANSWERED
    assert trajectory.counts.real_calls == trajectory.counts.actions == 1


def test_a_watcher_is_told_every_segment_when_it_is_appended():
    codec, told = Codec(TOKENIZER, AUTOCOA), []
    engine = ScriptedEngine([SEARCH.format("a"), ANSWER], encode=codec.encode, decode=codec.decode)
    environment = ScriptedEnvironment(lambda action: f"after {len(told)}")
    watched = rollout([1], engine=engine, environment=environment, codec=codec, limits=ROOMY, on_segment=told.append)
    trajectory = asyncio.run(watched)
    assert tuple(told) == trajectory.segments
    assert "after 1" in told[1].text  # the action was told before the tool was asked


def test_the_engine_is_shown_the_earlier_ids_plus_what_was_sampled_plus_what_was_injected():
    trajectory, engine, _ = run([SEARCH.format("a"), SEARCH.format("b"), ANSWER], {"a": "one", "b": "two"})
    shown, ids = engine.prompts, list(trajectory.prompt_ids)
    assert shown[0] == tuple(ids)
    for call, (action, observation) in enumerate(
        zip(trajectory.segments[0::2], trajectory.segments[1::2], strict=False)
    ):
        ids += [*action.ids, *observation.ids]
        if call + 1 < len(shown):
            assert shown[call + 1] == tuple(ids)
    assert len(shown) == 3


def test_mask_is_one_on_sampled_thought_action_answer_and_zero_on_observations():
    trajectory, _, _ = run(["ab" + SEARCH.format("x"), "c</think>\\boxed{d}<eos>"], {"x": "obs"})
    # 2 thought + 14 tag + 1 query + 13 tag; "\n\n<search_result> obs </search_result>\n\n" is 2+15+4+1+16+2 characters
    assert trajectory.response_mask == [1] * 30 + [0] * 40 + [1] * (1 + 8 + 10)
    assert len(trajectory.response_mask) == len(trajectory.response_ids) == len(trajectory.response_logprobs)
    assert all(
        value == 0.0
        for value, bit in zip(trajectory.response_logprobs, trajectory.response_mask, strict=True)
        if not bit
    )


def test_a_tag_that_ends_inside_a_token_keeps_the_token_and_drops_nothing():
    tokenizer = CharTokenizer(["</end_search>\n\nSo"])
    trajectory, engine, environment = run(
        ["<begin_search>q</end_search>\n\nSo", ANSWER], {"q": "r"}, tokenizer=tokenizer
    )
    assert trajectory.segments[0].ids[-1] == 3_000_000
    assert trajectory.segments[0].text.endswith("</end_search>\n\nSo")
    assert environment.asked[0].parameters == "q"
    assert engine.prompts[1][: len(engine.prompts[0]) + 16][-1] == 3_000_000


def test_a_tag_that_begins_inside_a_token_gives_the_token_to_the_action_and_the_text_to_each():
    tokenizer = CharTokenizer([". <begin"])
    trajectory, _, _ = run(["ab. <begin_search>q</end_search>", ANSWER], {"q": "r"}, tokenizer=tokenizer)
    thought, action = trajectory.segments[:2]
    assert (thought.ids, thought.text) == ((ord("a"), ord("b")), "ab. ")
    assert action.ids[0] == 3_000_000 and action.text == SEARCH.format("q")


def test_two_tools_live_side_by_side():
    trajectory, _, environment = run(
        ["<begin_calculate>1+1</end_calculate>", SEARCH.format("two"), ANSWER], {"1+1": "2", "two": "a number"}
    )
    assert [action.tool for action in environment.asked] == ["calculate", "search"]
    assert trajectory.segments[1].text == "\n\n<calculate_result> 2 </calculate_result>\n\n"


def test_a_turn_stops_at_every_closing_tag_and_at_an_opened_observation():
    _, engine, _ = run([ANSWER])
    assert set(engine.requests[0]["stop"]) == {
        "</end_search>",
        "</end_calculate>",
        "<search_result>",
        "<calculate_result>",
    }


def test_a_simulated_environment_does_not_stop_at_an_opened_observation():
    _, engine, _ = run([ANSWER], ScriptedEnvironment({}, stops_at_observation=False))
    assert set(engine.requests[0]["stop"]) == {"</end_search>", "</end_calculate>"}


def test_an_invented_observation_is_answered_by_a_notice_and_asks_no_tool():
    trajectory, _, environment = run(["I see <search_result> Paris", ANSWER], {})
    notice = AUTOCOA.notices.invented
    assert roles(trajectory)[:2] == [
        (Role.THOUGHT, Source.POLICY, "I see <search_result>"),
        (Role.OBSERVATION, Source.ENVIRONMENT, f" {notice} </search_result>\n\n"),
    ]
    assert environment.asked == [] and trajectory.counts.invented_observations == 1
    assert trajectory.counts.notices == trajectory.counts.actions == 1


@pytest.mark.parametrize(
    ("turn", "counter", "notice"),
    [
        ("<begin_search>  </end_search>", "empty_actions", AUTOCOA.notices.empty_action),
        ("no opening </end_search>", "malformed_actions", AUTOCOA.notices.malformed_action),
        ("<begin_calculate>1</end_search>", "malformed_actions", AUTOCOA.notices.malformed_action),
        ("</think> <begin_search>q</end_search>", "actions_outside_thought", AUTOCOA.notices.outside_thought),
        (SEARCH.format("q" * 500), "long_actions", AUTOCOA.notices.long_action),
    ],
)
def test_an_action_that_cannot_be_executed_gets_a_notice_and_is_counted(turn, counter, notice):
    trajectory, _, environment = run([turn, ANSWER], {"q": "r"})
    assert getattr(trajectory.counts, counter) == 1
    assert environment.asked == []
    observation = next(segment for segment in trajectory.segments if segment.role is Role.OBSERVATION)
    assert notice in observation.text
    assert observation.call is not None and observation.call.outcome == Outcome.REFUSED
    assert trajectory.stop_reason is StopReason.ANSWERED


def test_of_nested_openings_the_innermost_is_executed():
    _, _, environment = run(["<begin_search>a <begin_search>b</end_search>", ANSWER], {"b": "r"})
    assert environment.asked[0].parameters == "b"


def test_a_repeated_action_is_executed_again_and_counted():
    trajectory, _, environment = run([SEARCH.format("q"), SEARCH.format("q"), ANSWER], {"q": "r"})
    assert len(environment.asked) == 2 and trajectory.counts.repeated_actions == 1


def test_the_action_after_the_last_allowed_one_ends_the_loop_with_a_forced_answer():
    limits = Limits(max_actions=1, max_response_tokens=1000, answer_reserve_tokens=100)
    trajectory, engine, environment = run([SEARCH.format("a"), SEARCH.format("b"), "Paris}"], {"a": "r"}, limits=limits)
    assert trajectory.stop_reason is StopReason.MAX_ACTIONS and trajectory.forced_answer
    assert len(environment.asked) == 1
    assert roles(trajectory)[-2:] == [
        (Role.ANSWER, Source.TEMPLATE, "\n</think>\n\n\\boxed{"),
        (Role.ANSWER, Source.POLICY, "Paris}"),
    ]
    assert engine.requests[-1]["stop"] == ("}",)
    assert AUTOCOA.extract_answer(trajectory.final_run()) == "Paris"


def test_injected_answer_openings_carry_no_loss():
    limits = Limits(max_turn_tokens=3, max_response_tokens=1000, answer_reserve_tokens=100)
    trajectory, _, _ = run(["abcdef", "P}"], limits=limits)
    assert trajectory.stop_reason is StopReason.MAX_TURN_TOKENS
    assert trajectory.response_mask == [1, 1, 1] + [0] * len("\n</think>\n\n\\boxed{") + [1, 1]


def test_a_forced_answer_with_nested_braces_is_completed():
    limits = Limits(max_turn_tokens=2, max_response_tokens=1000, answer_reserve_tokens=100)
    trajectory, _, _ = run(["ab", "\\text{Paris}", "}"], limits=limits)
    assert AUTOCOA.extract_answer(trajectory.final_run()) == "Paris"


def test_a_box_cut_by_a_limit_is_continued_without_injecting():
    limits = Limits(max_turn_tokens=len("</think>\\boxed{Pa"), max_response_tokens=1000, answer_reserve_tokens=100)
    trajectory, _, _ = run(["</think>\\boxed{Paris}", "ris}"], limits=limits)
    assert not trajectory.forced_answer and trajectory.stop_reason is StopReason.MAX_TURN_TOKENS
    assert AUTOCOA.extract_answer(trajectory.final_run()) == "Paris"
    assert all(segment.source is Source.POLICY for segment in trajectory.segments)


def test_the_answer_keeps_its_reserve_whatever_is_sampled_and_injected():
    limits = Limits(max_response_tokens=200, answer_reserve_tokens=40)
    trajectory, engine, _ = run([SEARCH.format("q"), "x" * 500, "P}"], {"q": "long " * 100}, limits=limits)
    assert trajectory.stop_reason is StopReason.MAX_RESPONSE_TOKENS and trajectory.forced_answer
    assert engine.requests[0]["max_tokens"] == 160
    assert engine.requests[-1]["max_tokens"] == 40 - len("\n</think>\n\n\\boxed{")
    assert len(trajectory.response_ids) <= 200 and trajectory.counts.truncated_observations == 1


def test_an_observation_is_cut_to_its_limit_in_tokens_with_its_tags_whole():
    limits = Limits(max_observation_tokens=60, max_response_tokens=1000, answer_reserve_tokens=100)
    trajectory, _, _ = run([SEARCH.format("q"), ANSWER], {"q": "abcdefghij" * 50}, limits=limits)
    observation = trajectory.segments[1]
    assert len(observation.ids) == 60 and trajectory.counts.truncated_observations == 1
    assert observation.text.startswith("\n\n<search_result> abc") and observation.text.endswith(" </search_result>\n\n")


def test_no_tool_is_asked_when_its_observation_could_not_be_appended():
    limits = Limits(max_response_tokens=100, answer_reserve_tokens=40)
    trajectory, _, environment = run([SEARCH.format("q" * 20), "P}"], {}, limits=limits)
    assert environment.asked == [] and trajectory.stop_reason is StopReason.MAX_RESPONSE_TOKENS


def test_an_unclosed_action_at_the_limit_is_counted_and_an_answer_is_forced():
    limits = Limits(max_turn_tokens=20, max_response_tokens=1000, answer_reserve_tokens=100)
    trajectory, _, environment = run(["<begin_search>never closed at all", "P}"], limits=limits)
    assert trajectory.counts.unclosed_actions == 1 and environment.asked == []
    assert trajectory.segments[0].role is Role.ACTION and trajectory.forced_answer


def test_a_turn_that_ends_without_an_answer_is_no_answer_and_nothing_is_forced():
    trajectory, _, _ = run(["I do not know</think><eos>"])
    assert trajectory.stop_reason is StopReason.NO_ANSWER and not trajectory.forced_answer


def test_an_answer_box_before_an_action_is_not_the_final_answer():
    trajectory, _, _ = run(["\\boxed{Rome} " + SEARCH.format("q"), "hm</think><eos>"], {"q": "r"})
    assert trajectory.stop_reason is StopReason.NO_ANSWER


@pytest.mark.parametrize(
    ("failure", "outcome", "counter"),
    [
        (ToolUnavailableError("connection refused"), Outcome.ERROR, "tool_errors"),
        (TimeoutError(), Outcome.TIMEOUT, "tool_timeouts"),
        (ZeroDivisionError("bug in a tool"), Outcome.ERROR, "tool_errors"),
    ],
)
def test_a_failing_tool_becomes_a_typed_observation_and_the_rollout_goes_on(failure, outcome, counter):
    trajectory, _, _ = run([SEARCH.format("q"), ANSWER], {"q": failure})
    (call,) = trajectory.calls()
    assert call.outcome == outcome and call.error is not None and call.error.startswith(type(failure).__name__)
    assert getattr(trajectory.counts, counter) == 1 and trajectory.stop_reason is StopReason.ANSWERED


def test_an_empty_result_is_told_and_counted():
    trajectory, _, _ = run([SEARCH.format("unknown"), ANSWER], {})
    assert trajectory.counts.empty_results == 1 and AUTOCOA.notices.empty_result in trajectory.segments[1].text


@pytest.mark.parametrize("wrong", [{"origin": "web"}, {"outcome": "fine"}, {"counts": {"real_calls": 1}}])
def test_an_environment_that_answers_in_words_of_its_own_is_a_failed_call(wrong):
    def answer(_):
        return Observation("x", **{"origin": Origin.REAL, **wrong})

    trajectory, *_ = run([SEARCH.format("q"), ANSWER], ScriptedEnvironment(answer))
    assert trajectory.counts.tool_errors == 1 and next(iter(wrong)) in str(trajectory.calls()[0].error).lower()


def test_a_slow_tool_is_cut_off_after_the_call_timeout():
    class Sleeper:
        stops_at_observation = True

        async def answer(self, action, context):
            await asyncio.sleep(30)

    codec = Codec(TOKENIZER, AUTOCOA)
    engine = ScriptedEngine([SEARCH.format("q"), ANSWER], encode=codec.encode, decode=codec.decode)
    limits = Limits(max_response_tokens=1000, answer_reserve_tokens=100, call_timeout_s=0.02)
    trajectory = asyncio.run(rollout([1], engine=engine, environment=Sleeper(), codec=codec, limits=limits))
    assert trajectory.counts.tool_timeouts == 1 and trajectory.calls()[0].seconds < 5


def test_the_wall_clock_of_a_trajectory_ends_it_with_a_forced_answer():
    class SlowEngine(ScriptedEngine):
        async def generate(self, ids, **options):
            await asyncio.sleep(0.03)
            return await super().generate(ids, **options)

    codec = Codec(TOKENIZER, AUTOCOA)
    engine = SlowEngine([SEARCH.format("q"), "P}"], encode=codec.encode, decode=codec.decode)
    limits = Limits(max_response_tokens=1000, answer_reserve_tokens=100, trajectory_timeout_s=0.02)
    trajectory = asyncio.run(
        rollout([1], engine=engine, environment=ScriptedEnvironment({}), codec=codec, limits=limits)
    )
    assert trajectory.stop_reason is StopReason.TIMEOUT and trajectory.forced_answer


def test_a_prompt_without_room_for_an_answer_samples_nothing():
    trajectory, engine, _ = run([], prompt="x" * 100, max_context_tokens=150)
    assert trajectory.stop_reason is StopReason.PROMPT_TOO_LONG and engine.prompts == [] and trajectory.segments == ()


def test_an_aborted_request_ends_on_a_policy_token():
    aborted = Generation((), (), FinishReason.ABORT)
    trajectory, _, _ = run([SEARCH.format("q"), aborted], {"q": "r"})
    assert trajectory.stop_reason is StopReason.ABORTED
    assert trajectory.segments[-1].role is Role.ACTION and trajectory.response_mask[-1] == 1


def test_an_observation_sampled_by_the_policy_is_masked_and_keeps_its_log_probabilities():
    sampled = Generation(tuple(map(ord, " imagined")), (-0.25,) * 9, FinishReason.STOP)
    imagined = Observation(" imagined", Origin.WORLD_MODEL, generation=sampled)
    trajectory, engine, _ = run([SEARCH.format("q"), ANSWER], {"q": imagined})
    segment = next(each for each in trajectory.segments if each.text == " imagined")
    assert (segment.role, segment.source, segment.logprobs) == (Role.OBSERVATION, Source.POLICY, (-0.25,) * 9)
    at = trajectory.response_ids.index(ord("i"), 28)
    assert trajectory.response_mask[at] == 0 and trajectory.counts.sampled_observation_tokens == 9
    assert tuple(trajectory.prompt_ids) + tuple(trajectory.response_ids[: -len(ANSWER) + 4]) == engine.prompts[1]


def test_an_imagined_observation_that_does_not_fit_is_left_out_and_its_tokens_are_counted():
    sampled = Generation(tuple(map(ord, "x" * 400)), None, FinishReason.LENGTH)
    imagined = Observation("x" * 400, Origin.WORLD_MODEL, generation=sampled)
    trajectory, _, _ = run(
        [SEARCH.format("q"), "42}"], {"q": imagined}, limits=replace(ROOMY, max_observation_tokens=200)
    )
    assert trajectory.stop_reason is StopReason.MAX_RESPONSE_TOKENS
    assert trajectory.counts.discarded_observation_tokens == 400 and trajectory.counts.simulated_calls == 1
    assert not any(segment.role is Role.OBSERVATION for segment in trajectory.segments)


def test_search_r1_ends_at_the_closed_answer_and_acts_outside_the_thought():
    turns = ["<think>a</think><search>q</search>", "<think>b</think><answer>Paris</answer>"]
    trajectory, _, environment = run(turns, {"q": "doc"}, prompt="q", protocol=SEARCH_R1)
    assert trajectory.stop_reason is StopReason.ANSWERED and environment.asked[0].parameters == "q"
    assert SEARCH_R1.extract_answer(trajectory.final_run()) == "Paris"
    assert trajectory.segments[-1].role is Role.ANSWER


def test_an_engine_that_returns_more_than_was_asked_for_is_an_error():
    too_many = Generation((1,) * 50, None, FinishReason.STOP)
    with pytest.raises(EngineError, match="50 ids, at most 10"):
        run([too_many], limits=Limits(max_turn_tokens=10, max_response_tokens=1000, answer_reserve_tokens=100))


def test_a_reserve_that_cannot_hold_the_forced_answer_is_refused():
    with pytest.raises(ConfigError, match=r"answer_reserve_tokens must be >= 19 .* got 5"):
        run([ANSWER], limits=Limits(answer_reserve_tokens=5))
