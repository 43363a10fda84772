"""From options to `Settings`: who answers actions, over which corpus, under which limits.

embedded world  <  settings file  <  options  <  what the method demands        later ones win
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ...cassette.header import corpus_identity
from ...config import from_mapping, to_mapping
from ...errors import ConfigError
from ...runs.identity import file_fingerprint, flatten, without
from ...settings import Settings
from .methods import METHODS, Method, apply_method, get_method

EnvironmentName = Literal["real", "world_model", "cassette", "none"]


@dataclass(frozen=True)
class WorldOptions:
    """Who answers actions; None: as the settings file says.

    `environment` "real" is the search tool, "world_model" lets the policy imagine, "cassette" replays the tape
    `cassette`, "none" forbids actions.
    """

    environment: EnvironmentName | None = None
    corpus: str | None = None
    index_dir: str | None = None
    search_url: str | None = None
    search_backend: str | None = None
    web: bool = False
    top_k: int | None = None
    cassette: str | None = None
    max_actions: int | None = None
    tinyworld: Path | None = None


def job_settings(method: str | None, world: WorldOptions, file: Path | None = None) -> tuple[str, Settings]:
    """Build the settings of a job and name its method; raises `ConfigError` for what contradicts itself.

    Without a method it is the one called like the protocol of the settings file, else "autocoa". In the embedded world
    the methods are those of its tokenizer: "react" is "tinyworld_react".
    """
    given = read_settings(file)
    chosen = _method(method, given, world)
    if world.environment == "none":
        chosen = replace(chosen, has_tool=False)
        given.pop("tools", None)
    mapping = {**_tinyworld(world.tinyworld), **given}
    mapping |= _search(world, mapping) | _environment(world)
    if not chosen.has_tool:
        mapping.setdefault("tools", [])
    _check_search(mapping, chosen)
    settings = apply_method(from_mapping(Settings, mapping, where=str(file or "evaluate")), chosen, explicit=given)
    if world.max_actions is not None and chosen.has_tool:
        settings = replace(settings, limits=replace(settings.limits, max_actions=world.max_actions))
    return chosen.name, settings


def read_settings(file: Path | None) -> dict[str, Any]:
    """Read the `autocoa:` key of a recipe as a YAML file of its own, {} for None; raises `ConfigError`."""
    if file is None:
        return {}
    try:
        import yaml
    except ImportError as error:
        raise ConfigError("a settings file needs PyYAML: pip install 'autocoa-plugin[eval]'") from error
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} is not a readable YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{file} must hold a mapping (the autocoa: key of a recipe), got {type(content).__name__}")
    return dict(content["autocoa"] if set(content) == {"autocoa"} else content)


def _method(name: str | None, given: Mapping[str, Any], world: WorldOptions) -> Method:
    protocol = str(given.get("protocol"))
    name = name or (protocol if protocol in METHODS else "autocoa")
    method = get_method(name)
    if world.tinyworld is None or name.startswith("tinyworld"):
        return method
    own = "tinyworld" if name == "autocoa" else f"tinyworld_{name}"
    if own not in METHODS:
        there = [each for each in METHODS if each == "autocoa" or f"tinyworld_{each}" in METHODS]
        raise ConfigError(f"method {name!r} has tags that the embedded world cannot spell; there: {', '.join(there)}")
    return METHODS[own]


def _tinyworld(folder: Path | None) -> dict[str, Any]:
    """The corpus, top_k and limits of an embedded world, those of `recipes/setting/tinyworld.yaml`."""
    if folder is None:
        return {}
    from ...tinyworld.held_out import LIMITS, TOP_K
    from ...tinyworld.world_files import existing_world

    files = existing_world(folder)
    search = {"corpus": str(files.corpus), "index_dir": str(files.index), "top_k": TOP_K}
    return {"limits": to_mapping(LIMITS), "search": search}


def _search(world: WorldOptions, mapping: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = dict(mapping.get("search") or {})
    tool: dict[str, Any] = {}
    if world.corpus:
        tool = {"backend": "index", "corpus": world.corpus}
    elif world.search_url:
        tool = {"backend": world.search_backend or "search_r1", "url": world.search_url}
    elif world.web:
        tool = {"backend": "duckduckgo"}
    if tool:  # of the tool that stood there, only what any tool has stays
        found = {name: value for name, value in found.items() if name not in ("corpus", "index_dir", "url")} | tool
    if world.index_dir:
        found["index_dir"] = world.index_dir
    if world.top_k is not None:
        found["top_k"] = world.top_k
    return {"search": found} if found else {}


def _environment(world: WorldOptions) -> dict[str, Any]:
    if (world.environment == "cassette") != (world.cassette is not None):
        raise ConfigError("--environment cassette and --cassette FILE belong together: give both")
    if world.environment == "world_model":
        return {"routing": {"environment": "world_model", "validation": "world_model"}}
    if world.environment == "cassette":
        return {"cassette": {"path": world.cassette, "mode": "replay"}}
    return {"routing": {}} if world.environment == "real" else {}


def _check_search(mapping: Mapping[str, Any], method: Method) -> None:
    """Say in the words of the command what `Settings` would say in those of a recipe."""
    is_asked = method.has_tool and not mapping.get("routing") and not mapping.get("cassette")
    if is_asked and "search" in mapping.get("tools", ("search",)) and not mapping.get("search"):
        raise ConfigError(
            f"method {method.name!r} searches, and nobody answers: give --corpus FILE, --search-url URL, --web, "
            "--environment world_model, or --method model_only"
        )


# The options that say who answers actions and how a question is put, for `autocoa evaluate` and `autocoa chat`.


def add_world_arguments(group: Any) -> None:
    """Add them to a group of a parser."""
    group.add_argument(
        "--tinyworld", type=Path, metavar="FOLDER", help="everything of an embedded world: corpus, limits"
    )
    group.add_argument("--method", help="autocoa, react, search_r1, model_only (default: autocoa)")
    tool = group.add_mutually_exclusive_group()
    tool.add_argument("--corpus", metavar="FILE", help="JSON lines with id, title, text; its index is built once")
    tool.add_argument("--search-url", metavar="URL", help="a search server")
    tool.add_argument("--web", action="store_true", help="the web, by DuckDuckGo (extra web)")
    group.add_argument("--index-dir", metavar="FOLDER", help="default: next to the corpus")
    group.add_argument("--search-backend", choices=("search_r1", "flashrag"), help="default: search_r1")
    group.add_argument("--top-k", type=int, help="documents per observation (default: 3; embedded world: 1)")
    group.add_argument(
        "--environment",
        choices=("real", "world_model", "cassette", "none"),
        help="world_model: the policy imagines; none: no action is allowed (default: as the settings say, real)",
    )
    group.add_argument("--cassette", metavar="FILE", help="the tape that --environment cassette replays")
    group.add_argument("--max-actions", type=int, metavar="N", help="per question (default: 10; embedded world: 4)")
    group.add_argument("--settings", type=Path, metavar="FILE", help="the autocoa: key of a recipe, as YAML")


def world_options(arguments: argparse.Namespace) -> WorldOptions:
    """Read them back."""
    from dataclasses import fields

    return WorldOptions(**{each.name: getattr(arguments, each.name) for each in fields(WorldOptions)})


def check_vocabulary(tokenizer: object, model: str) -> None:
    """Refuse, with `TokenizerError`, a model that does not speak the embedded world's words."""
    from ...tinyworld.held_out import check_vocabulary
    from ...tinyworld.world import generate

    check_vocabulary(tokenizer, generate(), model)


