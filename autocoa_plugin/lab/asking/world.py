"""World of a model: who answers its actions and how questions are put to it, from options and a settings file.

    settings file  <  options  <  what the method demands        later ones win

Settings files and the options of the search tool are read in `settings_file.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ...assembly import build_environment, identity_of, protocol_of
from ...cassette.header import corpus_identity
from ...config import from_mapping, to_mapping
from ...engines.base import Engine
from ...environments.tools import Toolbox
from ...errors import ConfigError
from ...lookup import Plug
from ...protocol import get_protocol
from ...rewarder import Rewarder
from ...runs.identity import digest, file_fingerprint, flatten, without
from ...settings import Settings
from ...tokenization import Codec
from .methods import METHODS, Method, apply_method, get_method
from .model import Model
from .player import Player, SamplingOptions
from .prompting import Prompting, shot_messages
from .settings_file import LabSettings, SearchOptions, SettingsFile, add_search_arguments, read_settings, search_options

EnvironmentName = Literal["real", "world_model", "cassette", "none"]


@dataclass(frozen=True)
class World:
    """World of a model: the settings of a method, who answers actions, and what the settings file adds.

    `method` is what `get_method` takes; raises `ConfigError` for an unknown one.
    """

    settings: Settings
    method: str | Method = "autocoa"
    lab: LabSettings = field(default_factory=LabSettings)

    def __post_init__(self) -> None:
        get_method(self.method)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the environment, which belongs to this process."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @cached_property
    def environment(self) -> Toolbox:
        """What answers actions, built at the first use; raises `ConfigError` for a tool that cannot be built."""
        return build_environment(self.settings)

    def codec(self, model: Model, tokenizer: Any = None) -> Codec:
        """Spell this world's protocol with a model's tokenizer, or with the one that is given.

        Raises `ConfigError` for a model without tokenizer, `TokenizerError` for one that cannot spell the protocol, or
        that this world's check refuses.
        """
        end_ids = model.end_ids()
        if tokenizer is None:
            tokenizer = model.tokenizer()
            if not model.is_text:  # text can spell any world's words
                self.lab.refuse_tokenizer(tokenizer, model.path)
        return Codec(tokenizer, protocol_of(self.settings, self.environment), end_ids=end_ids)

    def prepare(self, codec: Codec) -> PreparedWorld:
        """Join environment, reward and prompting, by a codec of this world's protocol.

        Raises `ConfigError` for limits or a prompt that the model's tokenizer cannot spell, or a reward that cannot be
        built.
        """
        self.settings.limits.check(codec)
        shots = shot_messages(get_method(self.method).shots)
        told = codec.protocol if self.settings.tools else None
        prompting = Prompting(codec.tokenizer, self.settings.system_prompt, shots, told)
        return PreparedWorld(self.settings, codec, prompting, self.environment, Rewarder(self.settings.reward))


@dataclass(frozen=True)
class PreparedWorld:
    """World as one model sees it: everything that a rollout needs but its engine."""

    settings: Settings
    codec: Codec
    prompting: Prompting
    environment: Toolbox
    rewarder: Rewarder

    def player(self, engine: Engine, sampling: SamplingOptions) -> Player:
        """Make the player that answers questions in this world with an engine."""
        return Player(
            engine=engine,
            environment=self.environment,
            codec=self.codec,
            prompt_ids=self.prompting.ids,
            limits=self.settings.limits,
            rewarder=self.rewarder,
            sampling=sampling.sampling(),
            seed=sampling.seed,
        )

    def identity(self) -> dict[str, dict[str, Any]]:
        """Parts "world", "protocol" and "prompt" of a fingerprint; the world's index must have been built."""
        return {
            "world": self._world(),
            "protocol": {"name": self.codec.protocol.name, "digest": digest(self.codec.protocol.identity())},
            "prompt": self.prompting.identity(),
        }

    def _world(self) -> dict[str, Any]:
        # other people's objects by their content, not by where they lie
        places = [f"{key}{below}" for key in self.settings.foreign() for below in ("", ".*")]
        return without(world_identity(self.settings), places) | identity_of(self.settings, self.environment)


@dataclass(frozen=True)
class WorldOptions:
    """Command-line options of who answers actions; None: as the settings file says.

    `environment` "real" is the search tool, "world_model" lets the policy imagine, "cassette" replays the tape
    `cassette`, "none" forbids actions.
    """

    environment: EnvironmentName | None = None
    search: SearchOptions = field(default_factory=SearchOptions)
    cassette: str | None = None
    max_actions: int | None = None


