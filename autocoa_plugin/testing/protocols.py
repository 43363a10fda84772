"""Does my protocol keep the rules? `check_protocol` spells it, plays it, and names the first rule it breaks.

    def test_my_tags_keep_the_rules_of_a_protocol():
        check_protocol(TAGS)

With a model's own tokenizer it also says whether the tags survive being encoded and decoded.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..limits import Limits
from ..protocol import Protocol, Tool
from ..rewards import format_errors
from ..tokenization import Codec
from ..trajectory import Role, Source, StopReason
from .fakes import readable
from .script import Script, letters
from .tools import check_spelled
from .trial import rule, shown

MOST_STOPS = 4
"""Stop strings that an OpenAI-compatible server takes in one request."""


def check_protocol(
    protocol: Protocol,
    tokenizer: Any = None,
    *,
    query: str = "Rudyard Kipling",
    answer: str = "Bombay",
    calls: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Check that a protocol keeps the rules of a rollout, for every tool that it has.

    `tokenizer`: the policy's, default one token per character; `query` and `answer` are texts that it can spell.
    `calls` are arguments, by name, of the tools that need more than one text.
    Warns of more than four stop strings, which servers refuse. Raises `AssertionError`: one sentence with the rule that
    was broken and what was seen; `TokenizerError` when the tokenizer loses a tag.
    """
    __tracebackhide__ = True
    rule(isinstance(protocol, Protocol), f"a protocol is a protocol.Protocol, got {type(protocol).__name__}")
    what = f"protocol {protocol.name!r}"
    for tag in protocol.tags():  # what else tags must be is checked when the protocol is made
        rule(len(tag) > 1, f"{what}: the tag {tag!r} is one character, which cannot be kept out of observations")
    codec = Codec(tokenizer or readable(protocol), protocol)
    script = Script(codec, query, answer, calls=calls or {})
    for text in (query, answer):
        seen = codec.decode(codec.encode(text))
        rule(letters(seen) == letters(text), f"the tokenizer spells {text!r} as {seen!r}: pass a query and an answer")
    for tool in protocol.tools:
        _check_action(script, tool, f"{what}, tool {tool.name!r}")
        _check_observation(codec, tool, query, f"{what}, tool {tool.name!r}")
    _check_answer(protocol, answer, what)
    _check_rollout(script, what)
    for tool in protocol.spelled_tools:  # tags that begin and end inside tokens, whatever the tokenizer does
        split = replace(script, codec=Codec(readable(protocol, _merges(tool)), protocol))
        _check_rollout(split, f"{what} with tags of {tool.name!r} split over tokens")
    _check_forced(script, what)
    stops = protocol.stop_strings(stop_at_observation=True)
    if len(stops) > MOST_STOPS:
        spelled = ", ".join(stops)
        warnings.warn(f"{what} ends a turn at {len(stops)} strings, servers take {MOST_STOPS}: {spelled}", stacklevel=2)


def _check_action(script: Script, tool: Tool, what: str) -> None:
    protocol, (spelled, parameters) = script.codec.protocol, script.call(tool)
    text = f"I need it. {spelled} And so on."
    action = protocol.find_action(text)
    if action is None:
        rule(False, f"{what}: no action is found in {text!r}")
        return
    rule(action.defect is None, f"{what}: the action in {text!r} is refused as {action.defect}")
    rule(action.tool == tool.name, f"{what}: the action in {text!r} is taken for one of {action.tool!r}")
    rule(
        action.parameters == parameters,
        f"{what}: the parameters in {text!r} are read as {action.parameters!r}, expected {parameters!r}",
    )
    seen = text[action.start : action.end]
    rule(seen == spelled, f"{what}: of the action {spelled!r} only {seen!r} is found")
    half = text[: action.end - 1]
    rule(protocol.find_action(half) is None, f"{what}: an action is found in {half!r}, which does not close it")
    rule(
        protocol.find_open_action(half) == action.start,
        f"{what}: the action opened in {half!r} at {action.start} is found at {protocol.find_open_action(half)}",
    )
    stops = protocol.stop_strings(stop_at_observation=True)
    missing = [tag for tag in (tool.action.close, tool.observation.open) if not any(stop in tag for stop in stops)]
    rule(not missing, f"{what}: no stop string ends a turn at {', '.join(map(repr, missing))}, of {stops}")


def _check_observation(codec: Codec, tool: Tool, query: str, what: str) -> None:
    protocol, open, close = codec.protocol, tool.observation.open, tool.observation.close
    spelled = codec.spell_observation(tool, query, max_tokens=1000)
    seen = codec.decode(spelled.ids)
    rule(
        letters(seen) == letters(f"{protocol.observation_before}{open}{query}{close}{protocol.observation_after}"),
        f"{what}: an observation of {query!r} reads {seen!r} once it is decoded",
    )
    hostile = f"{' '.join(protocol.tags())} {''.join(protocol.tags())}"
    check_spelled(codec, tool, hostile, f"{what}: an observation that quotes every tag")
    documents = protocol.spell_documents([("A title", "A text.")])
    rule("A text." in documents, f"{what}: a document is spelled {documents!r}, without its text (document='{{text}}')")


