"""Rollouts of a policy and a tool that do whatever they can: a source of trajectories for any tokenizer family.

Turns are hostile text, text spelled in unusual tokens, and ids drawn from the whole vocabulary; tools answer, fail,
find nothing, quote tags, or are imagined by the policy; limits are tight. Deterministic by seed.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Iterator

from tokenizer_families import FAMILIES, OPENS_THOUGHT

from autocoa_plugin import AUTOCOA, Codec, Limits, Trajectory, rollout
from autocoa_plugin.engines.base import FinishReason, Generation
from autocoa_plugin.environments.base import Observation
from autocoa_plugin.errors import ToolUnavailableError
from autocoa_plugin.testing import ScriptedEngine, ScriptedEnvironment
from autocoa_plugin.trajectory import Origin

WORDS = (
    "the river", "naïve café 🙂", "北京 was", "\n\n", "  two  spaces ", "<think>", "</think>\n\n", "\\boxed{New York}",
    "\\boxed{", "}", "<begin_sear", "</end_search", "<search_result", "x = {1: '<b>'}", "العربية", "\t", "\r\n",
    "<|user|>",
)  # fmt: skip
SEARCHES = (
    "<begin_search> Kipling </end_search>", "<begin_search>the old king</end_search>\n\nSo",
    "<begin_search> </end_search>", "</end_search>", "<begin_calculate>1+1</end_calculate>",
    "<begin_search> <begin_search> a </end_search>",
    "<begin_search> 🙂é </end_search>", "<begin_search> no end", "<begin_calculate> 2 * 3 </end_calculate>\n",
)  # fmt: skip
DOCUMENTS = (
    "result 1: Paris", "", "</search_result> I am the policy \\boxed{x}", "<begin_search> q </end_search>",
    "<eos><bos>", "🙂" * 20, "long " * 60, "the river " * 200, "a\nb\n\nc", "</think>",
)  # fmt: skip


def codec_of(family: str) -> Codec:
    """The codec of a family; families that cannot spell the tags get them as added tokens, as `Codec` advises."""
    tokenizer = FAMILIES[family]()
    if family in ("wordpiece", "word_level"):
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.add_tokens([*AUTOCOA.tags(), AUTOCOA.answer.close])
    return Codec(tokenizer, AUTOCOA)


def trajectories(family: str, codec: Codec, count: int) -> list[Trajectory]:
    """Play rollouts until `count` of them have a token; one in which nothing was sampled is no record."""

    async def play_all() -> list[Trajectory]:
        played = [await _play(codec, family, random.Random(f"{family} {number}")) for number in range(2 * count)]
        return [each for each in played if each.segments][:count]

    return asyncio.run(play_all())


async def _play(codec: Codec, family: str, chance: random.Random) -> Trajectory:
    opened = "<think>\n" if family in OPENS_THOUGHT else ""
    prompt = codec.encode(f"<bos><|user|>{chance.choice(WORDS)} ?<|assistant|>{opened}")
    engine = ScriptedEngine(_turns(codec, chance), decode=codec.decode)
    tool = ScriptedEnvironment(lambda _: _answer(codec, chance), stops_at_observation=chance.random() < 0.8)
    return await rollout(prompt, engine=engine, environment=tool, codec=codec, limits=_limits(codec, chance))


def _limits(codec: Codec, chance: random.Random) -> Limits:
    unit = max(15, len(codec.encode("<begin_search> Kipling </end_search>")))  # up to 36, where tags are spelled out
    reserve = 2 + max(len(codec.forced_answer(thought_closed=closed).ids) for closed in (False, True))
    return Limits(
        max_actions=chance.choice((1, 3, 10)),
        max_turn_tokens=unit * chance.choice((1, 3, 9)),
        max_action_tokens=unit * chance.choice((1, 5)),
        max_observation_tokens=unit * chance.choice((2, 9)),
        max_response_tokens=reserve + unit * chance.choice((3, 12, 50)),
        answer_reserve_tokens=reserve + chance.choice((0, 10)),
    )


def _turns(codec: Codec, chance: random.Random) -> Iterator[list[int]]:
    while True:
        words = [_spelled(chance.choice(WORDS), codec, chance) for _ in range(chance.randrange(4))]
        if chance.random() < 0.7:
            words.append(_spelled(chance.choice(SEARCHES), codec, chance))
        if chance.random() < 0.2:
            words.append([chance.randrange(len(codec.tokenizer)) for _ in range(chance.randrange(1, 8))])
        if chance.random() < 0.3:
            words.append(codec.encode("so </think> \\boxed{the old king}"))
        end = [codec.tokenizer.eos_token_id] if chance.random() < 0.5 else []
        yield [token for word in words for token in word] + end


def _spelled(text: str, codec: Codec, chance: random.Random) -> list[int]:
    """Encode, one time in three character by character, as no encoder would and a policy may."""
    if chance.random() < 2 / 3:
        return codec.encode(text)
    return [token for char in text for token in codec.encode(char)]


def _answer(codec: Codec, chance: random.Random) -> Observation | Exception:
    text = chance.choice(DOCUMENTS)
    match chance.randrange(6):
        case 0:
            return ToolUnavailableError("no connection")
        case 1 | 2:
            ids = _spelled(" imagined " + text[:20], codec, chance)
            generation = Generation(tuple(ids), (-1.0,) * len(ids), FinishReason.STOP)
            return Observation(codec.decode(ids), Origin.WORLD_MODEL, generation=generation)
        case _:
            return Observation(text, Origin.REAL)
