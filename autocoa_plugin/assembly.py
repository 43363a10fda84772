"""Build the environment and the retriever that a recipe's settings describe.

    toolbox ─┬─ search ──── router ─┬─ real ──────── cassette ── search ── cache ── retriever
             │                      └─ world_model ── author
             └─ calculate

A layer that a recipe does not ask for is not there: without routing and cassette, search is the tool itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .environments.base import Environment
from .environments.router import Budget
from .environments.tools import CalculatorEnvironment, SearchEnvironment, Toolbox
from .errors import ConfigError, nearest
from .retrieval.base import Retriever
from .settings import SearchSettings, Settings


def build_environment(settings: Settings, *, budget: Budget | None = None) -> Environment:
    """Build the environment of a recipe: one entry per tool it provides.

    `budget` counts the real calls of a step for all workers; without it each environment counts its own.
    Raises `ConfigError` for a tool that nothing here builds.
    """
    check_tools(settings)
    return Toolbox({name: TOOLS[name](settings, budget) for name in settings.tools})


def build_real(settings: Settings) -> Environment | None:
    """Build the real search tool, on tape when a cassette is configured; None when nothing may ask it."""
    tool = build_search(settings.search) if settings.search is not None and settings.needs_search else None
    if settings.cassette is None:
        return tool
    from .environments.cassette import build_cassette

    return build_cassette(settings.cassette, settings.protocol, settings.search, tool)


def check_tools(settings: Settings) -> None:
    """Refuse, with `ConfigError`, a tool that nothing here builds."""
    for name in settings.tools:
        if name not in TOOLS:
            raise ConfigError(f"tools must be among {sorted(TOOLS)}, got {name!r}{nearest(name, TOOLS)}")


def _calculator(settings: Settings, budget: Budget | None) -> Environment:
    return CalculatorEnvironment()


def _search_tool(settings: Settings, budget: Budget | None) -> Environment:
    from .environments.router import Router, build_policy
    from .environments.world_model import build_world_model

    routing, real = settings.routing, build_real(settings)
    if real is not None and not routing.imagines and routing.validation != "world_model":
        return real
    environments: dict[str, Environment] = {"world_model": build_world_model(settings.world_model)}
    if real is not None:
        environments["real"] = real
    return Router(environments, build_policy(routing, budget), validation=routing.validation)


TOOLS: Mapping[str, Callable[[Settings, Budget | None], Environment]] = {
    "search": _search_tool,
    "calculate": _calculator,
}
"""Every tool that a recipe may name under `tools`, with what builds it."""


def build_search(settings: SearchSettings) -> SearchEnvironment:
    """Build the search environment with its cache."""
    from .retrieval.base import CachedRetriever

    retriever = CachedRetriever(build_retriever(settings), max_entries=settings.cache_size)
    return SearchEnvironment(retriever, top_k=settings.top_k, price=settings.price_per_1000 / 1000)


def build_retriever(settings: SearchSettings) -> Retriever:
    """Build the retriever of a backend; raises `ConfigError` when its extra is not installed."""
    if settings.backend == "index":
        from .retrieval.index_build import open_or_build

        return open_or_build(str(settings.corpus), settings.index_folder)
    if settings.backend == "duckduckgo":
        from .retrieval.web import WebRetriever

        return WebRetriever(timeout_s=settings.timeout_s)
    from .retrieval.client import HttpRetriever

    return HttpRetriever(
        str(settings.url),
        dialect=settings.backend,
        timeout_s=settings.timeout_s,
        max_attempts=settings.max_attempts,
        max_in_flight=settings.max_concurrency,
    )
