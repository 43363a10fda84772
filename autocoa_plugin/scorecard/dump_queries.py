"""Queries from a trajectory dump: every action that a real tool has answered, with the very ids that stood before it.

    prompt   thought   action   observation   thought   action   observation   answer
    ├─────── ids of query 1 ──┤ └ recorded ─┘                   └ recorded ─┘
    ├─────── ids of query 2 ─────────────────────────────────┤

Nothing is decoded and encoded again (invariant 1), so the model that is judged must have the dump's tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..dump import read_dump
from ..errors import DataError
from ..protocol import Action
from ..tokenization import Codec
from ..trajectory import Role, Segment, Trajectory
from .queries import Query, checked_golds


def dump_queries(folder: str | Path, split: str, codec: Codec, *, step: int | None = None) -> list[Query]:
    """Read the queries of a split, of one step or of all; the group is the row's `data_source`, else the split.

    Raises `DataError` when there is none, when a row has no gold answer, or when protocol or tokenizer are others.
    """
    queries = [each for row in read_dump(folder, split, step) for each in _queries_of(row, split, codec)]
    if not queries:
        found = sorted(each.name for each in Path(folder).glob("*") if each.is_dir()) if Path(folder).is_dir() else []
        of_step = "" if step is None else f" at step {step}"
        raise DataError(f"{folder}: no real answer in split {split!r}{of_step}; there are the splits {found}")
    return queries


def _queries_of(row: dict[str, Any], split: str, codec: Codec) -> Iterator[Query]:
    trajectory: Trajectory = row["trajectory"]
    info, place = row.get("info") or {}, f"trajectory {row.get('uid')!r} of step {row.get('step')}"
    if trajectory.protocol != codec.protocol.name:
        raise DataError(f"{place} was written in protocol {trajectory.protocol!r}, asked for {codec.protocol.name!r}")
    group, question = str(info.get("data_source") or split), str(info.get("question") or "")
    ids = list(trajectory.prompt_ids)
    for segment in trajectory.segments:
        if segment.role is Role.ACTION:
            _check_tokenizer(segment, codec, place)
        if segment.is_real_observation and segment.call is not None:
            # where the action lay in its turn is not known any more, nor asked for
            action = Action(segment.call.tool, segment.call.parameters, 0, 0)
            golds = checked_golds(info.get("golds"), place)
            yield Query(tuple(ids), action, golds, group, question, recorded_ids=segment.ids)
        ids.extend(segment.ids)


def _check_tokenizer(action: Segment, codec: Codec, place: str) -> None:
    seen = codec.decode(action.ids)
    # the first token may begin before the tag, and some tokenizers lose white space
    if not "".join(seen.split()).endswith("".join(action.text.split())):
        raise DataError(f"{place} is another tokenizer's: an action decodes to {seen[:60]!r}, not {action.text[:60]!r}")
