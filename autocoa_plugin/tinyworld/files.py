"""Everything the demo needs as files in one folder, written once and found again.

    corpus.jsonl    one article per line: id, title, text
    index/          the embedded index of the corpus
    train.parquet   questions about train-tail and popular entities, verl's prompt schema
    val.parquet     the held-out questions: 200 one-hop, 200 two-hop, 100 three-hop, 100 known
    sft.parquet     gold trajectories and replayed lines for the warm start
    base/           the shipped base model
    manifest.json   written last: what was built, and the size of every file

The world itself does not vary: the base model has memorised its popular entities. The seed varies the teacher's draws.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..environments.base import Environment
from ..tokenization import Codec
from . import manifest
from .base_model import export_base
from .manifest import BuildConfig
from .questions import train_questions, validation_questions
from .sft import sft_rows, write_sft
from .tokenizer import load_tokenizer
from .verl_rows import write_questions
from .world import World, generate


@dataclass(frozen=True)
class Files:
    """Where everything lies."""

    folder: Path

    @property
    def corpus(self) -> Path:
        """The articles, one JSON object per line."""
        return self.folder / "corpus.jsonl"

    @property
    def index(self) -> Path:
        """The folder of the embedded index."""
        return self.folder / "index"

    @property
    def train(self) -> Path:
        """Training questions."""
        return self.folder / "train.parquet"

    @property
    def val(self) -> Path:
        """Held-out questions."""
        return self.folder / "val.parquet"

    @property
    def sft(self) -> Path:
        """Rows for the warm start."""
        return self.folder / "sft.parquet"

    @property
    def base(self) -> Path:
        """The base model's folder."""
        return self.folder / "base"


def build(
    folder: str | Path, config: BuildConfig | None = None, *, report: Callable[[str], object] = lambda _: None
) -> Files:
    """Write the files of a config into a folder, unless they are there and complete; tell `report` each step.

    Raises:
        DataError: the shipped base model is damaged, or the search tool does not find a fact.
    """
    files, config = Files(Path(folder)), config or BuildConfig()
    if manifest.is_complete(files.folder, config):
        report(f"{files.folder} is complete")
        return files
    files.folder.mkdir(parents=True, exist_ok=True)
    (files.folder / manifest.FILE_NAME).unlink(missing_ok=True)  # from here to the end the folder is incomplete
    world = generate()
    report("base model")
    export_base(files.base)
    report(f"corpus of {len(world.entities)} articles and its index")
    write_corpus(world, files.corpus)
    environment = open_environment(files)
    report("train and validation questions")
    questions = [each for each in train_questions(world) if each.source in config.train_sources]
    write_questions(questions, "train", files.train)
    held = [each for group in validation_questions(world).values() for each in group]
    write_questions(held, "val", files.val)
    report(f"{config.sft_trajectories} gold trajectories")
    _write_sft(world, environment, files, config)
    base = sorted(path for path in files.base.iterdir() if path.is_file())
    manifest.save(files.folder, config, [files.corpus, files.train, files.val, files.sft, *base])
    return files


def write_corpus(world: World, path: Path) -> None:
    """Write the articles of every entity as {"id", "title", "text"} lines."""
    rows = ({"id": str(n), "title": each.name, "text": each.text} for n, each in enumerate(world.entities.values()))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def open_environment(files: Files, top_k: int = 1) -> Environment:
    """The search tool over the corpus; its index is built at the first call."""
    from ..assembly import build_search
    from ..settings import SearchSettings

    return build_search(SearchSettings(corpus=str(files.corpus), index_dir=str(files.index), top_k=top_k))


def _write_sft(world: World, environment: Environment, files: Files, config: BuildConfig) -> None:
    from ..presets import TINYWORLD

    codec = Codec(load_tokenizer(files.base), TINYWORLD)
    rows = sft_rows(
        world,
        codec=codec,
        environment=environment,
        count=config.sft_trajectories,
        seed=config.seed,
        replay=config.replay,
        mix=config.mix,
    )
    write_sft(rows, files.sft)
