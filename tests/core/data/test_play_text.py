"""A row of text becomes what a rollout of the same text leaves; what no rollout could leave is refused.

Ids are code points (`CharTokenizer`), so they can be read: `texts` decodes the segments.
"""

from __future__ import annotations

import asyncio
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin import AUTOCOA, SEARCH_R1, Codec, Limits, Role, Source, StopReason, rollout
from autocoa_plugin.data.from_trajectory import record_of
from autocoa_plugin.data.play import text_ids, to_trajectory
from autocoa_plugin.data.records import CoaRecord, CotRecord, Message, Piece, TextRecord
from autocoa_plugin.errors import AutoCoAError, DataError
from autocoa_plugin.testing import EOS_ID, CharTokenizer, ScriptedEngine, ScriptedEnvironment

CODEC = Codec(CharTokenizer(), AUTOCOA)
OPENED, PLAIN = CODEC.encode("q<think>\n"), CODEC.encode("q")
SEARCH = "<begin_search> {} </end_search>"
FOUND = "\n\n<search_result> {} </search_result>\n\n"
T, A, O, E = Role.THOUGHT, Role.ACTION, Role.OBSERVATION, Role.ANSWER  # noqa: E741


def piece(role, text):
    return Piece(role, Source.ENVIRONMENT if role is O else Source.POLICY, text)


def row(*pieces, protocol="autocoa"):
    made = tuple(piece(role, text) for role, text in pieces)
    kind = CoaRecord if any(each.role is A for each in made) else CotRecord
    return kind("r7", protocol, (Message("user", "q"),), segments=made)


def played(*pieces, prompt=PLAIN, codec=CODEC):
    return to_trajectory(row(*pieces, protocol=codec.protocol.name), codec, prompt)


def texts(trajectory):
    return [(segment.role, segment.text) for segment in trajectory.segments]


def test_a_chain_of_action_gets_the_roles_ids_and_mask_of_a_rollout():
    trajectory = played((T, "<think>x"), (A, SEARCH.format("s")), (O, FOUND.format("d")), (T, "y</think>"), (E, "z"))
    assert texts(trajectory) == [
        (T, "<think>x"),
        (A, "<begin_search> s </end_search>"),
        (O, "\n\n<search_result> d </search_result>\n\n"),
        (T, "y</think>"),
        (E, "z<eos>"),
    ]
    assert (
        trajectory.response_ids[:-1] == [ord(char) for _, text in texts(trajectory) for char in text][: -len("<eos>")]
    )
    # 8 thought, 14 + 3 + 13 action; 2 + 15 + 3 + 16 + 2 observation; 1 + 8 thought, 1 answer, 1 end
    assert trajectory.response_mask == [1] * 38 + [0] * 38 + [1] * 11
    assert trajectory.prompt_ids == tuple(PLAIN) and trajectory.protocol == "autocoa"
    assert [call.parameters for call in trajectory.calls()] == ["s"]


def test_an_observation_is_spelled_as_the_codec_spells_it():
    trajectory = played(
        (T, "<think>"), (A, SEARCH.format("s")), (O, "<search_result>d\x00</think></search_result>"), (T, ".")
    )
    expected = CODEC.spell_observation(AUTOCOA.tool("search"), "d\x00</think>", max_tokens=100)
    observation = trajectory.segments[2]
    assert (observation.text, observation.ids) == (expected.text, expected.ids)
    assert observation.text == "\n\n<search_result> d < /think> </search_result>\n\n"


def test_the_end_of_the_sequence_is_added_once():
    for text in ("z", "z<eos>"):
        ids = played((T, "<think></think>"), (E, text)).response_ids
        assert ids[-2:] == [ord("z"), EOS_ID] and ids.count(EOS_ID) == 1


def test_no_end_is_added_after_an_action():
    # no rollout ends its turn after an action: the environment answers it
    trajectory = played((T, "<think>x"), (A, SEARCH.format("s")))
    assert texts(trajectory) == [(T, "<think>x"), (A, "<begin_search> s </end_search>")]
    assert EOS_ID not in trajectory.response_ids


@pytest.mark.parametrize(
    ("prompt", "thought", "expected"),
    [
        (OPENED, "<think>\n so</think>", "so</think>"),  # the template wrote the opening
        (OPENED, "\n<think>so</think>", "so</think>"),
        (OPENED, "so</think>", "so</think>"),
        (PLAIN, "<think>\n so</think>", "<think>\n so</think>"),
        (PLAIN, "so</think>", "<think>\nso</think>"),  # nobody has opened what is closed here
    ],
)
def test_the_thought_is_opened_once_by_the_prompt_or_by_the_response(prompt, thought, expected):
    trajectory = played((T, thought), (E, "z"), prompt=prompt)
    assert trajectory.text() == expected + "z<eos>"
    assert trajectory.thought_opened_by_prompt == (prompt == OPENED)


