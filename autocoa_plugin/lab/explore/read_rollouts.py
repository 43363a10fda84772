"""Read rows of trajectory dumps and of `autocoa evaluate`, ids and log-probabilities included.

Fields that this version does not know (another version's counters, a project's own) are shown as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ...errors import DataError, TrajectoryError
from ...trajectory import Call, Counts, Segment, Trajectory
from .entry import Entry, Part, as_text, extra_of, finite, golds_of, numbers_of, question_of
from .tokens import TokenSpeller

_ROW = ("step", "split", "uid", "answer", "reward", "reward_parts", "format_errors", "info", "trajectory", "sample")
_INFO = ("question", "golds", "data_source")
_COUNTS, _CALL = ({each.name for each in fields(of)} for of in (Counts, Call))
_TRAJECTORY = {"schema_version", *(each.name for each in fields(Trajectory))}


def entry_of_rollout(row: Mapping[str, Any], place: str, speller: TokenSpeller | None) -> Entry:
    """Read one row; `speller` None: its tokens stay unknown. Raises `DataError` naming a place that holds none."""
    try:
        return _entry(row, speller)
    except (TrajectoryError, LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}" if not isinstance(error, TrajectoryError) else str(error)
        raise DataError(f"{place}: not a row of a trajectory dump: {reason}") from error


def _entry(row: Mapping[str, Any], speller: TokenSpeller | None) -> Entry:
    stored = row["trajectory"]
    trajectory, unknown = _trajectory(stored)
    rewards, info, judge = numbers_of(row.get("reward_parts")), row.get("info") or {}, _judged(row.get("judge"))
    prompt = speller.decode(trajectory.prompt_ids) if speller else None
    question = info.get("question") or (question_of(prompt) if prompt else "")
    return Entry(
        uid=str(row.get("uid", "")),
        parts=_parts(trajectory, speller),
        protocol=trajectory.protocol,
        sample=_sample(row, info),
        split=_text_or_none(row.get("split")),
        group=str(info.get("data_source") or ""),
        question=str(question),
        golds=golds_of(info.get("golds")),
        answer=_text_or_none(row.get("answer")),
        correct=rewards["exact_match"] == 1 if "exact_match" in rewards else judge,
        judge=judge,
        reward=finite(row.get("reward")),
        rewards=rewards,
        stop=str(trajectory.stop_reason),
        forced=bool(trajectory.forced_answer),
        format_errors=[str(each) for each in row.get("format_errors") or ()],
        n_tokens=len(trajectory.response_ids),
        prompt=prompt,
        counts={name: value for name, value in numbers_of(stored["counts"]).items() if value},
        extra={**extra_of(row, _ROW), **extra_of(info, _INFO, "info."), **unknown},
    )


def _trajectory(stored: Mapping[str, Any]) -> tuple[Trajectory, dict[str, str]]:
    """Rebuild a trajectory from the fields that are known; the others as text."""
    known, unknown = dict(stored), extra_of(stored, _TRAJECTORY, "trajectory.")
    unknown |= extra_of(stored["counts"], _COUNTS, "counts.")
    known["counts"] = _only(stored["counts"], _COUNTS)
    known["segments"] = []
    for segment in stored["segments"]:
        call = segment.get("call")
        if call:
            unknown |= extra_of(call, _CALL, "call.")
        known["segments"].append({**segment, "logprobs": segment.get("logprobs"), "call": call and _only(call, _CALL)})
    return Trajectory.from_dict(known), unknown


def _checked(segment: Segment) -> Segment:
    if not isinstance(segment.text, str):
        raise TypeError(f"a segment's text is {type(segment.text).__name__}")
    return segment


def _only(values: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}


def _parts(trajectory: Trajectory, speller: TokenSpeller | None) -> list[Part]:
    segments = [_checked(segment) for segment in trajectory.segments]
    tokens = speller.tokens(segments) if speller else [None] * len(segments)
    return [
        Part(segment.role, segment.source, segment.text, segment.is_trained, _call(segment), found)
        for segment, found in zip(segments, tokens, strict=True)
    ]


def _call(segment: Segment) -> Mapping[str, Any] | None:
    call = segment.call
    if call is None:
        return None
    texts = {name: as_text(getattr(call, name)) for name in ("tool", "parameters", "outcome", "origin")}
    return {**texts, "seconds": finite(call.seconds), "cost": finite(call.cost), "error": _text_or_none(call.error)}


def _text_or_none(value: Any) -> str | None:
    return None if value is None else as_text(value)


def _sample(row: Mapping[str, Any], info: Mapping[str, Any]) -> int:
    """Number of a prompt's answer: evaluation counts samples, training sessions."""
    found = row.get("sample", info.get("session"))
    return found if isinstance(found, int) else 0


def _judged(judge: Any) -> bool | None:
    correct = judge.get("correct") if isinstance(judge, Mapping) else None
    return correct if isinstance(correct, bool) else None
