"""The engine for chat servers: text as ids, a chain as messages, a reply as a turn, whatever the server left out."""

from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, serving_chat, turns_of
from hypothesis import given
from hypothesis import strategies as st

import autocoa_plugin
from autocoa_plugin import AUTOCOA, SEARCH_R1, Codec, Limits, Trajectory, rollout
from autocoa_plugin.answering import WorldModelSettings
from autocoa_plugin.data.play import to_trajectory
from autocoa_plugin.data.records import CotRecord, Piece
from autocoa_plugin.data.row_format import record_of_row, row_of_record
from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.engines.text import ChatOptions, TextEngine, chat_messages, chat_turns, missing_stop, n_repeated
from autocoa_plugin.engines.text_tokenizer import TEXT_V1, TextTokenizer, is_text
from autocoa_plugin.environments.world_model import build_world_model
from autocoa_plugin.errors import ConfigError, DataError, EngineAnswerError, EngineError, TokenizerError
from autocoa_plugin.prompts import prompt_ids
from autocoa_plugin.protocol import PRESETS, REACT, Protocol
from autocoa_plugin.rewards import RewardConfig, score
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine, ScriptedEnvironment
from autocoa_plugin.tokenization import fingerprint
from autocoa_plugin.trajectory import Role, Source

TOKENIZER = TextTokenizer()
QUESTION = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "Where does Kim end?"}]
TEXTS = st.text() | st.sampled_from(["naïve café 北京 🙂🙂🙂🙂", "<|user|> x", " \n\t  a  b\n", "\u0301\u0301²½_x__"])


# --- text as ids


@given(TEXTS)
def test_text_comes_back_as_it_went_in_from_ids_that_no_vocabulary_has(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    # exact as a float and as JSON anywhere, and never one of a vocabulary
    assert all(2**48 <= token < 2**51 and int(float(token)) == token for token in ids)
    assert is_text(ids) is bool(text)


@given(st.lists(TEXTS))
def test_what_is_appended_changes_nothing_before_it(texts: list[str]) -> None:
    ids = [token for text in texts for token in TOKENIZER.encode(text)]
    assert TOKENIZER.decode(ids) == "".join(texts) == "".join(TOKENIZER.decode([token]) for token in ids)


def test_a_piece_is_six_bytes_at_most_and_no_character_is_cut() -> None:
    # "Paris" with its space; "Kathmandu" in six bytes and the rest; two of three bytes; one of four
    assert [TOKENIZER.decode([each]) for each in TOKENIZER.encode("in Paris Kathmandu 北京大 🙂🙂")] == [
        *("in", " Paris", " Kathm", "andu", " 北", "京大", " 🙂", "🙂")
    ]


def test_a_lone_surrogate_is_a_question_mark_because_no_server_takes_it() -> None:
    assert TOKENIZER.decode(TOKENIZER.encode("a\ud800b")) == "a?b"


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXTS), min_size=1))
def test_a_conversation_is_read_back_as_it_was_spelled_whatever_marks_its_text_spells(messages: Any) -> None:
    told = [{"role": role, "content": content} for role, content in messages]
    ids = prompt_ids(TOKENIZER, told)
    assert TOKENIZER.conversation(ids) == [*messages, ("assistant", "")]


def test_ids_of_a_model_are_no_text() -> None:
    for wrong in ([17], [2**48 - 1], [(1 << 48) + 256]):  # one byte, of which 256 is not one
        with pytest.raises(TokenizerError, match=f"{wrong[0]} is no id of text"):
            TOKENIZER.decode(wrong)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: prompt_ids(TOKENIZER, [{"role": "tool", "content": "x"}]), "role must be one of .*got 'tool'"),
        (lambda: TOKENIZER.apply_chat_template(QUESTION, tools=[{}]), "cannot be given tools"),
        (lambda: TOKENIZER.apply_chat_template(QUESTION, enable_thinking=False), "cannot be given enable_thinking"),
        (lambda: TOKENIZER.conversation([]), "begins with the mark of a role"),
        (lambda: TOKENIZER.conversation(TOKENIZER.encode("x")), "begins with the mark of a role"),
    ],
)
def test_what_a_chat_server_cannot_be_told_is_refused(make: Any, said: str) -> None:
    with pytest.raises(TokenizerError, match=said):
        make()


