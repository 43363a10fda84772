"""What models are judged with: which queries, which real tool, how to sample. One job serves any number of models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..engines.base import Sampling
from ..environments.base import Environment
from ..errors import ConfigError
from ..limits import Limits
from ..presets import get_protocol
from ..settings import SearchSettings, Settings
from ..tokenization import Codec
from .dump_queries import dump_queries
from .queries import Query, choose, encode_query, read_queries


@dataclass(frozen=True)
class Job:
    """What models are judged with; `check_tokenizer(tokenizer, model)` may refuse one.

    Queries come from `dump` when it is given, else from `queries_file`. Without `corpus` and `search_url`, what the
    dump has recorded is the real observation.
    """

    queries_file: str | None = None
    dump: str | None = None
    split: str = "val"
    step: int | None = None
    groups: tuple[str, ...] = ()
    limit: int | None = None
    protocol: str = "autocoa"
    system_prompt: str | None = None
    corpus: str | None = None
    index_dir: str | None = None
    search_url: str | None = None
    search_backend: Literal["search_r1", "flashrag"] = "search_r1"
    top_k: int = 3
    max_observation_tokens: int = Limits().max_observation_tokens
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.0))
    server: str | None = None
    has_scorer: bool = True
    check_tokenizer: Callable[[Any, str], None] | None = None

    def changed(self, **values: Any) -> Job:
        """The same job with the given values; None leaves a value as it is."""
        return replace(self, **{name: value for name, value in values.items() if value is not None})

    def check(self) -> None:
        """Refuse what cannot be judged, before a model is loaded: raises `ConfigError` or `DataError`."""
        protocol = get_protocol(self.protocol)
        if self.corpus and self.search_url:
            raise ConfigError("give --corpus or --search-url, not both")
        if self.dump is None:
            if self.queries_file is None:
                raise ConfigError("scorecard needs --queries FILE, --from-dump FOLDER or --tinyworld FOLDER")
            if not (self.corpus or self.search_url):
                raise ConfigError("the real answers need --corpus FILE, --search-url URL or --tinyworld FOLDER")
            choose(read_queries(self.queries_file, protocol), self.groups, self.limit)

    def queries(self, codec: Codec) -> list[Query]:
        """The chosen queries in the ids of one model."""
        if self.dump is not None:
            return choose(dump_queries(self.dump, self.split, codec, step=self.step), self.groups, self.limit)
        rows = choose(read_queries(str(self.queries_file), codec.protocol), self.groups, self.limit)
        return [encode_query(each, codec, system_prompt=self.system_prompt) for each in rows]

    def search(self) -> SearchSettings | None:
        """The real tool's settings; None when the dump's own observations are the real ones."""
        if self.search_url:
            return SearchSettings(backend=self.search_backend, url=self.search_url, top_k=self.top_k)
        if self.corpus:
            return SearchSettings(corpus=self.corpus, index_dir=self.index_dir, top_k=self.top_k)
        return None

    def build_real(self) -> Environment | None:
        """Build the real search tool; None when the dump's own observations are the real ones."""
        from ..assembly import build_real

        search = self.search()
        return None if search is None else build_real(Settings(protocol=self.protocol, search=search))


def tinyworld_job(folder: str | Path) -> Job:
    """The job of an embedded-world folder: its corpus, protocol, limits, and 150 facts of each group.

    Raises `ConfigError` when the folder holds no world.
    """
    from ..tinyworld.evaluate import check_vocabulary
    from ..tinyworld.files import existing_world
    from ..tinyworld.held_out import LIMITS, TOP_K
    from ..tinyworld.scorecard_queries import write_world_queries
    from ..tinyworld.world import generate

    files = existing_world(folder)
    world = generate()
    return Job(
        queries_file=str(write_world_queries(files.folder, world)),
        protocol="tinyworld",
        corpus=str(files.corpus),
        index_dir=str(files.index),
        top_k=TOP_K,
        max_observation_tokens=LIMITS.max_observation_tokens,
        check_tokenizer=lambda tokenizer, model: check_vocabulary(tokenizer, world, model),
    )
