"""Judge a finished results folder: every sample is judged once, however often the run is interrupted.

    samples.jsonl ──> what is not in judge.jsonl yet ──> judge ──> judge.jsonl, one line the moment it is known
                                                                       └─ at the end: samples.jsonl with verdicts

The policy is not asked again. A verdict is found again by question, sample, model, and everything the judge was sent,
so other settings, or another answer, are judged anew. One process at a time: the caller holds the folder's lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...errors import DataError
from ...judge import Judge, JudgeSettings
from ...runs.files import json_line, replacing
from ...runs.identity import digest
from ...runs.log import LineLog
from ..asking.player import Sample
from .results_folder import ResultsFolder

JUDGE_FILE = "judge.jsonl"
Key = tuple[str, int, str]
Progress = Callable[[int, int], object]
"""Progress callback: how many samples are judged, and of how many."""


@dataclass(frozen=True)
class JudgeTotals:
    """Totals of a judged folder; `undecided` samples have a verdict of neither right nor wrong.

    Tokens and `cost` are those of all verdicts of the folder, `asked` samples were judged in this session.
    """

    identity: dict[str, Any]
    samples: int
    asked: int
    undecided: int
    unreadable_votes: int
    input_tokens: int
    output_tokens: int
    cost: float

    def to_dict(self) -> dict[str, Any]:
        """Spell the totals for `Summary.judge`, without those that depend on how often the run was interrupted."""
        counts = {name: value for name, value in vars(self).items() if name not in ("identity", "asked")}
        return {**self.identity, **counts}


@dataclass(frozen=True)
class _Asked:
    """One sample as the judge is shown it."""

    key: Key
    question: str
    golds: tuple[str, ...]
    answer: str | None


@dataclass(frozen=True)
class _Judged:
    """A verdict, a line of judge.jsonl."""

    key: Key
    verdict: dict[str, Any]

    def to_row(self) -> dict[str, Any]:
        uid, sample, sent = self.key
        return {"uid": uid, "sample": sample, "sent": sent, "verdict": self.verdict}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> _Judged:
        try:
            return cls((row["uid"], row["sample"], row["sent"]), dict(row["verdict"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a verdict: {type(error).__name__}: {error}") from error


async def judge_folder(
    folder: ResultsFolder, settings: JudgeSettings, *, concurrency: int = 16, progress: Progress = lambda *_: None
) -> JudgeTotals:
    """Judge the samples of a finished run, `concurrency` at a time, and write the verdicts into samples.jsonl.

    Raises `EngineError` when the judge's server fails, with what was judged kept for the next call; `DataError` for a
    broken line.
    """
    async with Judge(settings) as judge:
        identity = settings.identity(await judge.model())
        asked = [_asked(sample, identity) for sample in folder.read_samples()]
        with _log(folder) as log:
            verdicts = {each.key: each.verdict for each in log.read()}
            missing = [each for each in asked if each.key not in verdicts]
            done = len(asked) - len(missing)
            progress(done, len(asked))

            async def work(rest: Iterator[_Asked]) -> None:
                nonlocal done
                for each in rest:
                    verdict = await judge.judge(each.question, each.golds, each.answer)
                    verdicts[each.key] = verdict.to_dict()
                    log.keep(_Judged(each.key, verdicts[each.key]))
                    done += 1
                    progress(done, len(asked))

            await _in_parallel(work, missing, concurrency)
    found = {(each.key[0], each.key[1]): verdicts[each.key] for each in asked}
    _rewrite(folder, found)
    return _totals(identity, list(found.values()), len(missing))


async def _in_parallel(work: Callable[[Iterator[_Asked]], Any], missing: list[_Asked], concurrency: int) -> None:
    """Let workers share one iterator; the first failure stops all of them."""
    rest = iter(missing)
    workers = [asyncio.ensure_future(work(rest)) for _ in range(min(concurrency, len(missing)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def _asked(sample: Sample, identity: dict[str, Any]) -> _Asked:
    question, golds, answer = sample.question.question, sample.question.golds, sample.reward.answer
    sent = digest([identity, question, golds, answer])
    return _Asked((*sample.key, sent), question, golds, answer)


def _log(folder: ResultsFolder) -> LineLog[_Judged]:
    remedy = "remove this line to ask the judge again"
    name = lambda judged: f"the verdict on sample {judged.key[1]} of {judged.key[0]!r}"  # noqa: E731
    return LineLog(folder.path / JUDGE_FILE, _Judged.from_row, name=name, remedy=remedy)


def _rewrite(folder: ResultsFolder, verdicts: dict[tuple[str, int], dict[str, Any]]) -> None:
    """Write samples.jsonl anew, sample by sample: an interruption leaves the old file or the new one."""
    with replacing(folder.samples) as file:
        for sample in folder.read_samples():
            file.write(json_line(replace(sample, judge=verdicts[sample.key]).to_row()))


def _totals(identity: dict[str, Any], verdicts: list[dict[str, Any]], asked: int) -> JudgeTotals:
    return JudgeTotals(
        identity=identity,
        samples=len(verdicts),
        asked=asked,
        undecided=sum(each["correct"] is None for each in verdicts),
        unreadable_votes=sum(each["votes"].count("unreadable") for each in verdicts),
        input_tokens=sum(each["input_tokens"] for each in verdicts),
        output_tokens=sum(each["output_tokens"] for each in verdicts),
        cost=sum(each["cost"] for each in verdicts),
    )