# What a job's numbers depend on: fills the parts of a `Fingerprint`.
#
# Nothing here names this machine: corpora and models go by their content, servers by what they serve. Keys are flat
# ("limits.max_actions"), so that a refusal can name the one that differs.


# where and how fast an author answers, not what
_UNRELATED = ("world_model.url", "world_model.api_key_env", "world_model.timeout_s", "world_model.max_*")


def world_identity(settings: Settings) -> dict[str, Any]:
    """Say who answers actions during evaluation ("real", "world_model", "cassette", "none", ...), and the budgets."""
    environment = environment_name(settings)
    world: dict[str, Any] = {"environment": environment, **flatten(to_mapping(settings.limits), "limits.")}
    if environment == "none":
        return world
    world["tools"] = list(settings.tools)
    if settings.search is not None and environment != "world_model":
        world |= {"backend": settings.search.backend, "top_k": settings.search.top_k} | _corpus(settings)
    if settings.cassette is not None and settings.cassette.mode != "record":
        tape = Path(settings.cassette.path)
        # a tape that is still being filled has no content to name
        world["cassette"] = file_fingerprint(tape) if settings.cassette.mode == "replay" else tape.name
    if environment not in ("real", "cassette"):
        world |= without(flatten(to_mapping(settings.world_model), "world_model."), _UNRELATED)
    if environment == "routed":
        world |= flatten(to_mapping(settings.routing), "routing.")
    return world


def environment_name(settings: Settings) -> str:
    """Who answers actions outside training: "none", "cassette", "real", "world_model", "routed" (now one, now other).

    "none" as well where no action is allowed.
    """
    routing, cassette = settings.routing, settings.cassette
    if not settings.tools or settings.limits.max_actions == 0:
        return "none"
    name = routing.environment if routing.policy == "fixed" else "routed"
    name = name if routing.validation == "same" else routing.validation
    return "cassette" if name == "real" and cassette is not None and cassette.mode == "replay" else name


def _corpus(settings: Settings) -> dict[str, Any]:
    search = settings.search
    assert search is not None
    identity: dict[str, Any] = {"corpus": corpus_identity(search)}
    if search.backend == "index":
        from ...retrieval.index import load

        manifest = load(Path(search.index_dir or f"{search.corpus}.index"))
        if manifest is not None:
            identity |= {"index": manifest.engine, "analyzer": manifest.analyzer, "passages": manifest.passages}
    return identity
