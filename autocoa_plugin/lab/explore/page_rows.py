"""Data contract of the explorer page: one short row per trajectory for the list, one record for what is shown of it.

index    {"schema_version", "title", "kind", "files", "made", "has_tokens", "has_logprobs", "notes", "rows"}
row      what the list, the filters and the badges need
record   {"prompt", "segments", "counts", "extra"}, unpacked when it is shown
text     all that a search looks through
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...trajectory import Outcome, Role
from .entry import Entry, Part, Tokens

SCHEMA_VERSION = 1
_LOGPROB_DIGITS = 3


def give_advantages(entries: Sequence[Entry]) -> None:
    """Give every trajectory its reward minus the mean of its prompt's samples, as GRPO does before scaling.

    None where a prompt has one sample only, or one of its samples has no reward. Samples that were not numbered are
    numbered in their order.
    """
    groups: dict[Any, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.prompt_key, []).append(entry)
    for members in groups.values():
        if len({each.sample for each in members}) < len(members):
            for number, each in enumerate(members):
                each.sample = number
        rewards = [each.reward for each in members if each.reward is not None]
        if len(rewards) == len(members) > 1:
            mean = math.fsum(rewards) / len(rewards)
            for each, reward in zip(members, rewards, strict=True):
                each.advantage = reward - mean


def row_of(entry: Entry, n: int) -> dict[str, Any]:
    """The row of the `n`-th trajectory, 0 is the first."""
    calls = list(entry.calls())
    return {
        "n": n,
        "id": entry.uid if entry.sample == 0 and entry.advantage is None else f"{entry.uid} #{entry.sample}",
        "group_key": "/".join("" if each is None else str(each) for each in entry.prompt_key),
        "sample": entry.sample,
        "run": entry.run,
        "step": entry.step,
        "split": entry.split,
        "group": entry.group,
        "question": entry.question,
        "golds": entry.golds,
        "answer": entry.answer,
        "correct": entry.correct,
        "reward": _rounded(entry.reward),
        "parts": {name: _rounded(value) for name, value in entry.rewards.items()},
        "advantage": _rounded(entry.advantage),
        "stop": entry.stop,
        "forced": entry.forced,
        "actions": sum(part.role == Role.ACTION for part in entry.parts),
        "origins": _distinct(call["origin"] for call in calls),
        "outcomes": _distinct(call["outcome"] for call in calls if call["outcome"] != Outcome.OK),
        "tokens": entry.n_tokens,
        "format_errors": entry.format_errors,
        "judge": entry.judge,
        "n_imagined_diff": sum(part.real is not None for part in entry.parts),
    }


def record_of(entry: Entry) -> dict[str, Any]:
    """Record of one trajectory: all that is shown of it."""
    return {
        "prompt": entry.prompt,
        "segments": [_segment(part) for part in entry.parts],
        "counts": {name: _rounded(value) for name, value in entry.counts.items()},
        "extra": entry.extra,
    }


def text_of(entry: Entry) -> str:
    """Text of one trajectory that a search looks through."""
    return "\n".join([entry.question, entry.prompt or "", *(part.text for part in entry.parts)])


def index_of(
    entries: Sequence[Entry], *, title: str, kind: str, files: Sequence[str], made: str, notes: Sequence[str]
) -> dict[str, Any]:
    """Index of the page: all that is read when it opens; `made` is when it was written, ISO 8601."""
    found = [part.tokens for entry in entries for part in entry.parts if part.tokens]
    return {
        "schema_version": SCHEMA_VERSION,
        "title": title,
        "kind": kind,
        "files": list(files),
        "made": made,
        "has_tokens": bool(found),
        "has_logprobs": any(tokens.logprobs for tokens in found),
        "notes": list(notes),
        "rows": [row_of(entry, n) for n, entry in enumerate(entries)],
    }


def _segment(part: Part) -> dict[str, Any]:
    return {
        "role": part.role,
        "source": part.source,
        "text": part.text,
        "trained": part.trained,
        "call": part.call,
        "real": part.real,
        "tokens": None if part.tokens is None else _tokens(part.tokens),
    }


def _tokens(tokens: Tokens) -> Mapping[str, Any]:
    return {"ids": tokens.ids, "lengths": tokens.lengths, "logprobs": _logprobs(tokens.logprobs or ())}


def _logprobs(values: Sequence[Any]) -> list[float] | None:
    """Rounded; None where there are none, or one of them is no number that JSON can hold."""
    try:
        rounded = [round(value, _LOGPROB_DIGITS) + 0.0 for value in values]  # + 0.0: no "-0.0"
    except (TypeError, ValueError, OverflowError):
        return None
    return rounded if rounded and math.isfinite(sum(rounded)) else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
