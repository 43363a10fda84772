"""Queries to a world model: those a policy has written, each with everything that stood before it.

    {"question": "Who wrote it ?", "prefix": "<think> ... <begin_search> q </end_search>", "golds": ["Kipling"],
     "query": "q", "group": "held"}                                     one JSON object per line; query may be left out

A file holds text and fits every model; `encode_query` turns a row into the ids of one model, chat template included.
A trajectory dump has the ids already (`dump_queries`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ...answers import needed_golds
from ...data.record_files import json_rows, write_json_lines
from ...dump import read_dump
from ...errors import ConfigError, DataError, nearest
from ...lookup import Plug
from ...prompts import prompt_ids
from ...protocol import Action, Protocol
from ...runs.files import replacement
from ...tokenization import Codec
from ...trajectory import Role, Segment, Trajectory

_FIELDS = ("question", "prefix", "golds", "query", "group")


@dataclass(frozen=True)
class Query:
    """Action in its context: `ids` is the prompt and the response, up to and including the closed action.

    `recorded_ids` is the real observation that followed, tags included, where it is known already.
    """

    ids: tuple[int, ...]
    action: Action
    golds: tuple[str, ...]
    group: str
    question: str = ""
    recorded_ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class QueryRow:
    """Line of a query file; `place` is "file.jsonl:12", for messages."""

    question: str
    prefix: str
    golds: tuple[str, ...]
    query: str
    group: str = "all"
    place: str = ""


_Grouped = TypeVar("_Grouped", Query, QueryRow)


def read_queries(path: str | Path, protocol: Protocol) -> list[QueryRow]:
    """Read a query file.

    Raises `DataError` naming file and line for a row without gold answers, or whose prefix does not end with a closed
    action; and for a file that is missing or holds no query.
    """
    path = Path(path)
    if not path.is_file():
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path}: no such file of queries{nearest(path.name, beside)}")
    rows = [_row(row, protocol, place) for place, row in json_rows(path)]
    if not rows:
        raise DataError(f"{path}: holds no query, expected one JSON object per line with {', '.join(_FIELDS)}")
    return rows


def write_queries(rows: Iterable[QueryRow], path: str | Path) -> None:
    """Write a query file; it appears whole or not at all."""
    with replacement(Path(path)) as unfinished:
        write_json_lines(({name: getattr(row, name) for name in _FIELDS} for row in rows), unfinished)


def encode_query(
    row: QueryRow,
    codec: Codec,
    *,
    system_prompt: str | Plug | None = None,
    template_options: dict[str, Any] | None = None,
) -> Query:
    """Spell a query for one model: chat template, then the prefix as the policy would have written it.

    A thought that the template has opened is not opened again. Raises `DataError` for a prefix without closed action.
    """
    messages = [{"role": "user", "content": row.question}]
    prompt = prompt_ids(
        codec.tokenizer,
        messages,
        system_prompt=system_prompt,
        protocol=codec.protocol,
        template_options=template_options,
    )
    prefix, thought = row.prefix, codec.protocol.thought
    if thought and codec.opens_thought(prompt) and prefix.lstrip().startswith(thought.open):
        prefix = prefix.lstrip().removeprefix(thought.open)
    action = last_action(row.prefix, codec.protocol, row.place)
    return Query((*prompt, *codec.encode(prefix)), action, row.golds, row.group, row.question)


def choose(queries: Sequence[_Grouped], groups: Sequence[str] = (), limit: int | None = None) -> list[_Grouped]:
    """Keep the named groups (none named: all of them), and the first `limit` queries of each.

    Raises `ConfigError` for a group that no query belongs to, and for a limit below 1.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be >= 1, got {limit}")
    known = list(dict.fromkeys(each.group for each in queries))
    for group in groups:
        if group not in known:
            raise ConfigError(f"no query belongs to group {group!r}{nearest(group, known)}; there are {known}")
    of_group = {group: [each for each in queries if each.group == group] for group in groups or known}
    return [each for members in of_group.values() for each in members[:limit]]


def last_action(prefix: str, protocol: Protocol, place: str) -> Action:
    """Find the closed action that a response ends with; raises `DataError` when it ends with something else."""
    ends = (
        prefix.rfind(tool.observation.close) + len(tool.observation.close)
        for tool in protocol.tools
        if tool.observation.close in prefix
    )
    turn = prefix[max(ends, default=0) :]
    action = protocol.find_action(turn)
    if action is None or turn[action.end :].strip():
        closes = " or ".join(tool.action.close for tool in protocol.spelled_tools)
        raise DataError(f"{place}: prefix must end with a closed action ({closes}), it ends in {prefix[-40:]!r}")
    if action.defect:
        raise DataError(f"{place}: the action that prefix ends with is {action.defect}: {turn[-40:]!r}")
    return action


def _row(row: Any, protocol: Protocol, place: str) -> QueryRow:
    if not isinstance(row, dict):
        raise DataError(f"{place}: expected an object with {', '.join(_FIELDS)}, got {type(row).__name__} {row!r:.40}")
    for name in row:
        if name not in _FIELDS:
            raise DataError(
                f"{place}: unknown field {name!r}{nearest(str(name), _FIELDS)}; known: {', '.join(_FIELDS)}"
            )
    text = {name: row.get(name, default) for name, default in (("question", None), ("prefix", None), ("group", "all"))}
    for name, value in text.items():
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{place}: {name} must be text, got {value!r:.80}")
    action = last_action(text["prefix"], protocol, place)
    query = row.get("query", action.parameters)
    if not isinstance(query, str) or query.split() != action.parameters.split():
        raise DataError(f"{place}: query is {query!r:.80}, but prefix ends with the query {action.parameters!r:.80}")
    golds = needed_golds(row.get("golds"), f"{place}: golds")
    return QueryRow(text["question"], text["prefix"], golds, action.parameters, text["group"], place)


# --------------------------------------------------------------------------------------- queries from a trajectory dump


def dump_queries(folder: str | Path, split: str, codec: Codec, *, step: int | None = None) -> list[Query]:
    """Read every action that a real tool has answered in a split of a dump, of one step or of all.

        prompt   thought   action   observation   thought   action   observation   answer
        ├─────── ids of query 1 ──┤ └ recorded ─┘                   └ recorded ─┘
        ├─────── ids of query 2 ─────────────────────────────────┤

    Nothing is decoded and encoded again (invariant 1), so the model that is judged must have the dump's tokenizer. The
    group is the row's `data_source`, else the split.
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
            golds = needed_golds(info.get("golds"), f"{place}: golds")
            yield Query(tuple(ids), action, golds, group, question, recorded_ids=segment.ids)
        ids.extend(segment.ids)


def _check_tokenizer(action: Segment, codec: Codec, place: str) -> None:
    seen = codec.decode(action.ids)
    # the first token may begin before the tag, and some tokenizers lose white space
    if not "".join(seen.split()).endswith("".join(action.text.split())):
        raise DataError(f"{place} is another tokenizer's: an action decodes to {seen[:60]!r}, not {action.text[:60]!r}")
