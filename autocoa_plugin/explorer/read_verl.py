"""verl's own dumps, `trainer.rollout_data_dir` and `validation_data_dir` of any project: text with a score.

<dir>/<step>.jsonl    {"input", "output", "gts", "score", "step", "uid"}, in validation every reward_extra_info key
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import DataError
from ..evaluation.fingerprint import digest
from ..protocol import Protocol
from ..trajectory import Role
from .entry import Entry, Part, extra_of, finite
from .foreign import detect_protocol
from .golds import golds_of, question_of
from .text_split import split_text

_ROW = ("input", "output", "gts", "score", "step", "uid", "data_source")
_CORRECT = ("exact_match", "em", "acc")
_NEAR = 0.25  # a format penalty or bonus leaves a score of 0 or 1 recognisable


def entry_of_verl(row: Mapping[str, Any], place: str, protocol: Protocol | None) -> Entry:
    """Read one row; `protocol` None: the one whose tags occur. Raises `DataError` naming a place without output."""
    output = row.get("output")
    if not isinstance(output, str):
        raise DataError(
            f"{place}: output must be text, got {type(output).__name__}; verl's dumps have input and output"
        )
    prompt, protocol = str(row.get("input") or ""), protocol or detect_protocol(output)
    unknown = {name: value for name, value in row.items() if name not in _ROW}
    # bool is a number here, "True" is not
    rewards = {name: value for name, each in unknown.items() if (value := finite(each)) is not None}
    uid, sample = _uid(row.get("uid"), prompt)
    parts = split_text(output, protocol)
    return Entry(
        uid=uid,
        sample=sample,
        parts=parts,
        protocol=protocol.name if protocol else None,
        group=str(row.get("data_source") or ""),
        question=question_of(prompt),
        golds=golds_of(row.get("gts")),
        answer=answer_of(parts, protocol),
        correct=next((rewards[name] == 1 for name in _CORRECT if name in rewards), None),
        reward=finite(row.get("score")),
        rewards=rewards,
        prompt=prompt or None,
        extra=extra_of(unknown, rewards),
    )


def answer_of(parts: Sequence[Part], protocol: Protocol | None) -> str | None:
    """The last complete answer after the last action and observation; None when there is none."""
    said: list[str] = []
    for part in reversed(parts):
        if part.role in (Role.ACTION, Role.OBSERVATION):
            break
        said.append(part.text)
    return protocol.extract_answer("".join(reversed(said))) if protocol else None


def judge_by_score(entries: Sequence[Entry]) -> None:
    """Where nothing says what is correct and all scores lie near 0, 1 or -1: a score above 0.5 is."""
    scores = [entry.reward for entry in entries if entry.reward is not None]
    if not all(min(abs(score - mark) for mark in (-1, 0, 1)) <= _NEAR for score in scores):
        return
    for entry in entries:
        if entry.correct is None and entry.reward is not None:
            entry.correct = entry.reward > 0.5


def _uid(uid: Any, prompt: str) -> tuple[str, int]:
    """Prompt and number: verl's keys are "prompt_session_output"; without one, a digest of the prompt is its name."""
    if uid is None:
        return f"prompt {digest(prompt)[:8]}", 0
    name, *numbers = str(uid).rsplit("_", 2)
    is_key = len(numbers) == 2 and all(number.isdecimal() for number in numbers)
    return (name, int(numbers[0])) if is_key else (str(uid), 0)
