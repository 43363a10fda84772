"""World of a model: who answers its actions and how questions are put to it, from options and a settings file.

    settings file  <  options  <  what the method demands        later ones win

A settings file is the `autocoa:` key of a recipe as YAML; beside it, the key `lab:` holds the defaults of the
commands around training (`LabSettings`). Several files are read in order, a key of a later one
replaces the whole key of an earlier one. Paths that begin with `./` are relative to the file.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from ...assembly import build_environment
from ...cassette.header import corpus_identity
from ...config import from_mapping, to_mapping
from ...engines.base import Engine
from ...environments.base import Environment
from ...errors import ConfigError
from ...lookup import named
from ...protocol import get_protocol
from ...runs.identity import digest, file_fingerprint, flatten, without
from ...settings import SearchSettings, Settings
from ...tokenization import Codec
from .methods import Method, apply_method, get_method
from .model import Model
from .player import Player, SamplingOptions
from .prompting import Prompting, shot_messages

EnvironmentName = Literal["real", "world_model", "cassette", "none"]


@dataclass(frozen=True)
class LabSettings:
    """Key `lab:` of a settings file: questions, methods and checks for evaluate, synthesize, scorecard and chat.

    `questions` are evaluated on, `train_questions` synthesised from, `queries` imagined by the scorecard: files or
    names of data sets. `methods` says which `Method` a method is in this world (`package.module:Name`); empty: the
    usual ones. `check_tokenizer(tokenizer, model)` raises `TokenizerError` for a model that cannot speak this world's
    words; `spell_question(text, tokenizer)` puts a typed question into them and returns it with the words that are
    unknown: both `package.module:Name`.
    """

    questions: str | None = None
    train_questions: str | None = None
    queries: str | None = None
    methods: Mapping[str, str] = field(default_factory=dict)
    check_tokenizer: str | None = None
    spell_question: str | None = None

    def method(self, name: str) -> str:
        """Look up the method of this world behind a name; raises `ConfigError` for one that it has no words for."""
        if self.methods and name not in self.methods:
            get_method(name)  # a name that is no method at all is said to be one
            raise ConfigError(
                f"method {name!r} has tags that this world cannot spell; there: {', '.join(self.methods)}"
            )
        return self.methods.get(name, name)

    def refuse_tokenizer(self, tokenizer: Any, model: str) -> None:
        """Raise `TokenizerError` when this world's check refuses the model; without a check every model will do."""
        if self.check_tokenizer is not None:
            named(self.check_tokenizer, where="lab.check_tokenizer")(tokenizer, model)

    def spelled(self, text: str, tokenizer: Any) -> tuple[str, list[str]]:
        """Spell a typed question in this world's words; also returns the words that are unknown."""
        if self.spell_question is None:
            return text, []
        return named(self.spell_question, where="lab.spell_question")(text, tokenizer)


@dataclass(frozen=True)
class SettingsFile:
    """Contents of the `--settings` files: the keys that are given under `autocoa:`, and `lab:`."""

    given: Mapping[str, Any] = field(default_factory=dict)
    lab: LabSettings = field(default_factory=LabSettings)
    where: str = "settings"

    @property
    def search(self) -> SearchSettings | None:
        """Search tool of the file; None when it names none."""
        found = self.given.get("search")
        return None if found is None else from_mapping(SearchSettings, found, where=f"{self.where}: search")


def read_settings(files: Sequence[Path]) -> SettingsFile:
    """Read settings files in order; nothing for none. Raises `ConfigError` for what cannot be read or is unknown."""
    given: dict[str, Any] = {}
    lab: dict[str, Any] = {}
    for file in files:
        content = _yaml(file)
        if set(content) <= {"autocoa", "lab"}:
            given |= _mapping(content.get("autocoa"), file, "autocoa")
            lab |= _mapping(content.get("lab"), file, "lab")
        else:
            given |= content
    where = str(files[-1]) if files else "settings"
    return SettingsFile(given, from_mapping(LabSettings, lab, where=f"{where}: lab"), where)


def _yaml(file: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise ConfigError("a settings file needs PyYAML: pip install 'autocoa-plugin[eval]'") from error
    if not file.exists():
        raise ConfigError(f"--settings: {file} does not exist (autocoa tinyworld build writes one into its folder)")
    if file.is_dir():
        inside = file / "settings.yaml"
        hint = f": {inside}?" if inside.is_file() else ""
        raise ConfigError(f"--settings must name a file, {file} is a folder{hint}")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} is not a readable YAML file: {' '.join(str(error).split())}") from error
    return _beside(_mapping(content, file, "autocoa"), file.parent)


def _mapping(content: Any, file: Path, key: str) -> dict[str, Any]:
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise ConfigError(f"{file} must hold a mapping (the {key}: key of a recipe), got {type(content).__name__}")
    return dict(content)


def _beside(value: Any, folder: Path) -> Any:
    """Replace `./name` by the path of that name in a folder, wherever it stands."""
    if isinstance(value, Mapping):
        return {key: _beside(item, folder) for key, item in value.items()}
    return str(folder / value) if isinstance(value, str) and value.startswith("./") else value


# ------------------------------------------ command-line options of the search tool, for every command that may ask one


