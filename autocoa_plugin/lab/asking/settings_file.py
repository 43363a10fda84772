"""Settings files of the commands around training, and the one set of options that names a search tool.

A settings file is the `autocoa:` key of a recipe as YAML; beside it, the key `lab:` says what the commands take where
no option says otherwise (`LabSettings`). Several files are read in order, a key of a later one replaces the whole key
of an earlier one. Paths that begin with `./` are relative to the file. `autocoa tinyworld build` writes an example.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ...answering import SearchSettings
from ...config import from_mapping
from ...errors import ConfigError
from ...lookup import named
from .methods import get_method


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
            _function(self.check_tokenizer, "lab.check_tokenizer")(tokenizer, model)

    def spelled(self, text: str, tokenizer: Any) -> tuple[str, list[str]]:
        """Spell a typed question in this world's words; also returns the words that are unknown."""
        if self.spell_question is None:
            return text, []
        return _function(self.spell_question, "lab.spell_question")(text, tokenizer)


def _function(path: str, where: str) -> Callable[..., Any]:
    found = named(path, where=where)
    if not callable(found):
        raise ConfigError(f"{where}: {path!r} must name a function, got {type(found).__name__}")
    return found


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
    # read before `Settings` checks every key: a method is chosen by the protocol, a tool is merged with options
    for key, kind, expected in (("protocol", (str, Mapping), "a name"), ("search", Mapping, "a mapping")):
        if given.get(key) is not None and not isinstance(given[key], kind):
            raise ConfigError(f"{where}: {key} must be {expected}, got {type(given[key]).__name__} {given[key]!r:.80}")
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
    group.add_argument("--search-backend", choices=("search_r1", "flashrag", "autocoa"), help="default: search_r1")
    group.add_argument("--top-k", type=int, help="documents per observation (default: 3, or as the settings say)")


def search_options(arguments: argparse.Namespace) -> SearchOptions:
    """Read the options of `add_search_arguments` back."""
    return SearchOptions(**{each.name: getattr(arguments, each.name) for each in fields(SearchOptions)})
