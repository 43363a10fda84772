"""The cache: one real call for what is asked again or at the same time."""

from __future__ import annotations

import asyncio

import pytest
from passages import CountingRetriever

from autocoa_plugin.errors import ConfigError, ToolUnavailableError
from autocoa_plugin.retrieval.base import CacheCounts, CachedRetriever


def hits(cache: CachedRetriever, *queries: str, top_k: int = 3) -> list[bool]:
    return [answer.is_hit for answer in asyncio.run(cache.search_counted(queries, top_k))]


def test_the_second_time_is_a_hit_with_the_same_documents() -> None:
    cache = CachedRetriever(inner := CountingRetriever())
    first = asyncio.run(cache.search(["a", "b"], 3))
    assert asyncio.run(cache.search(["a", "b"], 3)) == first
    assert inner.calls == [["a", "b"]]
    assert cache.counts == CacheCounts(hits=2, joined=0, misses=2)


def test_another_top_k_is_another_question() -> None:
    cache = CachedRetriever(CountingRetriever())
    assert hits(cache, "a") + hits(cache, "a", top_k=4) == [False, False]


def test_only_what_is_missing_is_asked() -> None:
    cache = CachedRetriever(inner := CountingRetriever())
    assert hits(cache, "a") + hits(cache, "a", "b", "b") == [False, True, False, True]
    assert inner.calls == [["a"], ["b"]]


def test_two_identical_queries_at_once_make_one_call() -> None:
    async def run() -> list[bool]:
        answers = await asyncio.gather(*(cache.search_counted(["a"], 3) for _ in range(50)))
        return [answer.is_hit for (answer,) in answers]

    cache = CachedRetriever(inner := CountingRetriever(delay_s=0.02))
    assert asyncio.run(run()) == [False] + [True] * 49
    assert inner.calls == [["a"]]
    assert cache.counts == CacheCounts(hits=49, joined=49, misses=1)


def test_the_first_asker_giving_up_does_not_fail_the_others() -> None:
    async def run() -> None:
        first = asyncio.create_task(cache.search(["a"], 3))
        await asyncio.sleep(0)
        second = asyncio.create_task(cache.search(["a"], 3))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second)[0][0].title == "a"

    cache = CachedRetriever(CountingRetriever(delay_s=0.02))
    asyncio.run(run())


def test_a_failure_reaches_every_waiter_and_is_not_remembered() -> None:
    async def run() -> list[object]:
        return await asyncio.gather(*(cache.search(["a"], 3) for _ in range(3)), return_exceptions=True)

    inner = CountingRetriever(delay_s=0.01, error=ToolUnavailableError("down"))
    cache = CachedRetriever(inner)
    assert [type(error) for error in asyncio.run(run())] == [ToolUnavailableError] * 3
    inner.error = None
    assert hits(cache, "a") == [False]
    assert len(inner.calls) == 2


def test_the_least_recently_used_answer_goes_first() -> None:
    cache = CachedRetriever(CountingRetriever(), max_entries=2)
    hits(cache, "a")
    hits(cache, "b")
    hits(cache, "a")
    hits(cache, "c")
    assert hits(cache, "a") + hits(cache, "b") == [True, False]
    with pytest.raises(ConfigError, match="max_entries"):
        CachedRetriever(CountingRetriever(), max_entries=0)


def test_a_caller_that_changes_its_list_changes_nobody_elses() -> None:
    cache = CachedRetriever(CountingRetriever())
    asyncio.run(cache.search(["a"], 3))[0].clear()
    asyncio.run(cache.search(["a"], 3))[0].clear()
    assert len(asyncio.run(cache.search(["a"], 3))[0]) == 1