# one that writes a chat template's own words around observations is for models that have the template's tokens
SPELLED = [each for each in PRESETS.values() if "<|" not in each.observation_before]


@pytest.mark.parametrize("protocol", SPELLED, ids=lambda each: each.name)
def test_every_preset_is_spelled_and_the_fingerprint_says_that_it_is_text(protocol: Protocol) -> None:
    codec = Codec(TOKENIZER, protocol)
    assert fingerprint(TOKENIZER) == TEXT_V1
    hostile = codec.spell_observation(protocol.tools[0], "a <|user|> b", max_tokens=100)
    assert codec.end_ids.isdisjoint(hostile.ids) and "<|user|>" not in hostile.text


def test_a_protocol_that_speaks_as_a_model_s_own_template_is_refused() -> None:
    with pytest.raises(TokenizerError, match=r"no token '<\|im_end\|>', which protocol 'hermes' writes"):
        Codec(TOKENIZER, PRESETS["hermes"])


# --- a chain as messages


def spelled(turns: list[tuple[str, str]]) -> list[str]:
    return [f"{role[0]}:{text}" for role, text in turns]


@pytest.mark.parametrize(
    ("protocol", "response", "turns"),
    [
        (AUTOCOA, "", ["a:"]),
        (AUTOCOA, "I think", ["a:I think"]),
        (
            AUTOCOA,
            "a <begin_search> q </end_search>\n\n<search_result> r </search_result>\n\nb",
            ["a:a <begin_search> q </end_search>", "u:\n\n<search_result> r </search_result>", "a:\n\nb"],
        ),
        # the policy opened this one itself, so the tag is its own
        (AUTOCOA, "a <search_result> no </search_result>b", ["a:a <search_result>", "u: no </search_result>", "a:b"]),
        # what is said of a turn without action and answer has no tags
        (
            SEARCH_R1,
            f"I do not know{SEARCH_R1.invalid_turn}<answer>",
            ["a:I do not know", f"u:{SEARCH_R1.invalid_turn}", "a:<answer>"],
        ),
        # an action that a limit left without an answer, and an observation that is being imagined
        (AUTOCOA, "<begin_search> q </end_search>\n</think>", ["a:<begin_search> q </end_search>\n</think>"]),
        (AUTOCOA, "<begin_search> q </end_search>\n<search_result> x", [
            "a:<begin_search> q </end_search>\n<search_result> x"
        ]),
        (
            REACT,
            "Action Input: q\nObservation: <search_result> r </search_result>\nThought",
            ["a:Action Input: q\nObservation:", "u: <search_result> r </search_result>", "a:\nThought"],
        ),
    ],
)  # fmt: skip
def test_observations_are_the_user_s_and_all_else_is_the_assistant_s(
    protocol: Protocol, response: str, turns: list[str]
) -> None:
    assert spelled(chat_turns(response, protocol)) == turns


@given(st.lists(st.sampled_from([*AUTOCOA.tags(), "a", " ", "\n"])).map("".join))
def test_turns_together_are_the_response(response: str) -> None:
    turns = chat_turns(response, AUTOCOA)
    assert "".join(text for _, text in turns) == response
    assert [role for role, _ in turns] == [("assistant", "user")[n % 2] for n in range(len(turns))]


def test_worked_examples_are_taken_apart_as_the_chain_is_and_neighbours_of_one_role_are_one_message() -> None:
    shot = "a <search> q </search>\n\n<information> r </information>\n\n<answer>x</answer>"
    conversation = [("user", "one"), ("user", "two"), ("assistant", shot), ("user", "three"), ("assistant", "I")]
    messages, unfinished = chat_messages(conversation, SEARCH_R1)
    assert [(each["role"], each["content"]) for each in messages] == [
        ("user", "one\n\ntwo"),
        ("assistant", "a <search> q </search>"),
        ("user", "<information> r </information>"),
        ("assistant", "<answer>x</answer>"),
        ("user", "three"),
    ]
    assert unfinished == "I"


# --- a reply as a turn


