"""What people see of a rollout and what is kept of it; engines and environments are scripted, ids are code points."""

from __future__ import annotations

import asyncio
import io
import re
from pathlib import Path

import pytest
from chat_tokenizer import ChatTokenizer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from autocoa_plugin import AUTOCOA, Codec, Limits
from autocoa_plugin.answering import WorldModelSettings
from autocoa_plugin.dump import read_dump
from autocoa_plugin.engines.base import Sampling
from autocoa_plugin.environments.world_model import build_world_model
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.lab.asking.prompting import Prompting
from autocoa_plugin.lab.asking.question import Question
from autocoa_plugin.lab.chat.screen import Screen, harmless, summary_line
from autocoa_plugin.lab.chat.session import Answered, SaveFile, Session
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment
from autocoa_plugin.tinyworld.sockets import spell_words

CODEC = Codec(CharTokenizer(), AUTOCOA)
LIMITS = Limits(max_response_tokens=4000, answer_reserve_tokens=100, max_actions=2)
TURNS = ("I look.<begin_search>Kim author</end_search>", "It says Kipling.</think> \\boxed{Kipling}<eos>")
HOSTILE = "\x1b[31mred\x1b]0;title\x07 \x9b2J\u202egnp\r\x08\ud800"


def play(turns=TURNS, environment=None, *, terminal=False, limits=LIMITS, sampling=None) -> tuple[Answered, str]:
    """One question with these turns; also returns what was written to the console."""
    tokenizer, written = ChatTokenizer("<think>\n"), io.StringIO()
    session = Session(
        ScriptedEngine(turns, encode=CODEC.encode, decode=CODEC.decode),
        environment or ScriptedEnvironment({"Kim author": "Kim is by Kipling."}),
        CODEC,
        Prompting(tokenizer, "autocoa_search"),
        limits,
        sampling or Sampling(0.0),
    )
    console = Console(file=written, force_terminal=terminal, color_system="standard" if terminal else None)
    screen = Screen(console)
    answered = asyncio.run(session.ask(Question("chat-0", "Who wrote Kim?", ()), screen))
    screen.end()
    return answered, written.getvalue()


def without_seconds(text: str) -> str:
    return re.sub(r"\d\.\d\d s", "0.00 s", text)


# --- what is shown


def test_each_role_is_a_labelled_paragraph_in_the_order_of_the_chain():
    _, text = play()
    assert without_seconds(text).splitlines() == [
        "thought          I look.",
        "search           Kim author",
        "real 0.00 s      Kim is by Kipling.",
        "thought          It says Kipling.",
        "answer           \\boxed{Kipling}",
    ]


def test_escapes_of_a_document_and_of_the_policy_never_reach_the_terminal():
    turns = ["I look.<begin_search>Kim author</end_search>", f"{HOSTILE[:-1]}</think> \\boxed{{x}}<eos>"]
    _, text = play(turns, ScriptedEnvironment({"Kim author": HOSTILE}))
    assert "red" in text and "gnp" in text
    assert harmless(text) == text  # nothing in it that a terminal would obey


@given(st.text())
def test_shown_text_keeps_its_length_and_has_no_control_character_but_tab_and_newline(text):
    shown = harmless(text)
    assert len(shown) == len(text) and not any(
        ord(each) < 32 or 127 <= ord(each) < 160 for each in shown if each not in "\t\n"
    )


def test_a_refused_action_is_a_notice():
    _, text = play(["<begin_search> </end_search>", TURNS[1]])
    assert "notice 0.00 s    [refused] error : empty query ." in without_seconds(text)


def test_a_forced_answer_is_marked_and_keeps_its_role_whatever_tags_follow():
    turns = ["I look.<begin_search>Kim author</end_search>", "Kipling<begin_search>}"]
    answered, text = play(turns, limits=Limits(max_response_tokens=4000, answer_reserve_tokens=100, max_actions=0))
    assert answered.answer == "Kipling<begin_search>" and answered.trajectory.forced_answer
    assert text.splitlines()[-1] == "answer, forced   \\boxed{Kipling<begin_search>}"


