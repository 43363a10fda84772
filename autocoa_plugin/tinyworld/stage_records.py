"""From the teacher's trajectories to records with ids, and from two trajectories to a pair that shares its prefix.

    act      <think> First I need the R of S . │ <begin_search> S R </end_search>  ...
    recall   <think> First I need the R of S . │ I recall the R of S is O .        ...
             ╰──────────── prefix ───────────╯ ╰──────── chosen, rejected ───────╯

The ids are those of the rollout: nothing is tokenised again. Which trajectories there are is told in `plans.py` and
`pairs.py`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from ..data.records import CoaRecord, CotRecord, Message, PairRecord, Piece, TextRecord
from ..errors import DataError
from ..tokenization import Codec
from ..trajectory import Role, Trajectory
from .distractors import Distraction
from .lines import known_line, reading_line
from .pairs import PairPlan, PairSpan
from .plans import Plan
from .questions import Hop, Question
from .teacher import recall_text
from .world import World

Pieces = tuple[Piece, ...]


def trajectory_record(trajectory: Trajectory, plan: Plan, *, id: str, tokenizer: str) -> CotRecord | CoaRecord:
    """A CoA record, or a CoT record where the teacher searched nothing; `tokenizer` is the fingerprint."""
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
    """A pair that shares everything before the decision.

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
    """A reading line and a known line, as in pre-training."""
    return f"{reading_line(world, rng)} {known_line(world, rng)}"


def text_record(text: str, *, id: str, tokenizer: str, codec: Codec) -> TextRecord:
    """A replayed line with its ids."""
    return TextRecord(id=id, text=text, ids=tuple(codec.encode(text)), tokenizer=tokenizer)


def pieces_of(trajectory: Trajectory) -> Pieces:
    """The segments of a trajectory as pieces with ids."""
    return tuple(Piece(each.role, each.source, each.text, each.ids) for each in trajectory.segments)


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
