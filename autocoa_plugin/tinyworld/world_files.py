"""Files of the embedded world in one folder, written once and found again.

    corpus.jsonl    one article per line: id, title, text
    index/          the embedded index of the corpus
    train.parquet   questions about train-tail and popular entities, verl's prompt schema, in the order of training
    val.parquet     the held-out questions: 200 one-hop, 200 two-hop, 100 three-hop, 100 known
    scorecard.jsonl queries about train and held-out entities, imagined against the articles (`autocoa scorecard`)
    stages/         records for the three supervised stages, and their data card
    base/           the shipped base model
    settings.yaml   all of it for `--settings` of evaluate, chat, synthesize, scorecard and explore
    manifest.json   written last: what was built, and the size of every file

The world itself does not vary: the base model has memorised its popular entities. The seed varies the teacher's
draws and the order of the training questions, which RL takes as it stands (`data.shuffle: false`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..answering import SearchSettings
from ..environments.base import Environment
from ..errors import DataError, nearest
from ..lab.prepare.prompt_rows import prompt_row, prompt_schema
from ..lab.scorecard.queries import QueryRow, write_queries
from ..tokenization import Codec, fingerprint
from .base_model import MANIFEST_FILE, BuildConfig, export_base, is_complete, save
from .measures import draw_facts_to_imagine
from .questions import Question, train_questions, validation_questions
from .sockets import SETTINGS_FILE, write_settings
from .stage_data import STAGE_SETS, make_stage_data, set_path, write_stage_data
from .teacher import need_text, query_text, search_text
from .tokenizer import TINYWORLD, load_tokenizer
from .trajectories import DistractingSearch
from .world import World, generate


@dataclass(frozen=True)
class Files:
    """Paths of the files of a world folder."""

    folder: Path

    @property
    def corpus(self) -> Path:
        """Articles, one JSON object per line."""
        return self.folder / "corpus.jsonl"

    @property
    def settings(self) -> Path:
        """Settings file that makes the product's commands speak this world."""
        return self.folder / SETTINGS_FILE

    @property
    def index(self) -> Path:
        """Folder of the embedded index."""
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
    def stages(self) -> Path:
        """Folder of the stage data."""
        return self.folder / "stages"

    def stage_set(self, name: str) -> Path:
        """File of a set of stage data: "cot", "coa", "coa_stage3", "pairs" or "replay".

        Raises:
            DataError: there is no such set.
        """
        if name not in STAGE_SETS:
            raise DataError(f"no set {name!r} of stage data{nearest(name, STAGE_SETS)}; there are {STAGE_SETS}")
        return set_path(self.stages, name)

    @property
    def base(self) -> Path:
        """Folder of the base model."""
        return self.folder / "base"


def build(
    folder: str | Path, config: BuildConfig | None = None, *, report: Callable[[str], object] = lambda _: None
) -> Files:
    """Write the files of a config into a folder, unless they are there and complete; `report` gets a line per step.

    Raises:
        DataError: the shipped base model is damaged, or the search tool does not find a fact.
    """
    files, config = Files(Path(folder)), config or BuildConfig()
    if is_complete(files.folder, config):
        write_settings(files.folder)  # a folder that an earlier version has built has none
        report(f"{files.folder} is complete")
        return files
    files.folder.mkdir(parents=True, exist_ok=True)
    (files.folder / MANIFEST_FILE).unlink(missing_ok=True)  # from here to the end the folder is incomplete
    world = generate()
    report("base model")
    export_base(files.base)
    report(f"corpus of {len(world.entities)} articles and its index")
    write_corpus(world, files.corpus)
    report("train and validation questions")
    questions = [each for each in train_questions(world) if each.source in config.train_sources]
    random.Random(f"training questions {config.seed}").shuffle(questions)
    write_questions(questions, "train", files.train)
    held = [each for group in validation_questions(world).values() for each in group]
    write_questions(held, "val", files.val)
    written = [*_write_teacher_data(world, files, config, report), write_world_queries(files.folder, world)]
    write_settings(files.folder)
    base = sorted(path for path in files.base.iterdir() if path.is_file())
    save(files.folder, config, [files.corpus, files.train, files.val, *written, *base])
    return files