def test_what_the_policy_imagines_is_an_observation_and_not_its_thought():
    turns = [TURNS[0], " Kim is by Twain. </search_result>", TURNS[1]]
    answered, text = play(turns, build_world_model(WorldModelSettings()))
    lines = without_seconds(text).splitlines()
    assert [line.split()[0] for line in lines] == ["thought", "search", "imagined", "thought", "answer"]
    assert lines[2].endswith(" s  Kim is by Twain.") and text.count("Twain") == 1
    assert answered.trajectory.counts.simulated_calls == 1


@given(
    st.lists(st.sampled_from(["@", "<think>", "</think>", " q ", "<begin_search>", "</end_search>", "\\boxed{", "}"]))
)
def test_whatever_tags_a_turn_holds_every_word_of_it_is_shown_once(parts):
    turns = ["".join(parts) + "<eos>", TURNS[1], TURNS[1], TURNS[1]]
    answered, text = play(turns, ScriptedEnvironment(lambda _: "found"))
    assert text.count("@") == answered.trajectory.text().count("@")


def test_the_summary_says_answer_end_actions_tokens_seconds_and_cost():
    answered, _ = play()
    # one token a character, and one for <eos>; around the document stand two newlines, a tag and a space, twice
    sampled = len("".join(TURNS)) - len("<eos>") + 1
    read = len("\n\n<search_result> Kim is by Kipling. </search_result>\n\n")
    expected = f"Kipling | answered | 1 action (1 real) | {sampled} tokens sampled, {read} read | 2.5 s | cost 0"
    assert summary_line(answered.trajectory, answered.answer, 2.5) == expected


def test_a_temperature_draws_from_a_seed_that_follows_from_the_question():
    engine = ScriptedEngine(TURNS, encode=CODEC.encode, decode=CODEC.decode)
    tokenizer = ChatTokenizer("<think>\n")
    environment = ScriptedEnvironment({"Kim author": "x"})
    session = Session(engine, environment, CODEC, Prompting(tokenizer), LIMITS, Sampling(1.0), seed=3)
    asyncio.run(session.ask(Question("chat-0", "q", ()), Screen(Console(file=io.StringIO()))))
    seeds = [each["sampling"].options["seed"] for each in engine.requests]
    assert len(seeds) == 2 and seeds[0] != seeds[1]


# --- what is kept


def test_saved_questions_are_rows_of_a_dump_without_a_reward(tmp_path: Path):
    answered, _ = play()
    save = SaveFile(tmp_path / "chat" / "step_000000.jsonl")
    save.add(answered)
    save.add(answered)
    first, second = read_dump(tmp_path, "chat")
    assert first == second and first["trajectory"] == answered.trajectory
    assert (first["answer"], first["reward"], first["reward_parts"]) == ("Kipling", None, {})
    assert first["info"] == {"question": "Who wrote Kim?", "golds": []}


def test_saving_adds_to_what_is_there(tmp_path: Path):
    path = tmp_path / "chat.jsonl"
    path.write_text("kept\n", encoding="utf-8")
    SaveFile(path).add(play()[0])
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"--save .* cannot be written: Is a directory"):
        SaveFile(tmp_path)


# --- the words of the embedded world

WORDS = {"Where", "was", "Gigra", "born", "?", "the", "mayor", "'", "of"}


@pytest.mark.parametrize(
    ("typed", "spelled", "unknown"),
    [
        ("Where was Gigra born?", "Where was Gigra born ?", []),
        ("where  WAS gigra born ?", "Where was Gigra born ?", []),
        ("Where was Sherlock born?", "Where was Sherlock born ?", ["Sherlock"]),
        ("Where, was Gigra; born?!", "Where was Gigra born ?", []),  # punctuation that the world lacks
        ("of X X of Y", "of X X of Y", ["X", "Y"]),
        ("", "", []),
    ],
)
def test_a_question_is_put_into_the_words_of_the_world(typed, spelled, unknown):
    assert spell_words(typed, WORDS) == (spelled, unknown)


@given(st.text())
def test_any_question_can_be_spelled_and_spelling_it_again_changes_nothing(text):
    spelled, unknown = spell_words(text, WORDS)
    assert spell_words(spelled, WORDS) == (spelled, unknown)
