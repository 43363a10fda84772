"""Rows of training data from attempts: under the prompt that is trained, with ids or as text.

    attempt (kept)             ──record──>  CotRecord | CoaRecord   ─┐
    attempt (kept) and parent  ──record──>  PairRecord               ├─play──>  Row: the sequences as they are trained
                                                                    ─┘
A student with the teacher's tokenizer gets the very ids that the teacher sampled. Another one gets text, which is
played once with its tokenizer, so that a row that it cannot spell is found here and not when training begins. So does
one whose chat template opens the thought where the teacher's does not, or the other way round, and every student of a
teacher that speaks text only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from ...data.from_trajectory import pair_of, record_of
from ...data.play import pair_to_trajectories, to_trajectory
from ...data.records import CoaRecord, CotRecord, Message, PairRecord, Piece
from ...engines.text_tokenizer import TEXT_V1
from ...errors import DataError
from ...tokenization import Codec, fingerprint
from ...trajectory import Role, Trajectory
from ..asking.question import Question
from .attempt import Attempt
from .job import Span
from .provenance import Provenance, row_id
from .steps import steps
from .teacher import head

TrainingPrompt = Callable[[Question], tuple[Sequence[Message], Sequence[int]]]
"""Prompt of a row: its messages, without the system prompt that the recipe adds, and the ids the student sees."""
AnyRecord = CotRecord | CoaRecord | PairRecord


@dataclass(frozen=True)
class Row:
    """Record and the trajectories it is trained as: one, or chosen and rejected, `n_shared` tokens alike."""

    record: AnyRecord
    sequences: tuple[Trajectory, ...]
    n_shared: int = 0


@dataclass(frozen=True)
class RowMaker:
    """Maker of rows; `teacher` spells the attempts' ids, `student` is the codec that the rows are for."""

    teacher: Codec
    student: Codec
    prompt: TrainingPrompt
    provenance: Provenance
    span: Span = "trajectory"

    @cached_property
    def tokenizer(self) -> str:
        """Fingerprint of the teacher's tokenizer."""
        return fingerprint(self.teacher.tokenizer)

    @cached_property
    def is_one_tokenizer(self) -> bool:
        """True when teacher and student spell text alike; never where the teacher's ids are text themselves."""
        if self.tokenizer == TEXT_V1:
            return False
        return self.teacher is self.student or fingerprint(self.student.tokenizer) == self.tokenizer

    def chain(self, question: Question, attempt: Attempt, every: Sequence[Attempt]) -> CotRecord | CoaRecord:
        """Make a record of a kept chain; raises `DataError` for one that cannot be trained on."""
        messages, prompt_ids = self.prompt(question)
        chain = replace(attempt.sample.trajectory, prompt_ids=tuple(prompt_ids))
        meta = self.provenance.of_chain(question, attempt, every)
        record = record_of(
            chain, id=row_id(attempt), tokenizer=self.tokenizer, messages=messages, golds=question.golds, meta=meta
        )
        if self._keeps_ids(attempt, prompt_ids):
            return record
        return replace(record, prompt_ids=None, tokenizer=None, segments=self._text(record.segments))

    def pair(self, question: Question, attempt: Attempt, parent: Attempt, every: Sequence[Attempt]) -> PairRecord:
        """Pair a kept change with the wrong chain it was made of; raises `DataError` when they make no pair."""
        assert attempt.request.cut is not None
        messages, prompt_ids = self.prompt(question)
        record = pair_record(
            attempt.sample.trajectory,
            parent.sample.trajectory,
            prompt_ids=tuple(prompt_ids),
            n_shared=attempt.request.cut.n_shared,
            span=self.span,
            id=row_id(attempt),
            tokenizer=self.tokenizer,
            codec=self.teacher,
            messages=messages,
            golds=question.golds,
            meta=self.provenance.of_pair(question, attempt, parent, every, self.span),
        )
        record = replace(record, meta={**record.meta, "direction": direction(record)})
        return record if self._keeps_ids(attempt, prompt_ids) else self._text_pair(record, attempt, parent)

    def play(self, record: AnyRecord, question: Question) -> Row:
        """Make the student's sequences; raises `DataError` or `TokenizerError` for what it cannot spell.

        Raises `AutoCoAError` for a row of text inside a running event loop.
        """
        prompt_ids = record.prompt_ids or self.prompt(question)[1]
        if not isinstance(record, PairRecord):
            return Row(record, (to_trajectory(record, self.student, prompt_ids),))
        pair = pair_to_trajectories(record, self.student, prompt_ids)
        return Row(record, (pair.chosen, pair.rejected), pair.n_shared)

    def _keeps_ids(self, attempt: Attempt, prompt_ids: Sequence[int]) -> bool:
        shown = attempt.sample.trajectory.prompt_ids
        return self.is_one_tokenizer and self.teacher.opens_thought(shown) == self.student.opens_thought(prompt_ids)

    def _text_pair(self, record: PairRecord, attempt: Attempt, parent: Attempt) -> PairRecord:
        parts = {name: self._text(getattr(record, name)) for name in ("prefix", "chosen", "rejected")}
        for side, chain in (("chosen", attempt), ("rejected", parent)):
            text = "".join(piece.text for piece in (*parts["prefix"], *parts[side]))
            if not chain.sample.trajectory.text().startswith(text):
                raise DataError(f"row {record.id!r}: {side}: the sides part within a character, which text cannot say")
        return replace(record, prompt_ids=None, tokenizer=None, **parts)

    def _text(self, pieces: Sequence[Piece]) -> tuple[Piece, ...]:
        """Pieces without ids: what a neighbour's token covers, and the teacher's end of sequence, have no text."""
        return tuple(replace(each, text=text, ids=None) for each in pieces if (text := self._without_end(each)))

    def _without_end(self, piece: Piece) -> str:
        last = (piece.ids or ())[-1:]
        return (
            piece.text.removesuffix(self.teacher.decode(last)) if self.teacher.end_ids.issuperset(last) else piece.text
        )