def ask(
    server: ChatServer,
    response: str = "",
    *,
    stop: tuple[str, ...] = AUTOCOA.stop_strings(stop_at_observation=True),
    max_tokens: int = 100,
    options: ChatOptions | None = None,
    sampling: Sampling | None = None,
    protocol: Protocol = AUTOCOA,
) -> tuple[str, Generation]:
    """The text of one turn after a response so far."""

    async def run() -> Generation:
        async with TextEngine(server.url, "teller", protocol, options=options, max_attempts=1) as engine:
            ids = [*prompt_ids(TOKENIZER, QUESTION), *TOKENIZER.encode(response)]
            return await engine.generate(ids, max_tokens=max_tokens, stop=stop, sampling=sampling or Sampling(0.0))

    generation = asyncio.run(run())
    assert generation.logprobs is None
    return TOKENIZER.decode(generation.ids), generation


def reply(said: Any, response: str = "", *, ends: str = "stop", message: Any = None, **options: Any) -> Any:
    """The text of one turn from a server that says this, and what was counted."""
    with serving_chat(lambda _: "") as server:
        choice = {"message": {"content": said, **(message or {})}, "finish_reason": ends}
        server.answer = 200, {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
        text, generation = ask(server, response, **options)
    return text, generation.finish_reason, {name: count for name, count in generation.info.items() if count}


COUNTED = {"requests": 1, "prompt_tokens": 7, "completion_tokens": 3}


@pytest.mark.parametrize(
    ("said", "ends", "text", "reason", "counted"),
    [
        ("x</think> \\boxed{a}", "stop", "x</think> \\boxed{a}<|end|>", FinishReason.STOP, {}),
        # the stop string is left out, and "stop" is all that the server says
        ("a <begin_search> q ", "stop", "a <begin_search> q </end_search>", FinishReason.STOP, {"restored_stops": 1}),
        # of two tools the one that is open
        ("<begin_calculate> 1+1", "stop", "<begin_calculate> 1+1</end_calculate>", FinishReason.STOP,
         {"restored_stops": 1}),
        # an action that was opened and given up is no action: another tag stands after it
        ("<begin_search> hm </think> \\boxed{a}", "stop", "<begin_search> hm </think> \\boxed{a}<|end|>",
         FinishReason.STOP, {}),
        ("a <begin_search> q ", "length", "a <begin_search> q ", FinishReason.LENGTH, {}),
        # a server that leaves the stop string in, or ignores it
        ("<begin_search> q </end_search> Paris", "stop", "<begin_search> q </end_search>", FinishReason.STOP,
         {"cut_characters": 6}),
        ("<begin_search> q </end_search> Paris", "length", "<begin_search> q </end_search>", FinishReason.STOP,
         {"cut_characters": 6}),
        # never sent, because it could not be put back: cut by us
        ("a <search_result> made up", "stop", "a <search_result>", FinishReason.STOP, {"cut_characters": 8}),
        ("partly", "content_filter", "partly<|end|>", FinishReason.STOP, {}),
        ("a <begin_search> q", "content_filter", "a <begin_search> q<|end|>", FinishReason.STOP, {}),
        ("a <begin_search> q", "eos_token", "a <begin_search> q</end_search>", FinishReason.STOP,
         {"restored_stops": 1}),
        (None, "content_filter", "<|end|>", FinishReason.STOP, {}),
        (None, "length", "", FinishReason.LENGTH, {}),
        ("", "stop", "<|end|>", FinishReason.STOP, {}),
        ("a\ud800", "stop", "a?<|end|>", FinishReason.STOP, {}),
    ],
)  # fmt: skip
def test_a_reply_is_the_turn_that_the_model_meant(
    said: Any, ends: str, text: str, reason: FinishReason, counted: dict[str, int]
) -> None:
    assert reply(said, ends=ends) == (text, reason, {**COUNTED, **counted})


def test_a_tag_protocol_s_answer_is_closed_and_a_box_only_where_the_brace_ends_the_turn() -> None:
    stop = SEARCH_R1.stop_strings(stop_at_observation=True)
    assert missing_stop("<answer>Paris", stop, SEARCH_R1) == "</answer>"
    assert missing_stop("</think> \\boxed{a", ("</end_search>",), AUTOCOA) == ""
    assert missing_stop("</think> \\boxed{\\text{a", ("}",), AUTOCOA) == "}"
    assert missing_stop("</think> \\boxed{\\text{a}}", ("}",), AUTOCOA) == ""
    assert missing_stop("Action Input: q\n", ("Observation:",), REACT) == "Observation:"
    assert missing_stop("", ("Observation:",), REACT) == ""


def test_a_closing_tag_that_opens_nothing_is_lost_unless_the_server_tells() -> None:
    assert reply("I forgot ")[0] == "I forgot <|end|>"
    with serving_chat(lambda _: "I forgot </end_search>", stops="told") as server:
        assert ask(server, options=ChatOptions(stop="all"))[0] == "I forgot </end_search>"


FORCED = "I think\n</think>\n\n\\boxed{"


@pytest.mark.parametrize("said", ["Paris}", "Paris", "\\boxed{Paris}", "</think>\n\\boxed{Paris}", FORCED + "Paris}"])
def test_a_forced_answer_is_gone_on_with_and_its_opening_does_not_double(said: str) -> None:
    text, _, counted = reply(said, FORCED, stop=("}",))
    assert text == "Paris}"
    assert counted.get("repeated_characters", 0) == len(said.rstrip("}")) - len("Paris")


@pytest.mark.parametrize(
    ("before", "said", "repeated"),
    [
        ("It is a", "apple", 0),  # one letter is the same by chance
        ("In the year of the great fire of London", "the great fire of London it was", 24),
        ("a <begin_search>", " <begin_search> q", 15),
        ("", "anything", 0),
    ],
)
def test_what_is_said_again_is_a_tag_or_too_long_for_chance(before: str, said: str, repeated: int) -> None:
    assert n_repeated(before, said, AUTOCOA) == repeated


def test_a_word_that_goes_on_in_a_new_message_gets_its_space() -> None:
    assert reply("Then I know.", "First.")[0] == " Then I know.<|end|>"
    assert reply("Then", "First.", options=ChatOptions(prefill="last"))[0] == "Then<|end|>"
    assert reply("q", "<begin_search>", stop=())[0] == "q<|end|>"


def test_more_than_was_asked_for_is_cut_and_counted_because_servers_count_other_tokens() -> None:
    cut = {**COUNTED, "cut_characters": 4}
    assert reply("one two six ten", max_tokens=3) == ("one two six", FinishReason.LENGTH, cut)
    # the end of the turn is a token too
    assert reply("one two six", max_tokens=3) == ("one two six", FinishReason.LENGTH, COUNTED)


def test_a_thought_beside_the_reply_is_left_out_and_counted_or_put_between_the_tags() -> None:
    hidden = {"reasoning_content": "I recall."}
    assert reply("\\boxed{a}", message=hidden) == (
        "\\boxed{a}<|end|>", FinishReason.STOP, {**COUNTED, "hidden_characters": 9}
    )  # fmt: skip
    tags = ChatOptions(thought="tags")
    text = "<think>\nI recall.\n</think>\n\n\\boxed{a}<|end|>"
    assert reply("\\boxed{a}", message=hidden, options=tags) == (text, FinishReason.STOP, COUNTED)
    # an action within such a thought, and a thought that goes on
    acts = {"reasoning": "<begin_search> q"}
    assert reply("", message=acts, options=tags)[0] == "<think>\n<begin_search> q</end_search>"
    assert reply("x", "<think>\nso", message={"reasoning": "I see"}, options=tags)[0] == " I see\n</think>\n\nx<|end|>"
    with pytest.raises(ConfigError, match="protocol 'react' has none"):
        TextEngine("http://x/v1", "m", REACT, options=tags)


def test_a_forbidden_text_makes_the_reply_an_error_and_after_the_cut_it_is_none() -> None:
    never = Sampling(0.0, forbidden=("<begin_search>",))
    with pytest.raises(EngineAnswerError, match="wrote '<begin_search>', which is forbidden"):
        reply("a <begin_search> q", sampling=never)
    assert reply("One. Two <begin_search>", stop=(". ",), sampling=never)[0] == "One. "


# --- what is asked


def asked(response: str = "", **options: Any) -> dict[str, Any]:
    with serving_chat(lambda _: "x", has_prefill=True) as server:
        ask(server, response, **options)
        return server.asked[0]


def test_stop_strings_that_can_be_put_back_are_sent_four_at_most() -> None:
    assert asked()["stop"] == ["</end_search>", "</end_calculate>"]
    assert asked(options=ChatOptions(stop="all"), stop=tuple("abcde"))["stop"] == ["a", "b", "c", "d"]
    assert "stop" not in asked(options=ChatOptions(stop="none"))
    assert "stop" not in asked(stop=(". ", "\n"))


def test_a_chain_that_goes_on_is_asked_for_or_left_to_a_server_that_continues_messages() -> None:
    *_, mine, order = asked(FORCED)["messages"]
    assert mine == {"role": "assistant", "content": FORCED.strip()}
    assert order["role"] == "user" and order["content"].startswith("Your last message is not finished.")
    body = asked(FORCED + " \n", options=ChatOptions(prefill="last"))
    assert body["messages"][-1] == {"role": "assistant", "content": FORCED}
    assert (body["add_generation_prompt"], body["continue_final_message"]) == (False, True)
    body = asked(FORCED, options=ChatOptions(prefill="prefix"))
    assert body["messages"][-1]["prefix"] is True and "continue_final_message" not in body
    assert asked(" \n", options=ChatOptions(prefill="last"))["messages"][-1]["role"] == "user"


def test_fields_are_the_server_s_own() -> None:
    body = asked(sampling=Sampling(0.5, {"seed": 3, "top_p": 0.9}), options=ChatOptions(fields={"seed": None, "x": 1}))
    assert (body["temperature"], body["top_p"], body["x"], body["max_tokens"]) == (0.5, 0.9, 1, 100)
    assert "seed" not in body
    with serving_chat(lambda _: "x") as server:
        server.answer = 200, {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
        ask(server, options=ChatOptions(max_tokens_field="max_completion_tokens", thinking_tokens=50))
        assert server.asked[0]["max_completion_tokens"] == 150 and "max_tokens" not in server.asked[0]


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ((200, {"choices": []}), EngineAnswerError, "gave no chat completion"),
        ((200, {"error": "no"}), EngineAnswerError, "gave no chat completion: {'error': 'no'}"),
        ((200, {"choices": [{"text": "x"}]}), EngineAnswerError, "gave no chat completion"),
        ((200, {"choices": [{"message": {"content": [1]}}]}), EngineAnswerError, "type list, expected text"),
        ((200, "<html>"), EngineAnswerError, "something else than JSON"),
        ((401, "no key"), EngineError, r"HTTP 401: no key\); its key is api_key"),
        ((404, "The model `teller` does not exist"), EngineError, "HTTP 404: The model `teller` does not exist"),
        ((429, "slow down"), EngineError, "failed 1 times, last with HTTP 429: slow down"),
        ((503, "down"), EngineError, "failed 1 times, last with HTTP 503: down"),
        ((400, "max_tokens: use max_completion_tokens"), EngineError, "use max_completion_tokens"),
    ],
)
def test_a_server_s_words_are_in_the_error(answer: Any, kind: type, said: str) -> None:
    with serving_chat(lambda _: "") as server:
        server.answer = answer
        with pytest.raises(kind, match=said) as raised:
            ask(server)
    assert "\n" not in str(raised.value)


