"""The purse: what was spent, and that a ceiling is not exceeded by what is in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.engines.base import FinishReason, Generation, Sampling
from autocoa_plugin.errors import EngineError
from autocoa_plugin.lab.synthesize.attempt import Usage
from autocoa_plugin.lab.synthesize.job import Prices
from autocoa_plugin.lab.synthesize.schedule import MeteredEngine, Purse
from autocoa_plugin.testing import ScriptedEngine

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