def test_a_response_that_neither_opens_nor_closes_a_thought_is_left_as_it_is():
    assert played((T, "so")).text() == "so<eos>"


def test_an_opening_after_the_first_close_opens_another_thought():
    trajectory = played((T, "a</think>"), (E, "b<think>c</think>z"))
    assert trajectory.text() == "<think>\na</think>b<think>c</think>z<eos>"


def test_an_opening_that_is_a_segment_of_its_own_is_left_out():
    trajectory = played((T, "<think>\n"), (A, SEARCH.format("s")), (O, FOUND.format("d")), (T, "y"), prompt=OPENED)
    assert texts(trajectory)[0] == (A, "<begin_search> s </end_search>")


def test_a_response_that_begins_with_an_action_gets_an_opening_of_its_own():
    trajectory = played((A, SEARCH.format("s")), (O, FOUND.format("d")), (T, "y</think>"), (E, "z"))
    assert texts(trajectory)[:2] == [(T, "<think>\n"), (A, "<begin_search> s </end_search>")]


def test_a_response_without_an_answer_is_played_to_its_end():
    trajectory = played((T, "<think>so</think>"))
    assert trajectory.stop_reason is StopReason.NO_ANSWER
    assert trajectory.text() == "<think>so</think><eos>"


def test_a_protocol_whose_actions_stand_outside_the_thought_is_played_too():
    codec = Codec(CharTokenizer(), SEARCH_R1)
    trajectory = played(
        (T, "<think>x</think> "),
        (A, "<search> s </search>"),
        (O, "\n\n<information> d </information>\n\n"),
        (T, "<think>y</think> "),
        (E, "<answer>z</answer>"),
        codec=codec,
    )
    assert [role for role, _ in texts(trajectory)] == [T, A, O, T, E]
    assert trajectory.stop_reason is StopReason.ANSWERED


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        (
            [(T, "<think>"), (A, SEARCH.format("s")), (O, "<search_result> d"), (T, "y")],
            "segments[2].text: an observation of 'search' must end with '</search_result>', got '<search_result> d' ..",
        ),
        (
            [(T, "<think>"), (A, SEARCH.format("s")), (O, "d </search_result>"), (T, "y")],
            "segments[2].text: an observation of 'search' must begin with '<search_result>', got 'd </search_",
        ),
        (
            [(T, "<think>"), (A, SEARCH.format("s")), (O, "<calculate_result> 4 </calculate_result>"), (T, "y")],
            "segments[2].text: an observation of 'search' must begin with '<search_result>'",
        ),
        (
            [(T, "<think>"), (A, "<begin_search> s"), (O, FOUND.format("d")), (T, "y")],
            "segments[2].text: the action before it is never closed, expected '</end_search>' or '</end_calculate>'",
        ),
        (
            [(T, "<think>"), (A, SEARCH.format("s") + " so then"), (O, FOUND.format("d")), (T, "y")],
            "segments[1].text: 'so then' after '</end_search>'; a rollout ends its turn there",
        ),
        (
            [(T, "<think>" + SEARCH.format("a")), (A, SEARCH.format("b")), (O, FOUND.format("d")), (T, "y")],
            "segments[0].text: '<begin_search> a </end_search>' must be a segment of role action",
        ),
        (
            [(T, "<think>" + SEARCH.format("a"))],
            "segments[0].text: '<begin_search> a </end_search>' must be a segment of role action",
        ),
        (
            [(T, "<think> I see <search_result> d </search_result>")],
            "segments[0].text: the policy writes '<search_result>' itself; an observation must be a segment of role",
        ),
        (
            [(T, "<think>x</think>"), (A, SEARCH.format("s")), (O, FOUND.format("d")), (T, "y")],
            "action 1: a rollout answers it with the notice 'error : search inside the thought only .', got 'd'",
        ),
        (
            [(T, "<think>"), (A, "<begin_search> </end_search>"), (O, FOUND.format("d")), (T, "y")],
            "action 1: a rollout answers it with the notice 'error : empty query .', got 'd'",
        ),
        (
            [(T, "<think>x</think> z")],
            "its roles are thought; a rollout of the same text has thought, answer",
        ),
        (
            [(T, "<think>x"), (E, "\\boxed{z}")],
            "its roles are thought, answer; a rollout of the same text has thought",
        ),
        (
            [(T, "<think>x"), (A, "plain words")],
            "its roles are thought, action; a rollout of the same text has thought",
        ),
        (
            [(T, "<think>a<eos>b</think>"), (E, "z")],
            "the end-of-sequence token '<eos>' stands inside the response, in turn 1",
        ),
        # places count the segments of the record, though an opening is put in front of the first
        (
            [(A, SEARCH.format("s")), (O, "<search_result>"), (T, "y</think>"), (E, "z")],
            "segments[1].text: an observation of 'search' must end with",
        ),
    ],
)
def test_a_row_that_no_rollout_leaves_is_refused_naming_row_and_reason(pieces, message):
    with pytest.raises(DataError) as caught:
        played(*pieces)
    assert str(caught.value).startswith("row 'r7': " + message)