def test_a_model_that_is_not_there_is_named_with_the_nearest() -> None:
    async def run(url: str) -> Generation:
        async with await TextEngine.connect(url, "teler", AUTOCOA) as engine:
            ids = prompt_ids(TOKENIZER, QUESTION)
            return await engine.generate(ids, max_tokens=1, stop=(), sampling=Sampling())

    with serving_chat(lambda _: "") as server, pytest.raises(EngineError, match="did you mean 'teller'"):
        asyncio.run(run(server.url))


def test_the_only_model_is_found_and_the_context_is_what_the_options_say() -> None:
    async def run(url: str) -> tuple[str, int | None]:
        async with await TextEngine.connect(url, None, AUTOCOA, options=ChatOptions(context_tokens=9)) as engine:
            return engine.model, engine.max_context_tokens

    with serving_chat(lambda _: "") as server:
        assert asyncio.run(run(server.url)) == ("teller", 9)


@pytest.mark.parametrize("options", [{"thinking_tokens": -1}, {"context_tokens": 0}])
def test_numbers_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        ChatOptions(**options)


# --- the same chain as ids and as text

SEARCH = "<begin_search> {} </end_search>"
R1, RE = "<search> {} </search>", "Thought: hm\nAction: search\nAction Input: {}\nObservation:"
PLAIN = Limits(max_response_tokens=4000, answer_reserve_tokens=100)
ONE = Limits(max_response_tokens=4000, answer_reserve_tokens=100, max_actions=1)
CHAINS: dict[str, tuple[Protocol, Limits, list[str], str]] = {  # the turns, and what completes a forced answer
    "an answer": (AUTOCOA, PLAIN, ["<think>\nI ask." + SEARCH.format("a"), "So.</think> \\boxed{Lucknow}"], ""),
    "a repeated action": (AUTOCOA, PLAIN, [SEARCH.format("a"), SEARCH.format("a"), "</think> \\boxed{b}"], ""),
    "two tools": (AUTOCOA, PLAIN, ["<begin_calculate> 1 </end_calculate>", "</think> \\boxed{b}"], ""),
    "no answer": (AUTOCOA, PLAIN, [SEARCH.format("a"), "I do not know.</think> Sorry."], ""),
    "an empty action": (AUTOCOA, PLAIN, ["<begin_search>  </end_search>", "</think> \\boxed{b}"], ""),
    "an action outside the thought": (AUTOCOA, PLAIN, ["x</think> " + SEARCH.format("a"), "\\boxed{b}"], ""),
    "an invented observation": (AUTOCOA, PLAIN, ["x <search_result> y", "</think> \\boxed{b}"], ""),
    "a forced answer": (AUTOCOA, ONE, [SEARCH.format("a"), "x " + SEARCH.format("b")], "Lucknow}"),
    "a forced answer with braces": (AUTOCOA, ONE, [SEARCH.format("a"), SEARCH.format("b")], "\\text{Lucknow}}"),
    "search_r1": (SEARCH_R1, PLAIN, ["<think>x</think> " + R1.format("a"), "<answer> Lucknow </answer> so"], ""),
    "search_r1, forced": (SEARCH_R1, ONE, [R1.format("a"), R1.format("b")], "Lucknow</answer>"),
    "search_r1, a turn without an answer": (
        SEARCH_R1,
        PLAIN,
        [R1.format("a"), "<think>x</think> I do not know", "<answer>Lucknow</answer>"],
        "",
    ),
    "react": (REACT, PLAIN, [RE.format("a"), RE.format("a"), "Thought: x\nFinal Answer: \\boxed{Lucknow}"], ""),
    "react, forced": (REACT, ONE, [RE.format("a"), RE.format("b")], "Lucknow}"),
    "react, an empty action": (REACT, PLAIN, [RE.format(""), "Final Answer: \\boxed{b}"], ""),
}
DIALECTS: dict[str, tuple[dict[str, Any], ChatOptions]] = {
    "stop strings are left out": ({}, ChatOptions()),
    "they are told, messages are continued": (
        {"stops": "told", "has_prefill": True},
        ChatOptions(prefill="last", stop="all"),
    ),
    "they are ignored": ({"stops": "ignored"}, ChatOptions()),
    "they are not sent": ({"has_prefill": True}, ChatOptions(stop="none", prefill="prefix")),
}


