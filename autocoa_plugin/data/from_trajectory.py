"""Turn trajectories and rollout dumps into training records with ids (rejection sampling); nothing is tokenised again.

    record_of        Trajectory ──> CotRecord | CoaRecord
    pair_of          Trajectory ─┬─ Trajectory ──> PairRecord   the prefix is what both begin with, token for token
                                 └─ (the chosen one is given first)
    records_of_dump  <folder>/<split>/step_000012.*.jsonl  ──keep──>  records; left_out: why how many were not kept

Rejection sampling from one's own policy (or a teacher's) is `records_of_dump` and nothing else. Records become
trajectories again in `play.py`, with the same ids and roles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..dump import read_dump
from ..errors import DataError, nearest
from ..tokenization import Codec
from ..trajectory import Role, Source, Trajectory
from .records import CoaRecord, CotRecord, Message, PairRecord, Piece

Pieces = tuple[Piece, ...]


def record_of(
    trajectory: Trajectory,
    *,
    id: str,
    tokenizer: str,
    messages: Sequence[Message] = (),
    golds: Sequence[str] = (),
    meta: Mapping[str, str] | None = None,
) -> CotRecord | CoaRecord:
    """Keep a trajectory as a row: kind coa when it has an action or an observation, cot otherwise.

    `tokenizer` is the fingerprint (`tokenization.fingerprint`) of the tokenizer that made its ids.
    Raises `DataError` naming the row when the trajectory is empty or has no prompt.
    """
    acts = any(each.role in (Role.ACTION, Role.OBSERVATION) for each in trajectory.segments)
    try:
        return (CoaRecord if acts else CotRecord)(
            id=id,
            protocol=trajectory.protocol,
            messages=tuple(messages),
            prompt_ids=trajectory.prompt_ids,
            tokenizer=tokenizer,
            golds=tuple(golds),
            meta=dict(meta or {}),
            segments=pieces_of(trajectory),
        )
    except DataError as error:
        raise DataError(f"row {id!r} (stop reason {trajectory.stop_reason}): {error}") from error


def pair_of(
    chosen: Trajectory,
    rejected: Trajectory,
    *,
    id: str,
    tokenizer: str,
    codec: Codec,
    messages: Sequence[Message] = (),
    golds: Sequence[str] = (),
    meta: Mapping[str, str] | None = None,
) -> PairRecord:
    """Keep two trajectories of one prompt as a pair.

    The prefix is the longest run of tokens with which both begin, each with the same role and source on both sides. A
    segment that is cut keeps its role and source; its text is then what the ids on each side of the cut decode to.
    Raises `DataError` naming the row when prompts or protocols differ, when no token is shared, or when one side ends
    where the other goes on.
    """
    _check_comparable(chosen, rejected, id)
    n_shared = _shared(chosen, rejected)
    prefix, preferred = split_pieces(pieces_of(chosen), n_shared, codec)
    _, other = split_pieces(pieces_of(rejected), n_shared, codec)
    try:
        return PairRecord(
            id=id,
            protocol=chosen.protocol,
            messages=tuple(messages),
            prompt_ids=chosen.prompt_ids,
            tokenizer=tokenizer,
            golds=tuple(golds),
            meta=dict(meta or {}),
            prefix=prefix,
            chosen=preferred,
            rejected=other,
        )
    except DataError as error:
        raise DataError(f"row {id!r}, {n_shared} shared tokens: {error}") from error


def pieces_of(trajectory: Trajectory) -> Pieces:
    """The segments of a trajectory as pieces with ids."""
    return tuple(Piece(each.role, each.source, each.text, each.ids) for each in trajectory.segments)


def split_pieces(pieces: Sequence[Piece], n_tokens: int, codec: Codec) -> tuple[Pieces, Pieces]:
    """Split after `n_tokens` tokens; ids are exact, a piece that is cut keeps role and source on both sides."""
    for index, piece in enumerate(pieces):
        if n_tokens == 0:
            return tuple(pieces[:index]), tuple(pieces[index:])
        ids = piece.ids or ()
        if len(ids) > n_tokens:
            head, tail = _cut(piece, n_tokens, codec)
            return (*pieces[:index], head), (tail, *pieces[index + 1 :])
        n_tokens -= len(ids)
    return tuple(pieces), ()


def _cut(piece: Piece, n_tokens: int, codec: Codec) -> tuple[Piece, Piece]:
    ids = piece.ids or ()
    before, after = ids[:n_tokens], ids[n_tokens:]
    head = codec.decode(before)
    # exact where the tokenizer is; inside a character or at a word's beginning each side decodes by itself
    tail = piece.text[len(head) :] if piece.text.startswith(head) else codec.decode(after)
    return Piece(piece.role, piece.source, head, before), Piece(piece.role, piece.source, tail, after)


def _check_comparable(chosen: Trajectory, rejected: Trajectory, id: str) -> None:
    if chosen.protocol != rejected.protocol:
        raise DataError(
            f"row {id!r}: the protocols differ, chosen has {chosen.protocol!r}, rejected {rejected.protocol!r}"
        )
    if chosen.prompt_ids != rejected.prompt_ids:
        raise DataError(
            f"row {id!r}: the prompts differ, chosen has {len(chosen.prompt_ids)} ids, rejected "
            f"{len(rejected.prompt_ids)}; a pair answers one prompt"
        )


def _shared(chosen: Trajectory, rejected: Trajectory) -> int:
    count = 0
    for ours, theirs in zip(_tokens(chosen), _tokens(rejected), strict=False):
        if ours != theirs:
            break
        count += 1
    return count


def _tokens(trajectory: Trajectory) -> Iterator[tuple[int, Role, Source]]:
    return ((token, each.role, each.source) for each in trajectory.segments for token in each.ids)


# -------------------------------------------------------------------------------------------- records of rollout dumps


__all__ = ["DumpRecords", "exact_match_at_least", "pair_of", "record_of", "records_of_dump"]

Keep = Callable[[Mapping[str, Any]], bool]


@dataclass
class DumpRecords:
    """Records of a dump, and how many trajectories were left out by reason."""

    records: list[CotRecord | CoaRecord] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[CotRecord | CoaRecord]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __str__(self) -> str:
        left_out = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.left_out.items())) or "none"
        return f"{len(self.records):,} records; left out: {left_out}"


def exact_match_at_least(threshold: float = 1.0) -> Keep:
    """Keep a dumped row whose exact match with its gold answers reaches `threshold` (0 to 1)."""
    return lambda row: row["reward_parts"]["exact_match"] >= threshold


def records_of_dump(
    folder: str | Path, split: str, step: int | None = None, *, tokenizer: str, keep: Keep | None = None
) -> DumpRecords:
    """Read a dump's trajectories of a split, of one step or of all, that `keep` accepts; by default the right answers.

    `keep` is shown each row as `dump.read_dump` yields it. `tokenizer` is the fingerprint of the policy's tokenizer,
    which a dump does not hold. Left out are rows that are "not kept" and trajectories that are "empty". The id of a
    record is "split/step/uid/n", n counting the samples of a prompt.
    Raises `DataError` when there is no such split or step, `TrajectoryError` for an unreadable line.
    """
    keep, found, samples = keep or exact_match_at_least(), DumpRecords(), Counter[str]()
    for row in _rows(Path(folder), split, step):
        prompt = f"{split}/{row['step']}/{row['uid']}"
        samples[prompt] += 1
        trajectory: Trajectory = row["trajectory"]
        if not trajectory.segments:
            found.left_out["empty"] += 1
        elif not keep(row):
            found.left_out["not kept"] += 1
        else:
            found.records.append(_record(row, f"{prompt}/{samples[prompt] - 1}", tokenizer))
    return found


def _record(row: Mapping[str, Any], id: str, tokenizer: str) -> CotRecord | CoaRecord:
    trajectory, info = row["trajectory"], row["info"]
    known = {
        "answer": row["answer"],
        "data_source": info.get("data_source"),
        "question": info.get("question"),
        "reward": row["reward"],
        "stop_reason": str(trajectory.stop_reason),
    }
    meta = {name: str(value) for name, value in known.items() if value is not None}
    return record_of(
        trajectory, id=id, tokenizer=tokenizer, golds=[str(gold) for gold in info.get("golds", ())], meta=meta
    )


def _rows(folder: Path, split: str, step: int | None) -> Iterator[dict[str, Any]]:
    splits = sorted(each.name for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []
    if split not in splits:
        raise DataError(f"{folder}: no split {split!r}{nearest(split, splits)}; it has {splits}")
    files = [each.name for each in (folder / split).glob("step_*.jsonl")]
    if step is not None and not any(name.startswith(f"step_{step:06d}.") for name in files):
        steps = sorted({int(name[len("step_") :].partition(".")[0]) for name in files})
        raise DataError(f"{folder / split}: no step {step}; it has {steps}")
    return read_dump(folder, split, step)