# ------------------------------------------------------------------ pairs: same prompt, same prefix, one decision apart


Direction = Literal["act", "think"]


def pair_record(
    chosen: Trajectory,
    rejected: Trajectory,
    *,
    prompt_ids: Sequence[int],
    n_shared: int,
    span: Span,
    id: str,
    tokenizer: str,
    codec: Codec,
    messages: Sequence[Message] = (),
    golds: Sequence[str] = (),
    meta: Mapping[str, str] | None = None,
) -> PairRecord:
    """Make a pair of a wrong chain and the right one made of it; at least `n_shared` response tokens are shared.

        act     prefix ─┬─ chosen     <begin_search> ...            think    prefix ─┬─ chosen     I recall ...
                        └─ rejected   I recall ...                                   └─ rejected   <begin_search> ...

    Both stand under the prompt that will be trained, `prompt_ids`, whatever prompt each was written under. The prefix
    is the longest run of tokens with which both begin (`data.from_trajectory.pair_of`).
    `span` "step": each side ends after the step at which it diverges, an acting side after its action, a thinking one
    where its next step begins. `tokenizer` is the fingerprint of the one that made the ids.
    Raises `DataError` naming the row when the chains share less, or do not differ in whether they act at once.
    Source: AutoCoA (arXiv:2503.06580), 3.2.1: pairs of both directions, so that acting is not learnt as always right.
    """

    def paired(first: Trajectory, second: Trajectory) -> PairRecord:
        return pair_of(
            first, second, id=id, tokenizer=tokenizer, codec=codec, messages=messages, golds=golds, meta=meta
        )

    sides = [replace(each, prompt_ids=tuple(prompt_ids)) for each in (chosen, rejected)]
    pair = paired(sides[0], sides[1])
    n_prefix = sum(len(piece.ids or ()) for piece in pair.prefix)
    if n_prefix < n_shared:
        raise DataError(f"row {id!r}: the chains were to share {n_shared} tokens and share the first {n_prefix} only")
    acting = direction(pair) == "act"
    if span == "trajectory":
        return pair
    ends = _action_end, _thought_end
    cut = [
        replace(side, segments=head(side, end(side, n_prefix, codec), codec))
        for side, end in zip(sides, ends if acting else reversed(ends), strict=True)
    ]
    return paired(cut[0], cut[1])


def direction(pair: PairRecord) -> Direction:
    """Direction of a pair, which is chosen after the prefix: to act at once, or to think on.

    Raises `DataError` naming the row when both sides do the same.
    """
    acts = _acts_at_once(pair.chosen), _acts_at_once(pair.rejected)
    if acts == (True, False):
        return "act"
    if acts == (False, True):
        return "think"
    both = "act at once" if all(acts) else "think on"
    raise DataError(f"row {pair.id!r}: both sides {both} after the prefix; one of them must act there")


def _acts_at_once(side: Sequence[Piece]) -> bool:
    for piece in side:
        if piece.role is Role.ACTION:
            return True
        if piece.text.strip():
            return False
    return False


def _action_end(side: Trajectory, n_prefix: int, codec: Codec) -> int:
    """Number of response tokens up to the end of the first action after the prefix."""
    ends = (end for role, end in _segment_ends(side) if role is Role.ACTION and end > n_prefix)
    return next(ends, len(side.response_ids))


def _thought_end(side: Trajectory, n_prefix: int, codec: Codec) -> int:
    """Number of response tokens up to the end of the step that follows the prefix; a blank is no step."""
    ends = sorted({step.end for step in steps(side, codec)} | {end for _, end in _segment_ends(side)})
    after = [end for end in ends if end > n_prefix]
    ids = side.response_ids
    return next((end for end in after if codec.decode(ids[n_prefix:end]).strip()), len(ids))


def _segment_ends(side: Trajectory) -> Iterator[tuple[Role, int]]:
    end = 0
    for segment in side.segments:
        end += len(segment.ids)
        yield segment.role, end
