"""Training data of the three supervised stages as files of records, with a data card.

    <world>/stages/  cot.parquet  coa.parquet  coa_stage3.parquet  pairs.parquet  replay.parquet
                     data_card.json (for programs)  data_card.md (the same for people)

Deterministic by seed. Every trajectory is played through the rollout loop, so rows carry ids and roles as rollouts do:
nothing is tokenised again. Two trajectories become a pair that shares its prefix:

    act      <think> First I need the R of S . │ <begin_search> S R </end_search>  ...
    recall   <think> First I need the R of S . │ I recall the R of S is O .        ...
             ╰──────────── prefix ───────────╯ ╰──────── chosen, rejected ───────╯

How much of which kind is set in `stage_config.py`; which trajectories there are, in `trajectories.py` and `pairs.py`.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..data.from_trajectory import pieces_of
from ..data.record_files import write_records
from ..data.records import CoaRecord, CotRecord, Message, PairRecord, Piece, Record, TextRecord
from ..environments.base import Environment
from ..errors import DataError
from ..runs.files import write_json
from ..tokenization import Codec
from ..trajectory import Role, Trajectory
from .lines import known_line, reading_line
from .pairs import PairPlan, PairSet, PairSpan, draw_pairs
from .questions import Hop, Question, train_questions
from .stage_config import StageConfig, TrajectorySet
from .teacher import recall_text
from .trajectories import Distraction, Plan, draw_plans, write_trajectories
from .world import WORLD_SEED, World

STAGE_SETS = ("cot", "coa", "coa_stage3", "pairs", "replay")
CARD_NAMES = ("data_card.json", "data_card.md")

StageData = Mapping[str, Sequence[Record]]


def set_path(folder: Path, name: str) -> Path:
    """Path of a set of `STAGE_SETS` in a folder of stage data."""
    return folder / f"{name}.parquet"


def make_stage_data(
    world: World, config: StageConfig, *, codec: Codec, environment: Environment, seed: int, tokenizer: str
) -> dict[str, list[Record]]:
    """Make the records of every set; the same seed makes the same records.

    `environment` must be a `DistractingSearch` where the config asks for distractors; `tokenizer` is the fingerprint.
    Raises:
        DataError: a search does not find its fact, or a number of hops has a share and no question.
    """
    teacher = _Teacher(world, codec, environment, seed, tokenizer)
    return {
        "cot": teacher.trajectories("cot", config.cot, is_known),
        "coa": teacher.trajectories("coa", config.coa, needs_search),
        "coa_stage3": teacher.trajectories("coa_stage3", config.coa_stage3, needs_search),
        "pairs": teacher.pairs(config.pairs),
        "replay": teacher.replay(config.replay),
    }


def needs_search(question: Question) -> bool:
    """True when a hop can be answered by searching only."""
    return any(question.needs_search)


def is_known(question: Question) -> bool:
    """True when every hop can be recalled."""
    return not needs_search(question)


def write_stage_data(data: StageData, config: StageConfig, folder: Path, *, seed: int, tokenizer: str) -> list[Path]:
    """Write every set that has a row, and the data card; return the files. Sets of an earlier build are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in STAGE_SETS:
        set_path(folder, name).unlink(missing_ok=True)
    paths = [set_path(folder, name) for name in STAGE_SETS if data[name]]
    for path in paths:
        write_records(data[path.stem], path)
    card = data_card(data, config, seed=seed, tokenizer=tokenizer)
    return [*paths, *write_card(card, *(folder / name for name in CARD_NAMES))]


