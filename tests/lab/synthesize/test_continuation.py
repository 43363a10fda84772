"""How a chain goes on from a cut: ids are kept, what comes first is said, the rest is any rollout's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tokenizer_families import FAMILIES

from autocoa_plugin import AUTOCOA, Codec, Limits, Role, Segment, Source, StopReason, Trajectory, rollout
from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.errors import DataError, EngineError
from autocoa_plugin.lab.synthesize.steps import STEP_ENDS
from autocoa_plugin.lab.synthesize.teacher import OpenedEngine, StepFirstEngine, action_opening, head
from autocoa_plugin.testing import EOS_ID, CharTokenizer, ScriptedEngine, ScriptedEnvironment

CODEC = Codec(CharTokenizer(), AUTOCOA)
SEARCH = AUTOCOA.tool("search")
PROMPT, OTHER = CODEC.encode("tool<think>"), CODEC.encode("no tool<think>")
OPEN, CLOSE = "<begin_search>", "</end_search>"
T, A, O, E = Role.THOUGHT, Role.ACTION, Role.OBSERVATION, Role.ANSWER  # noqa: E741


def policy(role: Role, text: str, logprob: float | None = -0.5) -> Segment:
    ids = tuple(map(ord, text))
    return Segment(role, Source.POLICY, ids, text, None if logprob is None else (logprob,) * len(ids))


def chain(*segments: Segment) -> Trajectory:
    return Trajectory(tuple(PROMPT), segments, StopReason.ANSWERED, "autocoa")


def script(*turns, **options) -> ScriptedEngine:
    return ScriptedEngine(turns, encode=CODEC.encode, decode=CODEC.decode, **options)


def generate(engine, ids: Sequence[int], max_tokens: int = 100, stop: Sequence[str] = (CLOSE,), forbidden=()):
    sampling = Sampling(forbidden=forbidden)
    return asyncio.run(engine.generate(list(ids), max_tokens=max_tokens, stop=stop, sampling=sampling))


def roll(engine, begun: Sequence[Segment], limits: Limits | None = None) -> Trajectory:
    made = rollout(
        PROMPT,
        engine=engine,
        environment=ScriptedEnvironment(lambda action: f"about {action.parameters}"),
        codec=CODEC,
        limits=limits or Limits(),
        begun=begun,
    )
    return asyncio.run(made)


def shown(engine: ScriptedEngine) -> list[str]:
    return [CODEC.decode(ids) for ids in engine.prompts]


# ---------------------------------------------------------------------------------------------------------------- head


def test_the_head_of_a_chain_has_its_first_tokens_with_all_that_is_known_of_them():
    whole = chain(policy(T, "One"), policy(A, "act"), policy(T, "Two", None), policy(E, "x"))
    assert head(whole, 3, CODEC) == whole.segments[:1]
    assert head(whole, 5, CODEC) == (whole.segments[0], policy(A, "ac"))
    assert head(whole, 7, CODEC) == (*whole.segments[:2], policy(T, "T", None))
    assert head(whole, 10, CODEC) == whole.segments


def test_the_text_of_a_cut_segment_is_what_its_ids_decode_to():
    # the token ". S" reaches over the end of the segment's text: text and ids are cut apart elsewhere
    codec = Codec(CharTokenizer([". S"]), AUTOCOA)
    thought = Segment(T, Source.POLICY, tuple(codec.encode("It. So")), "It. ")
    assert [each.text for each in head(chain(thought), 3, codec)] == ["It. S"]


def test_half_a_character_stays_half_a_character():
    codec = Codec(FAMILIES["byte_bpe"](), AUTOCOA)
    ids = tuple(codec.encode("🙂"))
    assert len(ids) > 1
    kept = head(chain(Segment(T, Source.POLICY, ids, "🙂")), 1, codec)
    assert [(each.ids, each.text) for each in kept] == [(ids[:1], "\ufffd")]


@pytest.mark.parametrize("n_shared", [-1, 0, 4])
def test_a_cut_outside_the_response_is_refused(n_shared):
    with pytest.raises(DataError, match=f"n_shared must be between 1 and the 3 tokens of the response, got {n_shared}"):
        head(chain(policy(T, "One")), n_shared, CODEC)


# ------------------------------------------------------------------------------------------------- an action is begun


@pytest.mark.parametrize(
    ("before", "expected"), [("So.", " " + OPEN), ("So. ", OPEN), ("So.\n", OPEN), ("", OPEN), ("\ufffd", " " + OPEN)]
)
def test_an_action_is_opened_after_one_white_space(before, expected):
    assert CODEC.decode(action_opening(SEARCH, before, CODEC)) == expected


def test_an_opened_turn_begins_with_the_opening_and_is_one_generation():
    engine = script("query</end_search>")
    ids, opening = CODEC.encode("qso "), CODEC.encode(OPEN)
    turn = generate(OpenedEngine(engine, opening, at=len(ids)), ids)
    assert CODEC.decode(turn.ids) == f"{OPEN}query{CLOSE}"
    assert turn.logprobs is None  # nobody sampled the opening
    assert shown(engine) == [f"qso {OPEN}"]
    assert engine.requests[0]["max_tokens"] == 100 - len(opening)
    assert engine.requests[0]["stop"] == (CLOSE,)


def test_an_opened_action_is_not_opened_again():
    engine = script("query</end_search>", "and on")
    opened = OpenedEngine(engine, CODEC.encode(OPEN), at=1, forbidden=(OPEN,))
    generate(opened, [97], forbidden=("bad",))
    generate(opened, [97, 98])
    assert [each["sampling"].forbidden for each in engine.requests] == [("bad", OPEN), ()]


def test_only_the_turn_at_the_cut_is_opened():
    engine = script("one", "two")
    opened = OpenedEngine(engine, CODEC.encode(OPEN), at=5)
    assert [CODEC.decode(generate(opened, CODEC.encode(text)).ids) for text in ("four", "sixsix")] == ["one", "two"]
    assert engine.requests[0]["max_tokens"] == 100


def test_an_opening_without_room_is_cut_and_nothing_is_sampled():
    engine = script()
    turn = generate(OpenedEngine(engine, CODEC.encode(OPEN), at=1), [97], max_tokens=14)
    assert (CODEC.decode(turn.ids), turn.finish_reason) == (OPEN, FinishReason.LENGTH)
    turn = generate(OpenedEngine(engine, CODEC.encode(OPEN), at=1), [97], max_tokens=6)
    assert (CODEC.decode(turn.ids), turn.logprobs) == ("<begin", None)


def test_an_abandoned_turn_stays_abandoned():
    opened = OpenedEngine(script(Generation((97,), (-1.0,), FinishReason.ABORT)), [98], at=1)
    assert generate(opened, [97]) == Generation((98, 97), None, FinishReason.ABORT)


def test_a_chain_of_thought_becomes_a_chain_of_action():
    wrong = chain(policy(T, "So. I recall x.</think>"), policy(E, " no<eos>"))
    begun = head(wrong, 4, CODEC)
    engine = script(f" x {CLOSE}", "Aha.</think>", " no more turns")
    at = len(PROMPT) + 4
    made = roll(OpenedEngine(engine, action_opening(SEARCH, "So. ", CODEC), at=at), begun)
    assert [(each.role, each.text) for each in made.segments] == [
        (T, "So. "),
        (A, f"{OPEN} x {CLOSE}"),
        (O, "\n\n<search_result> about x </search_result>\n\n"),
        (T, "Aha.</think>"),
    ]
    assert made.segments[0] == begun[0]
    assert made.segments[1].logprobs is None and made.segments[3].logprobs == (-0.5,) * 12
    assert made.response_mask[:4] == [1] * 4 and made.segments[1].is_trained
    assert shown(engine)[0] == f"tool<think>So. {OPEN}"
    # what the engine was shown next is what it was shown first, what it sampled and what was injected
    assert engine.prompts[1] == tuple(PROMPT) + tuple(made.response_ids[: len(made.response_ids) - 12])


def test_a_forced_answer_is_not_opened_as_an_action():
    # 4 tokens were begun and the reserve is all that is left: the answer is forced at once
    limits = Limits(max_response_tokens=44, answer_reserve_tokens=40)
    engine = script("x}")
    made = roll(OpenedEngine(engine, CODEC.encode(OPEN), at=len(PROMPT) + 4), [policy(T, "So. ")], limits)
    assert made.text() == "So. \n</think>\n\n\\boxed{x}"


# ------------------------------------------------------------------------------------------ an action is not taken


def step_first(engine, at: int, *, max_tokens: int = 50) -> StepFirstEngine:
    return StepFirstEngine(
        engine,
        CODEC,
        at=at,
        n_prompt=len(PROMPT),
        other_prompt_ids=OTHER,
        stop=STEP_ENDS,
        forbidden=(OPEN,),
        max_tokens=max_tokens,
    )


AT = [*PROMPT, *CODEC.encode("So. ")]


def test_a_step_is_sampled_under_the_other_prompt_and_the_turn_goes_on_under_the_real_one():
    engine = script("I recall x. And more", f"Now {OPEN} y {CLOSE}")
    turn = generate(step_first(engine, len(AT)), AT, forbidden=("bad",))
    assert CODEC.decode(turn.ids) == f"I recall x. Now {OPEN} y {CLOSE}"
    assert turn.logprobs == (-0.5,) * len(turn.ids)
    assert shown(engine) == ["no tool<think>So. ", "tool<think>So. I recall x. "]
    assert [each["stop"] for each in engine.requests] == [STEP_ENDS, (CLOSE,)]
    assert [each["sampling"].forbidden for each in engine.requests] == [("bad", OPEN), ("bad",)]
    # of 100 tokens for the turn, 12 were spent on the step, which may have 50
    assert [each["max_tokens"] for each in engine.requests] == [50, 88]


def test_the_token_that_shows_the_end_of_a_step_is_sampled_again_under_the_real_prompt():
    # " Next" is one token, as in most tokenizers: only with it does the text hold ". "
    codec = Codec(CharTokenizer(merges=[" Next"]), AUTOCOA)
    turns = ("I recall Rome. Next I need y.", "</think>\\boxed{Rome}<eos>")
    engine = ScriptedEngine(turns, encode=codec.encode, decode=codec.decode)
    opened = StepFirstEngine(
        engine,
        codec,
        at=len(AT),
        n_prompt=len(PROMPT),
        other_prompt_ids=OTHER,
        stop=STEP_ENDS,
        forbidden=(OPEN,),
        max_tokens=50,
    )
    turn = generate(opened, AT)
    assert codec.decode(turn.ids) == "I recall Rome.</think>\\boxed{Rome}<eos>"
    assert codec.decode(engine.prompts[1]) == "tool<think>So. I recall Rome." and len(turn.logprobs) == len(turn.ids)


def test_a_blank_line_is_no_step():
    engine = script("\n", " \n", "I recall x.\n", "So on")
    turn = generate(step_first(engine, len(AT)), AT)
    assert CODEC.decode(turn.ids) == "\n \nI recall x.\nSo on"
    assert shown(engine)[1:3] == ["no tool<think>So. \n", "no tool<think>So. \n \n"]
    assert [each["max_tokens"] for each in engine.requests] == [50, 49, 47, 85]


def test_blank_lines_come_to_an_end():
    engine = script("\n", "\n", "\n", "\n", "so")
    assert CODEC.decode(generate(step_first(engine, len(AT)), AT).ids) == "\n\n\n\nso"
    assert shown(engine)[-1].startswith("tool<think>")


@pytest.mark.parametrize("last", ["I know.<eos>", f"x {CLOSE}"])
def test_a_step_that_ends_the_turn_is_the_turn(last):
    engine = script(last)
    assert CODEC.decode(generate(step_first(engine, len(AT)), AT).ids) == last


def test_a_step_that_was_abandoned_or_fills_the_turn_is_the_turn():
    abandoned = Generation((97,), (-1.0,), FinishReason.ABORT)
    assert generate(step_first(script(abandoned), len(AT)), AT) == abandoned
    engine = script("so on and on")
    turn = generate(step_first(engine, len(AT)), AT, max_tokens=5)
    assert (CODEC.decode(turn.ids), turn.finish_reason) == ("so on", FinishReason.LENGTH)


def test_a_step_longer_than_it_may_be_is_left_there():
    engine = script("abcdefgh", "rest")
    turn = generate(step_first(engine, len(AT), max_tokens=3), AT)
    assert (CODEC.decode(turn.ids), turn.finish_reason) == ("abcrest", FinishReason.STOP)


def test_an_engine_that_samples_nothing_is_not_asked_again_and_again():
    engine = script("", "rest")
    assert CODEC.decode(generate(step_first(engine, len(AT)), AT).ids) == "rest"


@pytest.mark.parametrize("unknown", [0, 1])
def test_log_probabilities_are_known_when_both_parts_have_them(unknown):
    parts = [Generation((97, 46, 32), (-1.0,) * 3, FinishReason.STOP), Generation((98,), (-2.0,), FinishReason.LENGTH)]
    assert generate(step_first(script(*parts), len(AT)), AT).logprobs == (-1.0, -1.0, -1.0, -2.0)
    parts[unknown] = Generation(parts[unknown].ids, None, FinishReason.STOP)
    assert generate(step_first(script(*parts), len(AT)), AT).logprobs is None


def test_only_the_turn_at_the_cut_begins_with_a_step():
    engine = script("one")
    assert CODEC.decode(generate(step_first(engine, len(AT)), [*AT, 97]).ids) == "one"
    assert shown(engine) == ["tool<think>So. a"]


def test_both_prompts_fit_into_the_context():
    # the other prompt is 3 tokens longer ("no " before "tool")
    assert step_first(script(max_context_tokens=100), 1).max_context_tokens == 97
    assert step_first(script(), 1).max_context_tokens is None
    assert OpenedEngine(script(max_context_tokens=100), [97], at=1).max_context_tokens == 100


def test_what_the_engine_raises_is_raised():
    for engine in (step_first(script(), len(AT)), OpenedEngine(script(), [97], at=len(AT))):
        with pytest.raises(EngineError, match="the script is exhausted"):
            generate(engine, AT)


def test_a_chain_of_action_thinks_one_step_and_may_act_after_it():
    found = "<search_result> d </search_result>"
    observed = Segment(O, Source.ENVIRONMENT, tuple(map(ord, found)), found)
    begun = [policy(T, "So. "), policy(A, f"{OPEN}a{CLOSE}"), observed, policy(T, "Now ")]
    at = len(PROMPT) + sum(len(each.ids) for each in begun)
    engine = script("I know b. ", f"But {OPEN}c{CLOSE}", "Ah.</think>\\boxed{b}<eos>")
    made = roll(step_first(engine, at), begun)
    assert [(each.role, each.text) for each in made.segments[4:]] == [
        (T, "I know b. But "),
        (A, f"{OPEN}c{CLOSE}"),
        (O, "\n\n<search_result> about c </search_result>\n\n"),
        (T, "Ah.</think>"),
        (E, "\\boxed{b}<eos>"),
    ]
    assert made.segments[:4] == tuple(begun)
    assert made.stop_reason is StopReason.ANSWERED and made.response_ids[-1] == EOS_ID
