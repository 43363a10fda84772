"""Build the environment, the protocol and the retriever that a recipe's settings describe.

    toolbox ─┬─ search ──── router ─┬─ real ──────── cassette ─┬─ search ── cache ── retriever
             │                      └─ world_model ── author   │
             ├─ open_page ──────────── cassette ───────────────┼─ open_page ── the same retriever
             ├─ tide (yours) ───────── cassette ───────────────┴─ tide
             └─ calculate

A layer that a recipe does not ask for is not there: without routing and cassette, search is the tool itself.
`routing.tools` says which tools are routed; all but `calculate`, which is free and exact, are on the tape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from .answering import SEARCHING, TOOL_NAMES, TOOLS, SearchSettings, own
from .cassette.header import corpus_identity
from .environments.base import Environment, identity_of_part
from .environments.open_page import OPEN_PAGE, PAGE_CHARS, OpenPageEnvironment, spec_of
from .environments.router import Budget, Router, build_policy
from .environments.tools import CalculatorEnvironment, FunctionTool, SearchEnvironment, Toolbox
from .environments.world_model import build_world_model
from .errors import ConfigError
from .lookup import Plug, check_arguments
from .protocol import Protocol, ToolSpec, get_protocol
from .retrieval.base import Retriever, opens_documents
from .runs.identity import flatten
from .settings import Settings


def build_environment(settings: Settings, *, budget: Budget | None = None) -> Toolbox:
    """Build the environment of a recipe: one entry per tool it provides.

    `budget` counts the real calls of a step for all workers; without it each environment counts its own.
    Raises `ConfigError` for a tool that cannot be built.
    """
    routing, real = settings.routing, _real_tools(settings)
    # one policy and one world model for all routed tools: they share the budget, and what an author holds open
    routed = {
        name for name in routing.tools if routing.imagines or routing.validation == "world_model" or name not in real
    }
    if not routed & settings.toolbox.keys():
        return Toolbox({name: real[name] for name in settings.toolbox})
    world_model, policy = build_world_model(settings.world_model), build_policy(routing, budget)

    def answering(name: str) -> Environment:
        if name not in routed:
            return real[name]
        environments = {"world_model": world_model, **({"real": real[name]} if name in real else {})}
        return Router(environments, policy, validation=routing.validation)

    return Toolbox({name: answering(name) for name in settings.toolbox})


def protocol_of(settings: Settings, environment: Environment) -> Protocol:
    """Return the protocol of a recipe, with the tools that its environment offers.

    Raises `ConfigError` for a tool that the protocol has no tags for.
    """
    specs: Iterable[ToolSpec] = getattr(environment, "specs", ())
    return get_protocol(settings.protocol).with_tools(tuple(specs))


def identity_of(settings: Settings, environment: Toolbox) -> dict[str, Any]:
    """Identify what answers depend on beside the settings themselves, as flat keys: other people's code, by content.

    {"tools.tide.use": "tool.py:Tide", "tools.tide.source": "sha256:..", ...}; empty where all is ours.
    """
    found: dict[str, dict[str, Any]] = dict(settings.foreign())
    if "search.backend" in found and settings.search is not None:
        found["search.backend"]["corpus"] = corpus_identity(settings.search)
    for name, tool in environment.parts.items():
        plug = settings.toolbox[name]
        # what a tool says of itself, else what it was built with
        content = identity_of_part(tool) or (plug.arguments if plug.use in TOOL_NAMES and plug.use != "mcp" else {})
        if content:
            found[f"tools.{name}"] = {**found.get(f"tools.{name}", {}), **content}
    return flatten(found)


def build_real(settings: Settings) -> Toolbox | None:
    """Build the real tools, on tape when a cassette is configured; None when nothing may ask one."""
    tools = _real_tools(settings)
    return Toolbox(tools) if tools else None


def _real_tools(settings: Settings) -> dict[str, Environment]:
    tools = {name: tool for name in settings.toolbox if (tool := _tool(name, settings)) is not None}
    if settings.cassette is None:
        return tools
    from .environments.cassette import build_cassette, read_offer

    recorded = [name for name, plug in settings.toolbox.items() if plug.use != "calculate"]
    protocol = get_protocol(settings.protocol).name
    others = {key: content for key, content in settings.foreign().items() if key.startswith("tools.")}
    # with it search shows ids: another observation of the same query
    others |= {
        f"tools.{name}": {"page_chars": PAGE_CHARS, **plug.arguments}
        for name, plug in settings.toolbox.items()
        if plug.use == "open_page"
    }
    others |= {f"tools.{name}": content for name, tool in tools.items() if (content := identity_of_part(tool))}
    servers = [name for name in recorded if settings.toolbox[name].use == "mcp"]
    offers = {name: read_offer(settings.cassette, name) for name in servers if settings.replays}
    others |= {f"tools.{name}": content for name, (_, content) in offers.items()}
    first = next((tools[name] for name in recorded if name in tools), None)
    tape = build_cassette(settings.cassette, protocol, settings.search, first, others=others)
    for name in servers if not settings.replays else ():
        tape.keep_offer(name, tools[name])
    # what the tools take that a replay does not build
    specs = {name: spec_of(name) for name, plug in settings.toolbox.items() if plug.use == "open_page"}
    specs |= {name: offered for name, (offered, _) in offers.items()}
    return tools | {name: tape.around(tools.get(name), specs=specs.get(name, ())) for name in recorded}


def _tool(name: str, settings: Settings) -> Environment | None:
    """Build one tool; None for one that is never asked."""
    plug, where = settings.toolbox[name], f"autocoa.tools.{name}"
    if own(plug, TOOL_NAMES, TOOLS, where) is None:
        return build_tool(name, plug)
    if plug.use in SEARCHING and not settings.asks(name):
        return None
    if plug.use == "mcp":
        if settings.replays:  # the tape knows what was offered, and nobody is asked
            return None
        return TOOLS.build(Plug(_MCP, plug.arguments), where=where)
    build = partial(BUILDERS[plug.use], settings, name)
    check_arguments(build, plug.arguments, f"{where}: {plug.use}")
    return build(**plug.arguments)


def build_tool(name: str, plug: str | Plug) -> Environment:
    """Build a tool of somebody else's: an object with `answer`, or a plain function. Raises `ConfigError`."""
    found = TOOLS.build(plug, where=f"autocoa.tools.{name}", known=TOOL_NAMES)
    if not hasattr(found, "answer"):
        return FunctionTool(name, found)
    if not hasattr(found, "stops_at_observation"):
        raise ConfigError(
            f"autocoa.tools.{name}: {type(found).__name__} does not say whether a turn ends where the policy opens an "
            "observation itself: set stops_at_observation = True in it"
        )
    return found


