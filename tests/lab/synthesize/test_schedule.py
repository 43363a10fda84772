"""When an attempt may begin, what it costs, and what is told of the work: pace, purse and progress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest
from aiolimiter import AsyncLimiter
from hypothesis import given
from hypothesis import strategies as st
from made_attempts import WRONG, made_attempt, made_question
from playing import CODEC, ScriptedPolicy, knows

from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.errors import EngineError
from autocoa_plugin.lab.synthesize.attempt import Attempt, Kind, Usage
from autocoa_plugin.lab.synthesize.job import Prices
from autocoa_plugin.lab.synthesize.schedule import MeteredEngine, PacedEngine, Purse, SynthesisProgress, limiter, paced
from autocoa_plugin.testing import ScriptedEngine

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


# The purse: what was spent, and that a ceiling is not exceeded by what is in flight.


COSTS = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=60)


def spend(purse: Purse, costs: Sequence[float], *, concurrency: int) -> tuple[int, int]:
    """Begin one rollout per cost as long as the purse allows; returns how many were begun, and most at once."""
    waiting, seen = iter(costs), {"begun": 0, "open": 0, "most": 0}

    async def work() -> None:
        for cost in waiting:
            if not await purse.begin():
                return
            seen["begun"] += 1
            seen["open"] += 1
            seen["most"] = max(seen["most"], seen["open"])
            await asyncio.sleep(0)
            seen["open"] -= 1
            purse.count(cost)
            purse.end()

    async def all_of_them() -> None:
        await asyncio.gather(*(work() for _ in range(concurrency)))

    asyncio.run(asyncio.wait_for(all_of_them(), 10))
    return seen["begun"], seen["most"]


@pytest.mark.parametrize("concurrency", [1, 5, 64])
@pytest.mark.parametrize("cost", [0.1, 0.25, 1 / 3, 1.0])
def test_rollouts_of_equal_cost_spend_all_of_the_ceiling_and_no_more(cost, concurrency):
    purse = Purse(ceiling=20 * cost)
    assert spend(purse, [cost] * 100, concurrency=concurrency)[0] == 20
    assert purse.spent == pytest.approx(20 * cost)


def test_before_any_cost_is_known_four_are_in_flight_and_then_as_many_more_as_are_finished():
    purse = Purse(ceiling=20.0)
    assert [asyncio.run(purse.begin()) for _ in range(4)] == [True] * 4
    assert not purse.may_begin()
    purse.count(1.0)
    purse.end()
    assert [asyncio.run(purse.begin()) for _ in range(2)] == [True] * 2  # 3 + 2 = 4 + 1
    assert not purse.may_begin()


def test_where_the_ceiling_is_far_all_begin_as_soon_as_one_cost_is_known():
    purse = Purse(ceiling=1 + 10 * 64.0)  # 64 in flight at ten times the mean
    for _ in range(4):
        assert asyncio.run(purse.begin())
    assert not purse.may_begin()
    purse.count(1.0)
    purse.end()
    begun = 3
    while purse.may_begin():
        assert asyncio.run(purse.begin())
        begun += 1
    assert begun == 64


def test_without_ceiling_everything_may_begin():
    purse = Purse()
    assert spend(purse, [5.0] * 100, concurrency=64) == (100, 64)
    assert purse.spent == 500.0


def test_what_earlier_sessions_spent_counts():
    purse = Purse(ceiling=1.0)
    for _ in range(9):
        purse.count(0.1)
    assert spend(purse, [0.1] * 5, concurrency=3)[0] == 1
    assert not purse.may_begin()


@given(costs=COSTS, ceiling=st.floats(0.001, 20.0), concurrency=st.integers(1, 64))
def test_whatever_rollouts_cost_a_ceiling_is_exceeded_by_what_was_in_flight_at_most(costs, ceiling, concurrency):
    purse = Purse(ceiling)
    begun, most = spend(purse, costs, concurrency=concurrency)
    assert begun >= 1 and most <= concurrency
    assert purse.spent <= ceiling * (1 + 1e-9) + most * max(costs)
    # it ends early only when one more of the mean cost would be too much
    assert begun == len(costs) or purse.spent + purse.spent / begun > ceiling


def test_a_rollout_that_fails_is_no_longer_in_flight():
    purse = Purse(ceiling=1.0)
    assert [asyncio.run(purse.begin()) for _ in range(4)] == [True] * 4
    purse.end()
    assert purse.may_begin() and purse.spent == 0.0


SAMPLING = Sampling()


def test_a_rollouts_requests_and_tokens_are_counted_and_priced():
    turns = [Generation((7, 8), None, FinishReason.STOP), Generation((9,), None, FinishReason.STOP)]
    engine = MeteredEngine(ScriptedEngine(turns), Prices(prompt=2.0, sampled=10.0))
    assert engine.usage == Usage()
    ids = [1, 2, 3]
    for _ in turns:
        ids += asyncio.run(engine.generate(ids, max_tokens=5, stop=(), sampling=SAMPLING)).ids
    # shown 3 and 5 ids, sampled 2 and 1, at 2 and 10 for a million
    assert engine.usage == Usage(2, 8, 3, pytest.approx((8 * 2 + 3 * 10) / 1e6))


def test_a_call_that_fails_is_a_request_without_tokens():
    engine = MeteredEngine(ScriptedEngine([]), Prices(prompt=2.0))
    with pytest.raises(EngineError, match="exhausted"):
        asyncio.run(engine.generate([1, 2], max_tokens=5, stop=(), sampling=SAMPLING))
    assert engine.usage == Usage(requests=1)


def test_a_metered_engine_has_the_context_of_its_engine():
    scripted = ScriptedEngine([])
    scripted.max_context_tokens = 77
    assert MeteredEngine(scripted, Prices()).max_context_tokens == 77


# What a synthesis says about itself while it runs.


def is_right(attempt: Attempt) -> bool:
    return attempt.sample.metrics["exact_match"] == 1.0


def test_it_tells_what_is_kept_and_which_share_of_the_attempts(capsys):
    with SynthesisProgress("Qwen", 4, is_right) as progress:
        assert progress.text() == "Qwen"
        for kind, outcome in ((Kind.COT, WRONG), (Kind.ACT, "right"), (Kind.COA, "right"), (Kind.THINK, WRONG)):
            progress.add(made_attempt("q1", 0, kind, outcome))
        assert progress.text() == "Qwen: kept 0 cot, 1 coa, 1 pairs, 50 % of 4 attempts"
        progress.finish(made_question(1))
    assert capsys.readouterr().out == "    Qwen: kept 0 cot, 1 coa, 1 pairs, 50 % of 4 attempts: 1/4\n"


def test_the_whole_cost_is_estimated_by_the_questions_that_are_finished():
    progress = SynthesisProgress("Qwen", 10, is_right, ceiling=30.0, has_lines=False)
    progress.add(made_attempt("q1", 0, cost=1.5))
    assert progress.text().endswith("; spent 1.50, at most 30.00")
    progress.finish(made_question(1))
    progress.add(made_attempt("q2", 0, cost=0.25))  # under way
    assert progress.text().endswith("; spent 1.75 of about 15.00, at most 30.00")  # 10 x 1.5
    for number in range(2, 11):
        progress.finish(made_question(number))
    assert progress.text().endswith("; spent 1.75, at most 30.00")


def test_the_estimate_is_never_below_what_is_spent():
    progress = SynthesisProgress("Qwen", 2, is_right, has_lines=False)
    progress.add(made_attempt("q1", 0, cost=0.01))
    progress.finish(made_question(1))
    progress.add(made_attempt("q2", 0, cost=0.05))
    assert progress.text().endswith("; spent 0.06 of about 0.06")


def test_a_line_is_told_each_tenth_but_not_about_what_earlier_sessions_did(capsys):
    with SynthesisProgress("Qwen", 20, is_right) as progress:
        progress.add(made_attempt("q0"), is_new=False)
        for number in range(10):
            progress.finish(made_question(number))
        assert capsys.readouterr().out == ""
        progress.add(made_attempt("q10"))
        for number in range(10, 20):
            progress.finish(made_question(number))
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["12/20", "14/20", "16/20", "18/20", "20/20"]


def test_without_lines_nothing_is_printed_where_there_is_no_terminal(capsys):
    with SynthesisProgress("Qwen", 1, is_right, has_lines=False) as progress:
        progress.add(made_attempt("q1"))
        progress.finish(made_question(1))
    assert capsys.readouterr().out == ""