def build_world(
    method: str | None = None, options: WorldOptions | None = None, file: SettingsFile | None = None
) -> World:
    """Build the world of a method; raises `ConfigError` for what contradicts itself.

    Without a method it is the one of the settings file's protocol; where there is none, "autocoa".
    """
    options, file = options or WorldOptions(), file or SettingsFile()
    if method is None:
        name = file.lab.method("autocoa") if file.lab.methods else _method_of(file)
    else:
        name = file.lab.method(method)
    chosen, given = get_method(name), dict(file.given)
    if options.environment == "none":
        chosen = replace(chosen, has_tool=False)
        given.pop("tools", None)
    search = options.search.over(given.get("search"))
    mapping = given | ({} if search is None else {"search": search}) | _environment(options)
    if not chosen.has_tool:
        mapping.setdefault("tools", [])
    _check_search(mapping, chosen)
    settings = apply_method(from_mapping(Settings, mapping, where=file.where), chosen, explicit=given)
    if options.max_actions is not None and chosen.has_tool:
        settings = replace(settings, limits=replace(settings.limits, max_actions=options.max_actions))
    return World(settings, name, file.lab)


def _method_of(file: SettingsFile) -> str | Method:
    """The method of the settings file's protocol: the usual one of that name, or the protocol alone."""
    spoken = file.given.get("protocol") or "autocoa"
    plug = from_mapping(Plug, spoken, where=f"{file.where}: protocol") if isinstance(spoken, Mapping) else spoken
    name = get_protocol(plug).name
    return name if name in METHODS else Method(name, METHODS["autocoa"].label, plug)


def _environment(options: WorldOptions) -> dict[str, Any]:
    if (options.environment == "cassette") != (options.cassette is not None):
        raise ConfigError("--environment cassette and --cassette FILE belong together: give both")
    if options.environment == "world_model":
        return {"routing": {"environment": "world_model", "validation": "world_model"}}
    if options.environment == "cassette":
        return {"cassette": {"path": options.cassette, "mode": "replay"}}
    return {"routing": {}} if options.environment == "real" else {}


def _check_search(mapping: Mapping[str, Any], method: Method) -> None:
    """Say in the words of the command what `Settings` would say in those of a recipe."""
    is_asked = method.has_tool and not mapping.get("routing") and not mapping.get("cassette")
    tools = mapping.get("tools", ("search",))
    searches = tools.get("search") == "search" if isinstance(tools, Mapping) else "search" in tools
    if is_asked and searches and not mapping.get("search"):
        raise ConfigError(
            f"method {method.name!r} searches, and nobody answers: give --corpus FILE, --search-url URL, --web, "
            "--environment world_model, or --method model_only"
        )


def add_world_arguments(group: Any) -> None:
    """Add the options that say who answers actions, and how a question is put, to a group of a parser."""
    group.add_argument("--method", help="autocoa, react, search_r1, hermes, model_only (default: autocoa)")
    add_search_arguments(group)
    group.add_argument(
        "--environment",
        choices=("real", "world_model", "cassette", "none"),
        help="world_model: the policy imagines; none: no action is allowed (default: as the settings say, real)",
    )
    group.add_argument("--cassette", metavar="FILE", help="the tape that --environment cassette replays")
    group.add_argument(
        "--max-actions", type=int, metavar="N", help="per question (default: 10, or as the settings say)"
    )


def world_options(arguments: argparse.Namespace) -> WorldOptions:
    """Read the options of `add_world_arguments` back."""
    return WorldOptions(arguments.environment, search_options(arguments), arguments.cassette, arguments.max_actions)


def world_of(arguments: argparse.Namespace) -> World:
    """Build the world that options and settings files ask for; raises `ConfigError` for what contradicts itself."""
    return build_world(arguments.method, world_options(arguments), read_settings(arguments.settings))


# ---------------------------------------------------------------------------------------------- the identity of a world


# where and how fast an author answers, not what
_UNRELATED = ("world_model.url", "world_model.api_key_env", "world_model.timeout_s", "world_model.max_*")


def world_identity(settings: Settings) -> dict[str, Any]:
    """Identify who answers actions in evaluation ("real", "world_model", "cassette", "none", ...), and the budgets.

    Results depend on it. Nothing in it names this machine: corpora go by their content, servers by their dialect.
    """
    environment = environment_name(settings)
    world: dict[str, Any] = {"environment": environment, **flatten(to_mapping(settings.limits), "limits.")}
    if environment == "none":
        return world
    world["tools"] = list(settings.toolbox)
    if settings.search is not None and environment != "world_model":
        world |= {"backend": settings.search.backend_name, "top_k": settings.search.top_k} | _corpus(settings)
    if settings.cassette is not None and settings.cassette.mode != "record":
        tape = Path(settings.cassette.path)
        # a tape that is still being filled has no content to name
        world["cassette"] = file_fingerprint(tape) if settings.cassette.mode == "replay" else tape.name
    if environment not in ("real", "cassette"):
        world |= without(flatten(to_mapping(settings.world_model), "world_model."), _UNRELATED)
    if environment == "routed":
        usual = ("routing.tools",) if settings.routing.tools == ("search",) else ()  # results from before it was a key
        world |= without(flatten(to_mapping(settings.routing), "routing."), usual)
    return world


def environment_name(settings: Settings) -> str:
    """Name who answers actions outside training: "none", "cassette", "real", "world_model", "routed" (several).

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

        manifest = load(search.index_folder)
        if manifest is not None:
            identity |= {"index": manifest.engine, "analyzer": manifest.analyzer, "passages": manifest.passages}
    return identity