def _check_answer(protocol: Protocol, answer: str, what: str) -> None:
    text = f"So {protocol.answer.open} {answer} {protocol.answer.close}"
    seen = protocol.extract_answer(text)
    rule(seen == answer, f"{what}: the answer in {text!r} is read as {seen!r}, expected {answer!r}")
    half = text.removesuffix(protocol.answer.close)
    rule(protocol.answer_is_open(half), f"{what}: the answer in {half!r} does not count as begun")
    rule(protocol.extract_answer(half) is None, f"{what}: an answer is read in {half!r}, which does not close it")
    forced = {"forced_answer": protocol.forced_answer}
    if protocol.thought is not None:
        forced["forced_answer_in_thought"] = protocol.forced_answer_in_thought
    for name, opening in forced.items():
        rule(
            protocol.answer_is_open(opening),
            f"{what}: {name} {opening!r} does not open an answer (it must hold {protocol.answer.open!r} and not close "
            "it): a rollout that a limit ends could not answer",
        )
        completed = f"{opening}{answer}{protocol.answer.close}"
        seen = protocol.extract_answer(completed)
        rule(seen == answer, f"{what}: {name}, completed to {completed!r}, is read as {seen!r}")
    if protocol.thought is not None and protocol.thought.close not in protocol.forced_answer_in_thought:
        in_thought = protocol.forced_answer_in_thought
        rule(False, f"{what}: forced_answer_in_thought {in_thought!r} does not close the thought")


# ---------------------------------------------------------------------------------------------------------- rollouts


def _check_rollout(script: Script, what: str) -> None:
    """Play one action per tool and the answer; every token must have the role and the mask that its text deserves."""
    codec, answer, tools = script.codec, script.answer, script.codec.protocol.tools
    turns = [*map(script.action, tools), script.answering()]
    trajectory, engine = script.play(turns, what=what)
    called = [(call.tool, call.parameters) for call in trajectory.calls()]
    rule(
        called == [(tool.name, script.call(tool)[1]) for tool in tools],
        f"{what}: a rollout with one action per tool made the calls {called}",
    )
    shown_ids = engine.prompts[-1][len(script.prompt_ids) :]
    rule(
        tuple(trajectory.response_ids[: len(shown_ids)]) == shown_ids,
        f"{what}: the trajectory's ids are not those that the engine was shown",
    )
    rule(
        len(trajectory.response_mask) == len(trajectory.response_ids),
        f"{what}: {len(trajectory.response_ids)} response tokens have {len(trajectory.response_mask)} mask values",
    )
    trained = "".join(segment.text for segment in trajectory.segments if segment.is_trained)
    written = "".join(turns)  # and the end of the sequence, unless a stop string came first
    rule(
        letters(trained).removesuffix(letters(codec.decode(script.end))) == letters(written),
        f"{what}: loss is on {shown(trained)}, but the policy wrote {shown(written)}",
    )
    for segment in trajectory.segments:
        if segment.role is Role.OBSERVATION:
            rule(
                segment.source is Source.ENVIRONMENT and not segment.is_trained,
                f"{what}: the observation {segment.text!r} carries loss",
            )
        if segment.role is Role.ACTION:
            opens = [tool.action.open for tool in codec.protocol.tools]
            rule(any(tag in segment.text for tag in opens), f"{what}: an action is cut to {segment.text!r}")
    seen = codec.protocol.extract_answer(trajectory.final_run())
    rule(seen == answer, f"{what}: the rollout's answer is read as {seen!r}, expected {answer!r}")
    rule(
        trajectory.stop_reason is StopReason.ANSWERED,
        f"{what}: a rollout that answers ends with {trajectory.stop_reason}, expected {StopReason.ANSWERED}",
    )
    faults = ", ".join(format_errors(trajectory, codec.protocol))
    rule(not faults, f"{what}: a perfect rollout is refused as ill-formed ({faults})")


def _check_forced(script: Script, what: str) -> None:
    """Play a rollout that a limit ends inside the thought; the forced answer must be completed and read."""
    protocol, answer = script.codec.protocol, script.answer
    turns = [script.action(protocol.tools[0]), f" {answer} {protocol.answer.close}"]
    limits = Limits(max_actions=0, max_response_tokens=4000, answer_reserve_tokens=400)
    trajectory, _ = script.play(turns, what=what, limits=limits)
    seen = protocol.extract_answer(trajectory.final_run())
    rule(
        trajectory.forced_answer and seen == answer,
        f"{what}: a rollout that a limit ends is made to answer, and its answer is read as {seen!r}, not {answer!r}",
    )


def _merges(tool: Tool) -> list[str]:
    """Tokens that end in the middle of a tag, begin in the middle of one, or hold a tag's end and what follows."""
    merges = []
    for tag in (tool.action.open, tool.action.close):
        half = len(tag) // 2
        merges += [f" {tag[:half]}", tag[half:-1], f"{tag[-1]} "]
    return [each for each in dict.fromkeys(merges) if len(each) > 1]
