"""Text that is shown while it is written: decoded id by id, and split at tags in whatever pieces it comes."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_families import FAMILIES

from autocoa_plugin.lab.chat.watch import Painter, Piece, TextStream
from autocoa_plugin.protocol import AUTOCOA, HERMES, PRESETS, REACT, SEARCH_R1, Protocol

SEARCH = "a <think>b <begin_search> q </end_search> c</think> d \\boxed{e}"
TEXTS = st.text(alphabet="ab 🙂é\n") | st.sampled_from([SEARCH, "naïve café 北京 🙂", "<think>x</think>"])
TAGS = [*dict.fromkeys(tag for protocol in PRESETS.values() for tag in protocol.tags()), "\\boxed{", "x", "<", " "]


def paint(protocol: Protocol, *texts: str) -> list[tuple[str, str]]:
    """(role, text) of all pieces, those of one role joined."""
    painter = Painter(protocol)
    pieces = [piece for text in texts for piece in painter.feed(text)] + painter.flush()
    return joined(pieces)


def joined(pieces: list[Piece]) -> list[tuple[str, str]]:
    return [
        (str(role), "".join(each.text for each in group)) for role, group in groupby(pieces, lambda each: each.role)
    ]


# --- decoding


@pytest.mark.parametrize("family", sorted(FAMILIES))
@given(text=TEXTS)
def test_text_that_comes_id_by_id_is_the_text_of_all_ids(family, text):
    tokenizer = FAMILIES[family]()
    ids = tokenizer.encode(text, add_special_tokens=False)

    def decode(some):
        return tokenizer.backend_tokenizer.decode(list(some), skip_special_tokens=False)

    stream = TextStream(decode)
    assert "".join([stream.add([token]) for token in ids]) + stream.flush() == decode(ids)


def test_a_character_of_several_ids_is_given_out_whole():
    stream = TextStream(lambda ids: bytes(ids).decode("utf-8", "replace"))
    assert [stream.add([byte]) for byte in "é!".encode()] == ["", "é", "!"]


def test_an_unfinished_character_is_given_out_at_the_end():
    stream = TextStream(lambda ids: bytes(ids).decode("utf-8", "replace"))
    assert stream.add([0xC3]) == "" and stream.flush() == "\ufffd" and stream.flush() == ""


# --- roles


R1 = "<think> a </think> <search> q </search> <think> b </think> <answer> c </answer>"
CALLED = "<think>a</think>\n<tool_call>{}</tool_call> b \\boxed{c}"
REACTED = "Thought: a\nAction: search\nAction Input: q\nObservation: b \\boxed{c}"


@pytest.mark.parametrize(
    ("protocol", "text", "expected"),
    [
        (AUTOCOA, SEARCH, ["thought a b ", "action  q ", "thought  c", "answer  d \\boxed{e}"]),
        # an action after the thought returns to the answer
        (
            AUTOCOA,
            "t</think> a <begin_search> q </end_search> b",
            ["thought t", "answer  a ", "action  q ", "answer  b"],
        ),
        (SEARCH_R1, R1, ["thought  a  ", "action  q ", "thought   b  ", "answer  c "]),
        # a box begins the answer where there is no thought tag
        (HERMES, CALLED, ["thought a\n", "action {}", "thought  b ", "answer \\boxed{c}"]),
        (REACT, REACTED, ["thought Thought: a\nAction: search\n", "action  q\n", "thought  b ", "answer \\boxed{c}"]),
    ],
)
def test_tags_turn_roles_and_are_left_out_but_for_the_box(protocol, text, expected):
    assert [f"{role} {said}" for role, said in paint(protocol, text)] == expected


def test_the_tool_of_an_action_is_named():
    pieces = Painter(AUTOCOA).feed("<begin_calculate> 1+1 ")
    assert [(piece.tool, piece.text) for piece in pieces] == [("calculate", " 1+1 ")]


def test_text_waits_only_while_it_may_become_a_tag():
    painter = Painter(AUTOCOA)
    assert joined(painter.feed("a <begin")) == [("thought", "a ")]
    assert joined(painter.feed("ning")) == [("thought", "<beginning")]
    assert joined(painter.feed("<")) == [] and joined(painter.flush()) == [("thought", "<")]


@given(st.lists(st.sampled_from(TAGS)).map("".join), st.sampled_from(sorted(PRESETS)), st.randoms())
def test_roles_do_not_depend_on_the_pieces_in_which_text_comes(text, name, random):
    cuts = sorted(random.sample(range(len(text) + 1), k=min(len(text), 5)))
    parts = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert paint(PRESETS[name], *parts) == paint(PRESETS[name], text)
