"""A teacher without a language model: it says what it has read, wherever it is made to go on from."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
from chat_tokenizer import ChatTokenizer
from hypothesis import given
from hypothesis import strategies as st
from reading_teacher import MAX_NAMES, REMEMBERED, ReadingTeacher, guess, names, queries

from autocoa_plugin import AUTOCOA, Codec, Limits, Trajectory, rollout, score
from autocoa_plugin.answers import exact_match
from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.errors import ConfigError, EngineError
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.protocol import SEARCH_R1
from autocoa_plugin.testing import ScriptedEnvironment
from autocoa_plugin.trajectory import Role, StopReason

CODEC = Codec(ChatTokenizer(), AUTOCOA)
KIM = Question("kim", "Where was the author of Kim born?", ("Bombay", "Mumbai"))
EMMA = Question("emma", "In what year did Jane Austen publish Emma?", ("1815",))
BOTH = Question("both", "Are Kim and Emma both novels?", ("yes",))
SEA = Question("sea", "Who wrote The Sea Wolf?", ("Jack London",))
QUESTIONS = (KIM, EMMA, BOTH, SEA)
SHELF = {
    "Kim": "Kim is a novel by Rudyard Kipling, born in Mumbai.",
    "Emma": "Emma is a novel.",
    "Jane Austen": "Jane Austen published Emma in 1815.",
}
ACTIONS = tuple(tool.action.open for tool in AUTOCOA.tools)
FORBIDDEN = Sampling(0.6, {}, ACTIONS)
STEP_ENDS = ("\n", ". ", "? ", "! ")
LIMITS = Limits(max_action_tokens=400, answer_reserve_tokens=100)
OPENED = "<user>Where was the author of Kim born?<assistant><think>\nI wonder."


def teacher(**changed: Any) -> ReadingTeacher:
    return ReadingTeacher(**{"questions": QUESTIONS, "codec": CODEC, "knows_share": 0.0, "error_share": 0.0, **changed})


def play(question: Question, engine: ReadingTeacher, *, sampling: Sampling | None = None) -> Trajectory:
    shelf = ScriptedEnvironment(lambda action: SHELF.get(action.parameters, "nothing"))
    return asyncio.run(
        rollout(
            CODEC.encode(f"<user>{question.question}<assistant>"),
            engine=engine,
            environment=shelf,
            codec=CODEC,
            limits=LIMITS,
            sampling=sampling or Sampling(0.6, {}),
        )
    )


def is_right(trajectory: Trajectory, question: Question) -> bool:
    return score(trajectory, question.golds, AUTOCOA).parts["exact_match"] == 1


def said(text: str, engine: ReadingTeacher, *, stop: tuple[str, ...] = (), **sampling: Any) -> Generation:
    """What a teacher writes after a text."""
    stops = stop or AUTOCOA.stop_strings(stop_at_observation=True)
    call = engine.generate(CODEC.encode(text), max_tokens=2000, stop=stops, sampling=Sampling(0.6, **sampling))
    return asyncio.run(call)


def text_of(generation: Generation) -> str:
    return CODEC.decode(generation.ids)


def test_it_searches_what_the_question_names_and_concludes_what_a_passage_says() -> None:
    trajectory = play(KIM, teacher())
    assert [call.parameters for call in trajectory.calls()] == ["Kim"]
    assert score(trajectory, KIM.golds, AUTOCOA).answer == "Mumbai"  # the gold answer that was read, not the first one


def test_it_searches_on_where_the_answer_does_not_stand_and_then_gives_up_with_a_wrong_answer() -> None:
    trajectory = play(SEA, teacher())
    # the name, then the question's own words; neither is on the shelf
    assert [call.parameters for call in trajectory.calls()] == ["Sea Wolf", "wrote Sea Wolf"]
    assert trajectory.stop_reason is StopReason.ANSWERED and not is_right(trajectory, SEA)


def test_yes_or_no_is_concluded_when_everything_named_was_read_about() -> None:
    trajectory = play(BOTH, teacher())
    assert {call.parameters for call in trajectory.calls()} == {"Kim", "Emma"} and is_right(trajectory, BOTH)


def test_no_rollout_has_a_format_error() -> None:
    for question in QUESTIONS:
        for sampling in (Sampling(0.6, {}), FORBIDDEN):
            assert score(play(question, teacher(), sampling=sampling), question.golds, AUTOCOA).format_errors == ()


def test_without_a_tool_it_recalls_the_gold_answer_of_questions_it_knows_and_a_wrong_one_of_others() -> None:
    for question in QUESTIONS:
        known, unknown = (play(question, teacher(knows_share=share), sampling=FORBIDDEN) for share in (1.0, 0.0))
        assert is_right(known, question) and not is_right(unknown, question)
        assert known.counts.actions == unknown.counts.actions == 0


def test_the_questions_it_knows_are_drawn_by_seed() -> None:
    many = [Question(f"q{n}", f"Question number {n}?", (str(n),)) for n in range(400)]
    teachers = [ReadingTeacher(many, CODEC, knows_share=0.25, seed=seed) for seed in (0, 0, 1)]
    known = [[each.id for each in many if engine.knows(each)] for engine in teachers]
    assert known[0] == known[1] != known[2]
    # a quarter of 400 is 100, and its standard deviation 8.7: four of them on either side
    assert all(65 < len(each) < 135 for each in known)


def test_what_it_said_it_remembers_is_its_answer_with_the_tool_as_well() -> None:
    step = text_of(said(OPENED, teacher(knows_share=1.0), stop=STEP_ENDS, forbidden=ACTIONS))
    assert step == f" {REMEMBERED}Bombay. "
    assert text_of(said(OPENED + step, teacher())).endswith("\n</think>\n\n\\boxed{Bombay}<eos>")


@given(st.data(), st.sampled_from(QUESTIONS), st.booleans())
def test_it_goes_on_from_every_token_of_its_own_chains(data: st.DataObject, question: Question, knows: bool) -> None:
    engine = teacher(knows_share=float(knows))
    whole = play(question, engine)
    thought = next(segment for segment in whole.segments if segment.role is Role.THOUGHT)
    cut = data.draw(st.integers(0, len(thought.ids)))
    for opening, may_act in ((" <begin_search>", True), ("", True), ("", False)):
        ids = [*whole.prompt_ids, *thought.ids[:cut], *CODEC.encode(opening)]
        stops = AUTOCOA.stop_strings(stop_at_observation=True) if may_act else STEP_ENDS
        sampling = Sampling(0.6, {"seed": cut}, () if may_act else ACTIONS)
        written = asyncio.run(engine.generate(ids, max_tokens=2000, stop=stops, sampling=sampling))
        text = CODEC.decode(written.ids)
        assert text.strip() and written.logprobs is not None and len(written.logprobs) == len(written.ids)
        assert may_act or "<begin_search>" not in text
        assert written.ids[-1] in CODEC.end_ids or sum(stop in text for stop in stops) >= 1


def test_the_same_ids_and_seed_give_the_same_turn_and_other_seeds_other_ones() -> None:
    many = [KIM, *(Question(f"q{n}", f"Question {n}?", (f"Place {name}",)) for n, name in enumerate("ABCDEFGHI"))]
    turns = [
        said(OPENED, ReadingTeacher(many, CODEC, knows_share=0.0), forbidden=ACTIONS, options={"seed": seed})
        for seed in (1, 1, *range(2, 12))
    ]
    assert turns[0] == turns[1] and len({turn.ids for turn in turns}) > 1


def test_a_turn_is_cut_at_max_tokens() -> None:
    call = teacher().generate(CODEC.encode(OPENED), max_tokens=5, stop=(), sampling=Sampling())
    written = asyncio.run(call)
    assert len(written.ids) == len(written.logprobs or ()) == 5 and written.finish_reason is FinishReason.LENGTH


def test_a_prompt_without_a_known_question_is_refused() -> None:
    with pytest.raises(EngineError, match="finds none of its questions in the prompt '<user>Who\\?'"):
        said("<user>Who?", teacher())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"knows_share": 1.5}, "knows_share must be between 0 and 1, got 1.5"),
        ({"error_share": -0.1}, "error_share must be between 0 and 1, got -0.1"),
        ({"tool": "serch"}, "has no tool 'serch' \\(did you mean 'search'\\?\\)"),
        ({"codec": Codec(ChatTokenizer(), SEARCH_R1)}, "protocol 'search_r1' does not: take 'autocoa'"),
        ({"questions": ()}, "needs the questions it will be asked, got none"),
    ],
)
def test_a_teacher_that_cannot_be_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        teacher(**changed)


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("Are Christopher Nolan and Sathish Kalathil both film directors?", ["Christopher Nolan", "Sathish Kalathil"]),
        ('Who sang "A Man Without Love" in Little Rock, Arkansas?', ["A Man Without Love", "Little Rock, Arkansas"]),
        ("What language were books of the era of Haymo of Faversham?", ["Haymo of Faversham"]),
        ("which one is it?", []),
    ],
)
def test_names_are_quoted_titles_and_capitalised_spans(question: str, found: list[str]) -> None:
    assert names(question) == found


@given(st.text(max_size=200))
def test_any_question_has_a_query_and_few_names(text: str) -> None:
    found = queries(Question("q", text, ("gold",)))
    assert 1 <= len(found) <= MAX_NAMES + 1 and len(set(found)) == len(found)


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5), st.integers())
def test_a_guess_is_never_right(answers: list[str], seed: int) -> None:
    question = replace(KIM, golds=(answers[0],))
    assert not exact_match(guess(question, answers, random.Random(seed)), question.golds)