@dataclass(frozen=True)
class _Teacher:
    world: World
    codec: Codec
    environment: Environment
    seed: int
    tokenizer: str

    def trajectories(self, name: str, wanted: TrajectorySet, belongs: Callable[[Question], bool]) -> list[Record]:
        questions = [question for question in train_questions(self.world) if belongs(question)]
        plans = draw_plans(self.world, wanted.count, f"{name} {self.seed}", wanted.mix, questions=questions)
        played = zip(write_trajectories(plans, codec=self.codec, environment=self.environment), plans, strict=True)
        return [
            trajectory_record(trajectory, plan, id=self._id(name, index), tokenizer=self.tokenizer)
            for index, (trajectory, plan) in enumerate(played)
        ]

    def pairs(self, wanted: PairSet) -> list[Record]:
        plans = draw_pairs(self.world, wanted, self.seed)
        acts, recalls = (
            write_trajectories(side, codec=self.codec, environment=self.environment)
            for side in ([plan.act for plan in plans], [plan.recall for plan in plans])
        )
        return [
            pair_record(
                act,
                recall,
                plan,
                span=wanted.span,
                id=self._id("pairs", index),
                tokenizer=self.tokenizer,
                codec=self.codec,
            )
            for index, (act, recall, plan) in enumerate(zip(acts, recalls, plans, strict=True))
        ]

    def replay(self, count: int) -> list[Record]:
        rng = random.Random(f"replay {self.seed}")
        return [
            text_record(
                replay_text(self.world, rng), id=self._id("replay", index), tokenizer=self.tokenizer, codec=self.codec
            )
            for index in range(count)
        ]

    def _id(self, name: str, index: int) -> str:
        return f"tinyworld-{self.seed}-{name}-{index:05d}"


# ------------------------------------------------------------------ the data card, counted from the records themselves


CARD_VERSION = 1
_DISTRACTED = ("observations", "distracted", "misled")


def data_card(
    data: Mapping[str, Sequence[Record]], config: StageConfig, *, seed: int, tokenizer: str
) -> dict[str, Any]:
    """Count the sets of stage data; JSON-ready. `tokenizer` is the fingerprint."""
    return {
        "card_version": CARD_VERSION,
        "world_seed": WORLD_SEED,
        "teacher_seed": seed,
        "tokenizer": tokenizer,
        "sets": {name: set_card(records) for name, records in data.items()},
        "config": json.loads(json.dumps(asdict(config))),
    }


def set_card(records: Sequence[Record]) -> dict[str, Any]:
    """Count one set: rows by kind and hops, actions, tokens of each sequence, distractors, directions of pairs."""
    sequences = [sequence for record in records for sequence in _sequences(record)]
    card: dict[str, Any] = {
        "rows": len(records),
        "kinds": _counts(record.kind for record in records),
        "hops": _counts(record.meta["hops"] for record in records if "hops" in record.meta),
        "actions": _spread([sum(piece.role is Role.ACTION for piece in pieces) for _, pieces in sequences]),
        "tokens": _spread([n_before + sum(len(piece.ids or ()) for piece in pieces) for n_before, pieces in sequences]),
    }
    card |= {name: sum(int(record.meta.get(name, 0)) for record in records) for name in _DISTRACTED}
    card["distractor_share"] = _share(card["distracted"], card["observations"])
    pairs = [record for record in records if isinstance(record, PairRecord)]
    return card | ({"pairs": _pair_card(pairs)} if pairs else {})


def _pair_card(pairs: Sequence[PairRecord]) -> dict[str, Any]:
    acts = Counter(pair.meta["act"] for pair in pairs)
    return {
        "act_chosen": acts["chosen"],
        "act_rejected": acts["rejected"],
        "act_chosen_share": _share(acts["chosen"], len(pairs)),
        "decision_at_hop": _counts(pair.meta["hop"] for pair in pairs),
        "span": _counts(pair.meta["span"] for pair in pairs),
    }


def _sequences(record: Record) -> list[tuple[int, tuple[Piece, ...]]]:
    """The training sequences of a record: (tokens before the response, pieces); two for a pair."""
    if isinstance(record, TextRecord):
        return [(len(record.ids or ()), ())]
    n_prompt = len(record.prompt_ids or ())
    if isinstance(record, PairRecord):
        return [(n_prompt, (*record.prefix, *side)) for side in (record.chosen, record.rejected)]
    return [(n_prompt, record.segments)]


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _spread(values: Sequence[int]) -> dict[str, float]:
    """Mean, largest and sum of the values of each sequence."""
    mean = round(sum(values) / len(values), 2) if values else 0.0
    return {"mean": mean, "max": max(values, default=0), "total": sum(values)}


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def write_card(card: Mapping[str, Any], json_path: Path, markdown_path: Path) -> list[Path]:
    """Write both files of the card and return their paths."""
    write_json(json_path, card)
    markdown_path.write_text(card_markdown(card), encoding="utf-8")
    return [json_path, markdown_path]


