"""The scripted engine and texts that must not be sampled: a script that writes one is a mistake of the test."""

from __future__ import annotations

import asyncio

import pytest

from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.errors import EngineError, EngineUnsupportedError
from autocoa_plugin.testing import CharTokenizer, ScriptedEngine

TOKENIZER = CharTokenizer()
FORBIDDING = Sampling(forbidden=("<x>",))


def play(turn: str | list[int] | Generation, stop: tuple[str, ...] = (), **options) -> str:
    engine = ScriptedEngine([turn], **{"encode": TOKENIZER.encode, "decode": TOKENIZER.decode, **options})
    generation = asyncio.run(engine.generate([1], max_tokens=9, stop=stop, sampling=FORBIDDING))
    return TOKENIZER.decode(generation.ids)


def test_a_turn_without_the_text_is_played():
    assert play("a <x b") == "a <x b"


@pytest.mark.parametrize(
    "turn", ["a <x> b", TOKENIZER.encode("<x>"), Generation(tuple(TOKENIZER.encode("<x>")), None, FinishReason.STOP)]
)
def test_a_turn_that_writes_the_text_is_an_error_that_shows_it(turn):
    with pytest.raises(EngineError, match=r"the script writes '<x>', which is forbidden: '.*<x>"):
        play(turn)


def test_a_text_after_the_turns_end_is_never_written():
    assert play("12345678<x>") == "12345678<"
    assert play("ab</s> <x>", stop=("</s>",)) == "ab</s>"


def test_without_a_decoder_it_cannot_tell_and_says_so():
    with pytest.raises(EngineUnsupportedError, match=r"pass decode=codec\.decode"):
        play("a", decode=None)
