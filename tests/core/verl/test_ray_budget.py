"""One budget for all workers: a real Ray, two workers that take at the same time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import pytest
from omegaconf import OmegaConf

from autocoa_plugin.answering import RoutingSettings
from autocoa_plugin.environments.router import LocalBudget

pytest.importorskip("ray", reason="needs the extra verl")
import ray

from autocoa_plugin.verl_adapters.runtime import RayBudget, shared_budget

LIMITED = RoutingSettings(real_calls_per_step=10)


def config(folder: str = "checkpoints/project/run"):
    return OmegaConf.create({"trainer": {"default_local_dir": folder}})


def test_without_a_limit_there_is_no_budget() -> None:
    assert shared_budget(config(), RoutingSettings()) is None


def test_without_ray_the_budget_is_a_local_one() -> None:
    budget = shared_budget(config(), LIMITED)
    assert isinstance(budget, LocalBudget) and budget.calls_per_step == 10


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    this_module = sys.modules[__name__]  # workers cannot import a test file
    ray.cloudpickle.register_pickle_by_value(this_module)
    yield
    ray.cloudpickle.unregister_pickle_by_value(this_module)
    ray.shutdown()


class Worker:
    """What an agent-loop worker does: builds its own view of the budget, and takes from it."""

    def __init__(self, folder: str) -> None:
        self.budget = shared_budget(config(folder), LIMITED)

    async def take(self, step: int, times: int) -> int:
        return sum(await asyncio.gather(*(self.budget.take(step) for _ in range(times))))

    async def give_back(self, step: int) -> None:
        await self.budget.give_back(step)


@pytest.mark.e2e
def test_two_workers_that_take_at_the_same_time_get_exactly_the_budget_together(cluster: None) -> None:
    start = ray.remote(Worker).options(num_cpus=0)
    first, second, other_run = start.remote("a/run"), start.remote("a/run"), start.remote("another/run")
    # 2 x 30 takers for 10 calls; the next step and another run have 10 of their own
    taken = ray.get([first.take.remote(1, 30), second.take.remote(1, 30)])
    assert sum(taken) == 10
    assert ray.get(other_run.take.remote(1, 30)) == 10
    assert ray.get(first.take.remote(2, 4)) == 4  # one after the other: who comes first in a race is not fixed
    assert ray.get(second.take.remote(2, 30)) == 6
    ray.get(first.give_back.remote(2))
    assert ray.get(second.take.remote(2, 30)) == 1


@pytest.mark.e2e
def test_the_driver_shares_the_workers_budget_and_its_actor_takes_no_cpu(cluster: None) -> None:
    budget = shared_budget(config("b/run"), LIMITED)
    assert isinstance(budget, RayBudget)
    worker = ray.remote(Worker).options(num_cpus=0).remote("b/run")
    assert ray.get(worker.take.remote(1, 7)) == 7
    assert sum(asyncio.run(_take(budget, 30))) == 3
    assert ray.available_resources()["CPU"] == 2


async def _take(budget: RayBudget, times: int) -> list[bool]:
    return await asyncio.gather(*(budget.take(1) for _ in range(times)))