def _search(settings: Settings, name: str) -> Environment:
    if settings.search is None:
        raise ConfigError("search is required when tools include 'search'")
    return build_search(settings.search, shows_ids=settings.opens_pages)


def _open_page(settings: Settings, name: str, page_chars: int = PAGE_CHARS) -> Environment:
    if settings.search is None:
        raise ConfigError("search is required when tools include 'open_page'")
    return build_open_page(settings.search, page_chars=page_chars, name=name)


_MCP = "autocoa_plugin.environments.mcp:McpTools"  # by its path: what it imports is an extra

BUILDERS: Mapping[str, Callable[..., Environment]] = {
    "search": _search,
    "open_page": _open_page,
    "calculate": lambda settings, name: CalculatorEnvironment(),
}
"""What builds each tool of `settings.TOOL_NAMES`, from the settings, the name and the arguments of its entry."""


def build_search(settings: SearchSettings, *, shows_ids: bool = False) -> SearchEnvironment:
    """Build the search environment with its cache; raises `ConfigError` for a backend without a place."""
    from .retrieval.base import CachedRetriever

    retriever = CachedRetriever(build_retriever(settings), max_entries=settings.cache_size)
    price = settings.price_per_1000 / 1000
    return SearchEnvironment(retriever, top_k=settings.top_k, price=price, shows_ids=shows_ids)


def build_open_page(
    settings: SearchSettings, *, page_chars: int = PAGE_CHARS, name: str = OPEN_PAGE.name
) -> OpenPageEnvironment:
    """Build the environment that opens documents of the search tool; raises `ConfigError` where it cannot open any."""
    if not settings.is_foreign and settings.backend not in _OPENING:
        raise _cannot_open(settings)
    retriever = build_retriever(settings, opens=True)
    if not opens_documents(retriever):
        raise _cannot_open(settings)
    return OpenPageEnvironment(retriever, page_chars=page_chars, price=settings.price_per_1000 / 1000, name=name)


_OPENING = ("index", "autocoa")


def _cannot_open(settings: SearchSettings) -> ConfigError:
    return ConfigError(
        "open_page reads documents of an embedded index (search.backend=index), of our own server (autocoa), or of a "
        f"retriever with a method open; search.backend={settings.backend_name} has none"
    )


def build_retriever(settings: SearchSettings, *, opens: bool = False) -> Retriever:
    """Build the retriever of a backend; raises `ConfigError` when its extra is not installed.

    `opens`: an index of a version that could not open documents is built again.
    """
    settings.check()
    if settings.is_foreign:
        from .retrieval.foreign import build_foreign

        return build_foreign(settings)
    if settings.backend == "index":
        from .retrieval.index_build import open_or_build

        return open_or_build(str(settings.corpus), settings.index_folder, opens=opens)
    if settings.backend == "duckduckgo":
        from .retrieval.web import WebRetriever

        return WebRetriever(timeout_s=settings.timeout_s)
    from .retrieval.client import HttpRetriever, OwnServerRetriever

    is_ours = settings.backend == "autocoa"
    return (OwnServerRetriever if is_ours else HttpRetriever)(
        str(settings.url),
        dialect="search_r1" if is_ours else str(settings.backend),
        timeout_s=settings.timeout_s,
        max_attempts=settings.max_attempts,
        max_in_flight=settings.max_concurrency,
    )