def chain(engine: Any, codec: Codec, prompt: list[int], limits: Limits) -> tuple[dict[str, Any], Trajectory]:
    """A rollout: all of it that does not depend on how text is cut into tokens, and the trajectory."""
    environment = ScriptedEnvironment({"a": "Kim ends near Lucknow.", "1": "one"})

    async def play() -> Trajectory:
        async with engine if isinstance(engine, TextEngine) else nullcontext():
            return await rollout(prompt, engine=engine, environment=environment, codec=codec, limits=limits)

    trajectory = asyncio.run(play())
    asked = [(each.tool, each.parameters) for each in environment.asked]
    return {**without_tokens(trajectory, codec), "asked": asked}, trajectory


def brace_by_brace(forced: str) -> list[str]:
    """What completes a forced answer, as it is sampled: each closing brace ends a turn."""
    return [f"{part}}}" for part in forced.split("}")[:-1]] or [forced] * bool(forced)


def without_tokens(trajectory: Trajectory, codec: Codec) -> dict[str, Any]:
    """All of a trajectory that does not depend on how text is cut into tokens; neighbours of one kind are one."""
    parts: list[list[Any]] = []
    ends = [codec.decode([end]) for end in codec.end_ids]
    for each in trajectory.segments:
        text = each.text
        for end in ends:
            text = text.removesuffix(end)
        if parts and parts[-1][:2] == [each.role, each.source]:
            parts[-1][2] += text
        elif text:
            parts.append([each.role, each.source, text])
    counts = {
        name: count for name, count in vars(trajectory.counts).items() if not name.endswith(("tokens", "seconds"))
    }
    found = score(trajectory, ("Lucknow",), codec.protocol, RewardConfig())
    ended = trajectory.stop_reason, trajectory.forced_answer
    return {"parts": parts, "counts": counts, "ended": ended, "answer": found.answer, "metrics": found.parts}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", CHAINS)
