"""Requests wait for their turn, so that a minute holds no more of them than a server allows."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiolimiter import AsyncLimiter
from hypothesis import given
from hypothesis import strategies as st
from playing import CODEC, ScriptedPolicy, knows

from autocoa_plugin.engines.base import Sampling
from autocoa_plugin.errors import EngineError
from autocoa_plugin.lab.synthesize.schedule import PacedEngine, limiter, paced

PROMPTS = [CODEC.encode(f"<user>Which number is {number}?<assistant>") for number in range(6)]


async def ask(engine, prompts=PROMPTS) -> None:
    sampling = Sampling()
    await asyncio.gather(*(engine.generate(each, max_tokens=9, stop=(), sampling=sampling) for each in prompts))


def test_requests_pass_at_the_limiters_rate_in_the_order_they_came():
    async def seconds() -> float:
        started = time.perf_counter()
        await ask(PacedEngine(policy, AsyncLimiter(1, 0.04)))
        return time.perf_counter() - started

    policy = ScriptedPolicy(CODEC, knows)
    assert asyncio.run(seconds()) >= 5 * 0.04 - 0.005  # the first of six at once, then one each 40 ms
    assert policy.prompts == [CODEC.decode(each) for each in PROMPTS]


@given(rate=st.floats(0.01, 1e6))
def test_a_minute_holds_no_more_than_the_rate_and_one_second_of_it(rate):
    bucket = limiter(rate)
    assert bucket.max_rate / bucket.time_period * 60 == pytest.approx(rate)
    assert bucket.max_rate == max(1.0, rate / 60)  # what can come at once; a single request always can


def test_a_rate_below_one_a_minute_lets_the_first_request_pass():
    asyncio.run(asyncio.wait_for(ask(paced(ScriptedPolicy(CODEC, knows), 0.5), PROMPTS[:1]), 5))


def test_without_a_rate_an_engine_is_left_as_it_is():
    policy = ScriptedPolicy(CODEC, knows)
    assert paced(policy, None) is policy


def test_a_paced_engine_has_the_context_and_the_errors_of_its_engine():
    policy = ScriptedPolicy(CODEC, knows, dies_at=1)
    policy.max_context_tokens = 77
    engine = paced(policy, 60.0)
    assert engine.max_context_tokens == 77
    with pytest.raises(EngineError, match="the server is gone"):
        asyncio.run(ask(engine, PROMPTS[:1]))