def write_corpus(world: World, path: Path) -> None:
    """Write the articles of every entity as {"id", "title", "text"} lines."""
    rows = ({"id": str(n), "title": each.name, "text": each.text} for n, each in enumerate(world.entities.values()))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def open_environment(files: Files, top_k: int = 1) -> Environment:
    """Open the search tool over the corpus; its index is built at the first call."""
    from ..assembly import build_search

    return build_search(_search_settings(files, top_k))


def open_teacher_environment(files: Files) -> DistractingSearch:
    """Open the same search tool with one document per query, and distractions where a plan asks for them."""
    from ..assembly import build_retriever
    from ..retrieval.base import CachedRetriever

    return DistractingSearch(CachedRetriever(build_retriever(_search_settings(files, 1))))


def _search_settings(files: Files, top_k: int) -> SearchSettings:
    return SearchSettings(corpus=str(files.corpus), index_dir=str(files.index), top_k=top_k)


def _write_teacher_data(world: World, files: Files, config: BuildConfig, report: Callable[[str], object]) -> list[Path]:
    """Write what the teacher plays, the stage data; return the files."""
    codec, environment = Codec(load_tokenizer(files.base), TINYWORLD), open_teacher_environment(files)
    seed, tokenizer = config.seed, fingerprint(codec.tokenizer)
    report("stage data: trajectories, pairs and replayed lines")
    data = make_stage_data(world, config.stages, codec=codec, environment=environment, seed=seed, tokenizer=tokenizer)
    return write_stage_data(data, config.stages, files.stages, seed=seed, tokenizer=tokenizer)


# ---------------------------------------------------------------------------------------- train.parquet and val.parquet


def verl_row(question: Question, split: str, index: int) -> dict[str, Any]:
    """Spell a question as a row of verl's prompt data; `split` is "train" or "val".

    `needs_search` has one bool per hop (True = only searching answers it). `extra_info` goes along with a rollout, so
    it holds no gold answer and no plan; the answers are in `reward_model.ground_truth`.
    """
    extra_info = {
        "index": index,
        "split": split,
        "question": question.text,
        "hops": len(question.hops),
        "needs_search": list(question.needs_search),
    }
    asked = {"role": "user", "content": question.text}
    return prompt_row(question.source, [asked], [question.answer], extra_info)


def write_questions(questions: Iterable[Question], split: str, path: Path) -> None:
    """Write questions to parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    extra_info = {
        "index": pa.int64(),
        "split": pa.string(),
        "question": pa.string(),
        "hops": pa.int64(),
        "needs_search": pa.list_(pa.bool_()),
    }
    rows = [verl_row(question, split, index) for index, question in enumerate(questions)]
    pq.write_table(pa.Table.from_pylist(rows, schema=prompt_schema(extra_info)), path)


# --------------------------------------------------- scorecard.jsonl: 150 facts of train entities, 150 of held-out ones


QUERIES_FILE = "scorecard.jsonl"
GROUPS = ("train", "held")
FACTS = 150


def world_queries(world: World, count: int = FACTS) -> list[QueryRow]:
    """Make at most `count` queries of each group, as the teacher would write them; the same ones every time.

        question  Where was Lale Rasman born ?
        prefix    <think> First I need the birthplace of Lale Rasman . <begin_search> ... </end_search>

    Stage 3 may have taught the train facts; the held-out ones it cannot know. The facts are those of `measures.py`.
    """
    return [_row(each, group) for group in GROUPS for each in draw_facts_to_imagine(world, group, count)]


def write_world_queries(folder: str | Path, world: World | None = None) -> Path:
    """Write the query file of the embedded world into its folder, in place of an older one; return its path."""
    path = Path(folder) / QUERIES_FILE
    write_queries(world_queries(world or generate()), path)
    return path


def _row(fact: Question, group: str) -> QueryRow:
    (hop,) = fact.hops
    prefix = f"<think> {need_text(0, hop)} {search_text(hop)}"
    return QueryRow(fact.text, prefix, (hop.object,), query_text(hop), group)