def test_the_same_chain_as_text_and_as_ids_has_the_same_actions_observations_answer_and_metrics(
    name: str, dialect: str
) -> None:
    protocol, limits, turns, forced = CHAINS[name]
    script = [*turns, *brace_by_brace(forced)]
    # what ends at no stop string ends the sequence
    script[-1] += "" if forced or "</answer>" in script[-1] else "<eos>"
    of_ids = Codec(CharTokenizer(), protocol)
    engine = ScriptedEngine(script, encode=of_ids.encode, decode=of_ids.decode)
    expected, _ = chain(engine, of_ids, of_ids.encode("Where does Kim end?"), limits)

    (dialect_of_server, options), rest = DIALECTS[dialect], iter(brace_by_brace(forced))
    play, codec = turns_of(turns), Codec(TOKENIZER, protocol)
    with serving_chat(lambda messages: play(messages) or next(rest), **dialect_of_server) as server:
        text_engine = TextEngine(server.url, "teller", protocol, options=options, max_attempts=1)
        found, trajectory = chain(text_engine, codec, prompt_ids(TOKENIZER, QUESTION), limits)
        assert server.mistakes == []
    assert found == expected
    assert is_text(trajectory.response_ids)
    assert Trajectory.from_dict(json.loads(json.dumps(trajectory.to_dict()))) == trajectory


