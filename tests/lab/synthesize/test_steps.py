"""Where a step begins, first in text, then in tokens."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_families import FAMILIES, LOSSLESS
from transformers import PreTrainedTokenizerFast

import autocoa_plugin.tinyworld
from autocoa_plugin import AUTOCOA, Codec, Role, Segment, Source, StopReason, Trajectory
from autocoa_plugin.lab.synthesize.steps import step_spans, step_starts, steps
from autocoa_plugin.testing import CharTokenizer
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD

CODEC = Codec(CharTokenizer(), AUTOCOA)
T, A, O, E = Role.THOUGHT, Role.ACTION, Role.OBSERVATION, Role.ANSWER  # noqa: E741


def split(text: str) -> list[str]:
    return [text[begin:end] for begin, end in step_spans(text)]


def trajectory(*segments: tuple[Role, str], codec: Codec = CODEC, source: Source = Source.POLICY) -> Trajectory:
    made = []
    for role, text in segments:
        ids = tuple(codec.encode(text))
        written_by = Source.ENVIRONMENT if role is O else source
        made.append(Segment(role, written_by, ids, codec.decode(ids)))
    return Trajectory((113,), tuple(made), StopReason.ANSWERED, codec.protocol.name)


def after(text: str, codec: Codec = CODEC) -> list[str]:
    """What stands from each start of a step on, up to four characters."""
    ids = codec.encode(text)
    return [codec.decode(ids[start:])[:4] for start in step_starts(trajectory((T, text), codec=codec), codec)]


# ------------------------------------------------------------------------------------------------------------- in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I am. You are? Go! No", ["I am.", "You are?", "Go!", "No"]),
        ("one\ntwo\n three", ["one", "two", "three"]),
        ("I recall X . Next I need Y .", ["I recall X .", "Next I need Y ."]),
        ('He said "go." Then (as if.) he left... Well', ['He said "go."', "Then (as if.) he left...", "Well"]),
        ('The series "What is?" sold well. Yes', ['The series "What is?" sold well.', "Yes"]),
        ("Pi is 3.14 or 3. 14 is not", ["Pi is 3.14 or 3.", "14 is not"]),
        ("Dr. J. R. R. Tolkien of the U.S. Navy, e.g. Prof. X vs. Y, etc. and so on", None),
        ("No. 5 and vol. 2, but I say no. Then", ["No. 5 and vol. 2, but I say no.", "Then"]),
        ("1. Find it. 2. Name it.\n  3. Stop", ["1. Find it.", "2. Name it.", "3. Stop"]),
        ("(b. 1950) in St. Ives. He", ["(b. 1950) in St. Ives.", "He"]),
        ("他生于1950年。他是作家\uff01对吗\uff1f是", ["他生于1950年。", "他是作家\uff01", "对吗\uff1f", "是"]),
        ("www.a.org/b.html?c=d!e", None),
        ("Yes\n---\n No * *\n. ", ["Yes", "No * *"]),
        ("", []),
    ],
)
def test_sentences_and_lines_are_steps(text, expected):
    assert split(text) == ([text] if expected is None else expected)


def test_paragraphs_are_steps_where_there_are_three_of_them():
    # three paragraphs, the blank line between the last two has a space in it
    assert split("Okay. So.\n\nI need X. Hm\nwell.\n \nSo Y.") == ["Okay. So.", "I need X. Hm\nwell.", "So Y."]
    assert split("Okay. So.\n\nI need X.\n\n") == ["Okay.", "So.", "I need X."]


@given(st.text(alphabet="aB1 .?!\n\"')。", max_size=40))
def test_steps_hold_all_words_of_a_text_and_each_has_one(text):
    pieces = split(text)
    assert [char for piece in pieces for char in piece if char.isalnum()] == [char for char in text if char.isalnum()]
    assert all(piece == piece.strip() and any(map(str.isalnum, piece)) for piece in pieces)


@pytest.mark.parametrize("unit", [".", ".-", '!"', "\n ", "a. ", "?)", "\n \t"])
def test_degenerate_repetition_is_split_within_a_second(unit):
    started = time.process_time()
    list(step_spans(unit * 20_000))
    assert time.process_time() - started < 1


# ----------------------------------------------------------------------------------------------------------- in tokens


def test_a_step_begins_with_the_token_of_its_first_word():
    # I am. So on.   ids are characters: "S" is the seventh
    assert [(step.begin, step.end) for step in steps(trajectory((T, "I am. So on.")), CODEC)] == [(0, 6), (6, 12)]
    assert step_starts(trajectory((T, "I am. So on.")), CODEC) == [6]


@pytest.mark.parametrize(
    ("merges", "expected"),
    [
        ([" S"], 5),  # I am. │ So      the space is the next word's
        ([". "], 5),  # I am. │So       the space is the full stop's
        ([". S"], None),  # one token is both: no step begins inside it
    ],
)
def test_white_space_is_on_either_side_and_no_token_is_split(merges, expected):
    starts = step_starts(trajectory((T, "I am. So"), codec=(codec := Codec(CharTokenizer(merges), AUTOCOA))), codec)
    assert starts == ([] if expected is None else [expected])


def test_tags_and_the_end_of_sequence_belong_to_no_step():
    # <think> and \n are 8 characters: the first step begins at 8, and ends where the tag begins or, here, at the space
    text = "<think>\nI am. </think>"
    assert [(step.begin, step.end) for step in steps(trajectory((T, text)), CODEC)] == [(8, 14)]
    # the end of sequence is one id
    assert [(step.begin, step.end) for step in steps(trajectory((T, "I am.\n<eos>")), CODEC)] == [(0, 6)]


def test_the_first_step_counts_when_something_stands_before_it():
    assert after("<think>So it. Is") == ["So i", "Is"]
    assert after("So it. Is") == ["Is"]


def test_only_thoughts_of_the_policy_have_steps():
    parts = (T, "Ab. C"), (A, "<begin_search>Cd. D</end_search>"), (O, "Ef. F"), (T, "Gh. H"), (E, "Ij. J")
    # the first thought is 5 characters, the action 32, the observation 5; Gh follows them
    assert step_starts(trajectory(*parts), CODEC) == [4, 42, 46]
    assert step_starts(trajectory((T, "Ab. C"), source=Source.TEMPLATE), CODEC) == []


def test_a_thought_that_was_cut_into_two_segments_is_one_thought():
    # Cd is one word: no step begins at the cut
    assert step_starts(trajectory((T, "Ab. C"), (T, "d. E")), CODEC) == [4, 8]


def test_a_response_without_tokens_has_no_step():
    assert step_starts(Trajectory((113,), (), StopReason.PROMPT_TOO_LONG, "autocoa"), CODEC) == []


def test_words_of_tinyworld_are_tokens_and_a_full_stop_is_one_of_them():
    file = Path(autocoa_plugin.tinyworld.__file__).parent / "base" / "tokenizer.json"
    codec = Codec(PreTrainedTokenizerFast(tokenizer_file=str(file), eos_token="<|im_end|>"), TINYWORLD)
    text = "<think> First I need the country of Varstan . I recall the country of Varstan is of . </think>"
    thought = trajectory((T, text), codec=codec)
    # <think>, then a sentence of 8 words and one of 9, then </think>
    assert [(step.begin, step.end) for step in steps(thought, codec)] == [(1, 9), (9, 18)]
    assert len(thought.response_ids) == 19


PIECES = st.sampled_from(
    [
        "So",
        " it is",
        ". ",
        ".",
        "\n",
        "\n\n",
        " 🙂",
        "é",
        "北京。",
        "3.14",
        " Dr. X",
        "? ",
        "<think>",
        "</think>",
        "<eos>",
    ]
)


@given(st.sampled_from(sorted(FAMILIES)), st.lists(PIECES, max_size=20), st.randoms(use_true_random=False))
def test_a_step_begins_at_a_whole_token_of_the_thought_in_every_family(family, pieces, chance):
    codec = Codec(FAMILIES[family](), AUTOCOA) if family not in ("wordpiece", "word_level") else CODEC
    # some of it in tokens that no encoder writes, such as half a character
    ids = [token for piece in pieces for part in _parts(piece, chance) for token in codec.encode(part)]
    cut = chance.randint(0, len(ids))
    made = [Segment(T, Source.POLICY, tuple(part), codec.decode(part)) for part in (ids[:cut], ids[cut:])]
    whole = Trajectory((1,), tuple(made), StopReason.NO_ANSWER, "autocoa")
    found, text = steps(whole, codec), codec.decode(ids)
    assert step_starts(whole, codec) == [step.begin for step in found if step.begin > 0]
    for number, step in enumerate(found):
        assert 0 <= step.begin < step.end <= len(ids)
        assert number == 0 or found[number - 1].end <= step.begin
        before = codec.decode(ids[: step.begin])
        assert text.startswith(before)
        said = codec.decode(ids[step.begin : step.end])
        assert said.strip() and not said.lstrip().startswith(("</think>", "<eos>"))
    if family in LOSSLESS:
        # the text between two starts is whole steps of the text
        assert all(step.begin == 0 or _is_break(text, len(codec.decode(ids[: step.begin]))) for step in found)


def _parts(piece: str, chance) -> list[str]:
    return list(piece) if chance.random() < 0.3 else [piece]


def _is_break(text: str, place: int) -> bool:
    """Whether a sentence, a line or a tag ends right before this character, white space aside."""
    before, gap = text[:place].rstrip(), text[:place][len(text[:place].rstrip()) :] + text[place:][:1]
    return not before or before[-1] in ".?!。>" or "\n" in gap
