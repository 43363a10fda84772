"""From settings to objects: which environment answers, over which retriever."""

from __future__ import annotations

from .environments.base import Environment
from .environments.search import SearchEnvironment
from .environments.toolbox import Toolbox
from .retrieval.base import Retriever
from .settings import SearchSettings, Settings


def build_environment(settings: Settings) -> Environment:
    """Build the environment of a recipe: one entry per tool it provides."""
    tools: dict[str, Environment] = {}
    for name in settings.tools:
        if name == "calculate":
            from .environments.calculator import CalculatorEnvironment

            tools[name] = CalculatorEnvironment()
        elif settings.search is not None:
            tools[name] = build_search(settings.search)
    return Toolbox(tools)


def build_search(settings: SearchSettings) -> SearchEnvironment:
    """Build the search environment with its cache."""
    from .retrieval.cache import CachedRetriever

    retriever = CachedRetriever(build_retriever(settings), max_entries=settings.cache_size)
    return SearchEnvironment(retriever, top_k=settings.top_k, price=settings.price_per_1000 / 1000)


def build_retriever(settings: SearchSettings) -> Retriever:
    """Build the retriever of a backend; raises `ConfigError` when its extra is not installed."""
    if settings.backend == "index":
        from .retrieval.index_build import open_or_build

        corpus = str(settings.corpus)
        return open_or_build(corpus, settings.index_dir or f"{corpus}.index")
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