def card_markdown(card: Mapping[str, Any]) -> str:
    """The card as a page of Markdown."""
    rows = [_markdown_row(name, each) for name, each in card["sets"].items()]
    pairs = [_pair_line(each["pairs"], each["misled"]) for each in card["sets"].values() if "pairs" in each]
    return "\n".join([_TITLE.format(**card), _HEAD, *rows, "", *pairs, _NOTES])


def _markdown_row(name: str, card: Mapping[str, Any]) -> str:
    actions, tokens, share = card["actions"], card["tokens"], card["distractor_share"]
    cells = (
        name,
        ", ".join(f"{count} {kind}" for kind, count in card["kinds"].items()) or "none",
        " / ".join(str(card["hops"].get(hops, 0)) for hops in "123") if card["hops"] else "-",
        f"{actions['mean']:.2f} / {actions['max']}",
        f"{tokens['mean']:.1f} / {tokens['max']}",
        str(tokens["total"]),
        "-" if share is None else f"{share:.3f}",
    )
    return f"| {' | '.join(cells)} |"


def _pair_line(card: Mapping[str, Any], misled: int) -> str:
    spans = ", ".join(f"{count} of span {span}" for span, count in card["span"].items())
    where = ", ".join(f"{count} at hop {hop}" for hop, count in card["decision_at_hop"].items())
    return (
        f"Pairs: acting is chosen in {card['act_chosen']} and rejected in {card['act_rejected']} "
        f"(share {card['act_chosen_share']:.3f}); {spans}; the decision stands {where}; "
        f"{misled} needless searches mislead.\n"
    )


_TITLE = """# Data card: stage data of the embedded world

World seed {world_seed}, teacher seed {teacher_seed}, tokenizer `{tokenizer}`. Made by `autocoa tinyworld build`.
"""
_HEAD = """| set | rows | hops 1 / 2 / 3 | actions mean / max | tokens mean / max | tokens | distractor share |
|---|---|---|---|---|---|---|"""
_NOTES = """\
A pair counts as two sequences, chosen and rejected. Tokens include the prompt. The distractor share is of a set's
observations: two articles instead of one, in random order. `cot`: every hop is known and recalled. `coa`, `coa_stage3`:
at least one hop is of the tail. `replay`: lines of pre-training, which state facts and decide nothing.

Held-out entities occur nowhere. The third of popular entities that validation asks about ("popeval") is the subject of
no hop and of no distractor; it may be the object of a hop, and replayed lines state facts about it as pre-training did.
"""


# -------------------------------------------------------------------- records with ids from the teacher's trajectories


Pieces = tuple[Piece, ...]


def trajectory_record(trajectory: Trajectory, plan: Plan, *, id: str, tokenizer: str) -> CotRecord | CoaRecord:
    """Make a CoA record, or a CoT record where the teacher searched nothing; `tokenizer` is the fingerprint."""
    cls = CoaRecord if any(plan.search) else CotRecord
    return cls(
        id=id,
        protocol=trajectory.protocol,
        messages=(Message("user", plan.question.text),),
        prompt_ids=trajectory.prompt_ids,
        tokenizer=tokenizer,
        golds=(plan.question.answer,),
        meta=_meta(plan.question, plan.searched()),
        segments=pieces_of(trajectory),
    )