def test_the_policy_can_imagine_through_a_chat_server() -> None:
    codec, turns = Codec(TOKENIZER, AUTOCOA), [SEARCH.format("a"), "</think> \\boxed{Agra}"]
    with serving_chat(turns_of(turns, "Kim ends in Agra. ")) as server:

        async def run() -> Trajectory:
            async with TextEngine(server.url, "teller", AUTOCOA) as engine:
                world = build_world_model(WorldModelSettings())
                prompt = prompt_ids(TOKENIZER, QUESTION)
                return await rollout(prompt, engine=engine, environment=world, codec=codec, limits=PLAIN)

        trajectory = asyncio.run(run())
        assert server.mistakes == []
    # the closing tag that ended the reply is put back, so nothing has to be repaired
    assert "<search_result>Kim ends in Agra. </search_result>" in trajectory.text()
    assert (trajectory.counts.simulated_calls, sum(trajectory.counts.repairs.values())) == (1, 0)


# --- training refuses it

SEGMENT = Piece(Role.ANSWER, Source.POLICY, "</think> \\boxed{a}", tuple(TOKENIZER.encode("</think> \\boxed{a}")))
BORN = CotRecord(
    id="q1",
    protocol="autocoa",
    prompt_ids=tuple(prompt_ids(TOKENIZER, QUESTION)),
    tokenizer=TEXT_V1,
    segments=(SEGMENT,),
)


def test_rows_with_ids_of_text_are_refused_by_every_way_into_training() -> None:
    sentence = "text that a chat server gave .text-v1., and no model can be trained on them: leave out prompt_ids"
    with pytest.raises(DataError, match=rf"prompt_ids: its ids are {sentence}"):
        record_of_row(row_of_record(BORN))  # a file
    for codec in (Codec(CharTokenizer(), AUTOCOA), Codec(TOKENIZER, AUTOCOA)):  # its own tokenizer included
        with pytest.raises(TokenizerError, match=rf"row 'q1': its ids are {sentence}"):
            to_trajectory(BORN, codec, BORN.prompt_ids or ())


def test_nothing_that_trains_knows_the_text_engine() -> None:
    package = Path(autocoa_plugin.__file__).parent
    files = [path for room in ("verl_adapters", "stages") for path in (package / room).rglob("*.py")]
    assert files and [path for path in files if "engines.text" in path.read_text(encoding="utf-8")] == []