@dataclass(frozen=True)
class SearchOptions:
    """Search tool that the command line names; None: as the settings file says."""

    corpus: str | None = None
    index_dir: str | None = None
    search_url: str | None = None
    search_backend: str | None = None
    web: bool = False
    top_k: int | None = None

    def __post_init__(self) -> None:
        if sum(map(bool, (self.corpus, self.search_url, self.web))) > 1:
            raise ConfigError("give one of --corpus, --search-url and --web")

    def over(self, given: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Lay the options over keys of `SearchSettings` from a settings file; None when neither names a tool."""
        found: dict[str, Any] = dict(given or {})
        tool: dict[str, Any] = {}
        if self.corpus:
            tool = {"backend": "index", "corpus": self.corpus}
        elif self.search_url:
            tool = {"backend": self.search_backend or "search_r1", "url": self.search_url}
        elif self.web:
            tool = {"backend": "duckduckgo"}
        if tool:  # of the tool that stood there, only what any tool has stays
            found = {name: value for name, value in found.items() if name not in ("corpus", "index_dir", "url")} | tool
        if not found:
            return None
        extra = {"index_dir": self.index_dir, "top_k": self.top_k}
        return found | {name: value for name, value in extra.items() if value is not None}

    def settings(self, file: SettingsFile) -> SearchSettings | None:
        """Settings of the tool; None when neither options nor file name one. Raises `ConfigError`."""
        if self.corpus and not Path(self.corpus).exists():
            raise ConfigError(f"--corpus: {self.corpus} does not exist")
        found = self.over(file.given.get("search"))
        return None if found is None else from_mapping(SearchSettings, found, where="search")


def add_search_arguments(group: Any) -> None:
    """Add the options of the search tool, and `--settings`, to a group of a parser."""
    group.add_argument(
        "--settings",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="YAML: the autocoa: key of a recipe, and lab: (autocoa tinyworld build writes one); may be repeated",
    )
    tool = group.add_mutually_exclusive_group()
    tool.add_argument("--corpus", metavar="FILE", help="JSON lines with id, title, text; its index is built once")
    tool.add_argument("--search-url", metavar="URL", help="a search server")
    tool.add_argument("--web", action="store_true", help="the web, by DuckDuckGo (extra web)")
    group.add_argument("--index-dir", metavar="FOLDER", help="default: next to the corpus")
    group.add_argument("--search-backend", choices=("search_r1", "flashrag"), help="default: search_r1")
    group.add_argument("--top-k", type=int, help="documents per observation (default: 3, or as the settings say)")


def search_options(arguments: argparse.Namespace) -> SearchOptions:
    """Read the options of `add_search_arguments` back."""
    return SearchOptions(**{each.name: getattr(arguments, each.name) for each in fields(SearchOptions)})


@dataclass(frozen=True)
class World:
    """World of a model: the settings of a method, who answers actions, and what the settings file adds.

    `method` is what `get_method` takes; raises `ConfigError` for an unknown one.
    """

    settings: Settings
    method: str = "autocoa"
    lab: LabSettings = field(default_factory=LabSettings)

    def __post_init__(self) -> None:
        get_method(self.method)

    def codec(self, model: Model, tokenizer: Any = None) -> Codec:
        """Spell this world's protocol with a model's tokenizer, or with the one that is given.

        Raises `ConfigError` for a model without tokenizer, `TokenizerError` for one that cannot spell the protocol, or
        that this world's check refuses.
        """
        end_ids = model.end_ids()
        if tokenizer is None:
            tokenizer = model.tokenizer()
            self.lab.refuse_tokenizer(tokenizer, model.path)
        return Codec(tokenizer, get_protocol(self.settings.protocol), end_ids=end_ids)

    def prepare(self, codec: Codec) -> PreparedWorld:
        """Build the environment that answers actions, and the prompting by a codec of this world's protocol.

        Raises `ConfigError` for limits or a prompt that the model's tokenizer cannot spell.
        """
        self.settings.limits.check(codec)
        shots = shot_messages(get_method(self.method).shots)
        prompting = Prompting(codec.tokenizer, self.settings.system_prompt, shots)
        return PreparedWorld(self.settings, codec, prompting, build_environment(self.settings))


@dataclass(frozen=True)
class PreparedWorld:
    """World as one model sees it: everything that a rollout needs but its engine."""

    settings: Settings
    codec: Codec
    prompting: Prompting
    environment: Environment

    def player(self, engine: Engine, sampling: SamplingOptions) -> Player:
        """Make the player that answers questions in this world with an engine."""
        return Player(
            engine=engine,
            environment=self.environment,
            codec=self.codec,
            prompt_ids=self.prompting.ids,
            limits=self.settings.limits,
            reward=self.settings.reward,
            sampling=sampling.sampling(),
            seed=sampling.seed,
        )

    def identity(self) -> dict[str, dict[str, Any]]:
        """Parts "world", "protocol" and "prompt" of a fingerprint; the world's index must have been built."""
        return {
            "world": world_identity(self.settings),
            "protocol": {"name": self.settings.protocol, "digest": digest(asdict(self.codec.protocol))},
            "prompt": self.prompting.identity(),
        }


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
        method = "autocoa" if file.lab.methods else get_protocol(file.given.get("protocol", "autocoa")).name
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
    if is_asked and "search" in mapping.get("tools", ("search",)) and not mapping.get("search"):
        raise ConfigError(
            f"method {method.name!r} searches, and nobody answers: give --corpus FILE, --search-url URL, --web, "
            "--environment world_model, or --method model_only"
        )


def add_world_arguments(group: Any) -> None:
    """Add the options that say who answers actions, and how a question is put, to a group of a parser."""
    group.add_argument("--method", help="autocoa, react, search_r1, model_only (default: autocoa)")
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