def pair_record(
    act: Trajectory, recall: Trajectory, plan: PairPlan, *, span: PairSpan, id: str, tokenizer: str, codec: Codec
) -> PairRecord:
    """Make a pair that shares everything before the decision.

    Raises:
        DataError: the two trajectories differ before the decision.
    """
    n_shared = _tokens_before_action(act, sum(plan.act.search[: plan.hop]))
    if act.response_ids[:n_shared] != recall.response_ids[:n_shared]:
        raise DataError(f"{id}: the two sides differ within the {n_shared} tokens before their decision")
    prefix, acting = split_pieces(pieces_of(act), n_shared, codec)
    _, recalling = split_pieces(pieces_of(recall), n_shared, codec)
    if span == "step":
        hop = plan.recall.question.hops[plan.hop]
        said = codec.encode(recall_text(hop.subject, hop.relation, hop.object))
        acting, recalling = acting[:1], split_pieces(recalling, len(said), codec)[0]
    chosen, rejected = (acting, recalling) if plan.act_is_chosen else (recalling, acting)
    return PairRecord(
        id=id,
        protocol=codec.protocol.name,
        messages=(Message("user", plan.question.text),),
        prompt_ids=act.prompt_ids,
        tokenizer=tokenizer,
        golds=(plan.question.answer,),
        meta=_pair_meta(plan, span),
        prefix=prefix,
        chosen=chosen,
        rejected=rejected,
    )


def replay_text(world: World, rng: random.Random) -> str:
    """Draw text for replay: a reading line and a known line, as in pre-training."""
    return f"{reading_line(world, rng)} {known_line(world, rng)}"


def text_record(text: str, *, id: str, tokenizer: str, codec: Codec) -> TextRecord:
    """Make the record of a replayed line, with its ids."""
    return TextRecord(id=id, text=text, ids=tuple(codec.encode(text)), tokenizer=tokenizer)


def split_pieces(pieces: Sequence[Piece], n_tokens: int, codec: Codec) -> tuple[Pieces, Pieces]:
    """Split after `n_tokens` tokens; a piece that is cut keeps its role and source on both sides.

    White space at the cut stays before it. For the word-level tokenizer, which spells a token as a word and a space.
    """
    before: list[Piece] = []
    for index, piece in enumerate(pieces):
        ids = piece.ids or ()
        if n_tokens < len(ids):
            if n_tokens:
                head, piece = _cut(piece, ids, n_tokens, codec)
                before.append(head)
            return tuple(before), (piece, *pieces[index + 1 :])
        before.append(piece)
        n_tokens -= len(ids)
    return tuple(before), ()


def _cut(piece: Piece, ids: tuple[int, ...], n_tokens: int, codec: Codec) -> tuple[Piece, Piece]:
    indent = len(piece.text) - len(piece.text.lstrip())
    tail = piece.text[indent + len(codec.decode(ids[:n_tokens])) :].lstrip()
    head = piece.text[: len(piece.text) - len(tail)]
    return replace(piece, text=head, ids=ids[:n_tokens]), replace(piece, text=tail, ids=ids[n_tokens:])


def _tokens_before_action(trajectory: Trajectory, number: int) -> int:
    """Response tokens before action `number` (from 0)."""
    actions = [index for index, each in enumerate(trajectory.segments) if each.role is Role.ACTION]
    return sum(len(each.ids) for each in trajectory.segments[: actions[number]])


def _pair_meta(plan: PairPlan, span: PairSpan) -> dict[str, str]:
    """`hop` counts from 1; `act` says which side acts."""
    shown = plan.act.searched(0, plan.hop)
    if span == "trajectory":
        shown += plan.act.searched(plan.hop) + plan.recall.searched(plan.hop)
    side = "chosen" if plan.act_is_chosen else "rejected"
    return {**_meta(plan.question, shown), "hop": str(plan.hop + 1), "act": side, "span": span}


def _meta(question: Question, shown: Sequence[tuple[Hop, Distraction | None]]) -> dict[str, str]:
    """`observations` in the row, and how many of them are `distracted` or `misled` (another article only)."""
    distractions = [distraction for _, distraction in shown if distraction]
    return {
        "source": question.source,
        "hops": str(len(question.hops)),
        "observations": str(len(shown)),
        "distracted": str(sum(each.place != "instead" for each in distractions)),
        "misled": str(sum(each.place == "instead" for each in distractions)),
    }