def test_a_row_that_does_not_fit_prompt_or_protocol_is_refused():
    with pytest.raises(DataError, match="row 'r7': segments: nothing but the opening of the thought"):
        played((T, "<think>\n"), prompt=OPENED)
    with pytest.raises(DataError, match=r"segments\[2\].text: an observation of 'search' must end with"):
        played((T, "<think>"), (A, SEARCH.format("s")), (O, "<search_result>"), (T, "y"), prompt=OPENED)
    with pytest.raises(DataError, match="row 'r7' is spelled in protocol 'search_r1', the configured one is 'autocoa'"):
        to_trajectory(row((T, "x"), protocol="search_r1"), CODEC, PLAIN)


@pytest.mark.parametrize(("role", "source"), [(T, Source.TEMPLATE), (T, Source.ENVIRONMENT), (O, Source.POLICY)])
def test_a_source_that_only_rollouts_have_is_refused_in_a_row_of_text(role, source):
    pieces = (piece(T, "<think>"), piece(A, SEARCH.format("s")), Piece(O, Source.ENVIRONMENT, FOUND.format("d")))
    changed = Piece(role, source, FOUND.format("d") if role is O else "x")
    pieces = (*pieces[:2], changed) if role is O else (*pieces, changed)
    record = CoaRecord("r7", "autocoa", (Message("user", "q"),), segments=(*pieces, piece(T, "y")))
    with pytest.raises(
        DataError, match=rf"row 'r7': segments\[\d\].source: must be .* for {role} in a row without ids"
    ):
        to_trajectory(record, CODEC, PLAIN)


def test_a_notice_that_was_recorded_as_the_observation_is_played():
    notice = AUTOCOA.notices.outside_thought
    trajectory = played((T, "<think>x</think>"), (A, SEARCH.format("s")), (O, FOUND.format(notice)), (E, "z"))
    assert trajectory.counts.actions_outside_thought == 1


def test_inside_a_running_event_loop_the_way_out_is_named():
    async def inside():
        return played((T, "x"))

    with pytest.raises(AutoCoAError, match=r"cannot be called inside a running event loop: call it from a thread"):
        asyncio.run(inside())

    async def in_a_thread():
        return await asyncio.to_thread(played, (T, "x"))

    assert asyncio.run(in_a_thread()).text() == "x<eos>"


TAGS = st.sampled_from(["</think>", "<think>", "<begin_search>", "\\boxed{"])
WORDS = st.lists(TAGS | st.text(st.sampled_from("ab <>{}\\\nk/é🙂"), min_size=1, max_size=6), max_size=3).map("".join)
BODIES = st.one_of(WORDS, st.sampled_from(["</search_result> x", "<think>", " two  spaces ", "<eos>", "\n", ""]))


@given(st.lists(st.tuples(WORDS, WORDS, BODIES), max_size=3), WORDS)
def test_the_text_of_a_rollout_is_played_to_the_same_ids_and_mask(steps, last):
    # a first word, because an opening that comes first is the one case in which text is not played as it is
    turns = [f"so {words} <begin_search>q{query}</end_search>" for words, query, _ in steps]
    engine = ScriptedEngine([*turns, f"so {last}</think> \\boxed{{z}}<eos>"], encode=CODEC.encode)
    waiting = iter(body for _, _, body in steps)
    environment = ScriptedEnvironment(lambda _: next(waiting))
    limits = Limits(max_response_tokens=10_000, answer_reserve_tokens=100)
    trajectory = asyncio.run(rollout(OPENED, engine=engine, environment=environment, codec=CODEC, limits=limits))
    born = record_of(trajectory, id="r", tokenizer="f")
    pieces = tuple(Piece(each.role, each.source, each.text) for each in born.segments)
    again = to_trajectory(type(born)("r", "autocoa", (Message("user", "q"),), segments=pieces), CODEC, OPENED)
    assert again.response_ids == trajectory.response_ids
    assert again.response_mask == trajectory.response_mask


def test_plain_text_is_encoded_and_ids_are_kept():
    assert text_ids(TextRecord("t", "ab"), CODEC) == (97, 98)


def test_playing_loads_neither_torch_nor_verl():
    import subprocess

    code = (
        "import autocoa_plugin.data.play, autocoa_plugin.data.record_files, autocoa_plugin.data.from_trajectory, sys\n"
        "import autocoa_plugin.data.chat_text\n"
        "assert not {'torch', 'verl', 'pyarrow', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
