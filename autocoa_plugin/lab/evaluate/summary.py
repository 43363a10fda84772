"""Summary of an evaluation by group of questions: the content of `summary.json`.

    Summary ── groups ── "all"   ── metrics ── "exact_match" ── mean 0.71, 95 % interval 0.66 to 0.75, n 300
            │         └─ "2hop"  ── ...
            ├─ fingerprint: what the numbers depend on (`runs.identity`)
            └─ training: what the checkpoint had cost, where that is known

It is computed from samples in `measure.py`, shown by `table.py` and the report. All shares are between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...engines.text_tokenizer import TEXT_V1
from ...errors import DataError
from ...runs.identity import Identity
from ..statistics import Interval

SCHEMA_VERSION = 1
ALL = "all"


@dataclass(frozen=True)
class ByActions:
    """Results of the samples with exactly so many actions (Figure 3 of the paper).

    `accuracy` is exact match among them (Figure 3 a), `share_of_solved` which part of all solved samples they are
    (Figure 3 b; None when nothing was solved).
    """

    actions: int
    samples: int
    accuracy: Interval
    share_of_solved: float | None


@dataclass(frozen=True)
class Ending:
    """Results of the samples that ended in one way: exact match (None: there is no such sample)."""

    samples: int
    exact_match: float | None


@dataclass(frozen=True)
class Deciding:
    """Decisions to act, over the samples of questions that say where acting is needed.

    A question that says it per hop is decided right by exactly as many actions as hops need one; one that says it as a
    whole by acting at least once, or not at all. `unneeded`: more actions than needed, `missed`: fewer;
    `accuracy` is the share of neither. Actions are those that were executed.
    """

    samples: int
    accuracy: Interval
    unneeded: Interval
    missed: Interval


@dataclass(frozen=True)
class GroupSummary:
    """Results of one group of questions.

    `metrics` has every name of `answers.METRICS`, and "judge" when an LLM judged. With several samples per question
    they are means over samples. `pass_at` (k = 1, 2, 4, ... up to their number): some of k samples is an exact match,
    the unbiased estimate of Chen et al. (2021, arXiv:2107.03374); `maj_at` (their number): the commonest normalised
    answer is an exact match.
    `per_question` has means per sample of counts and costs ("actions", "real_calls", "cached_calls", "replayed_calls",
    "simulated_calls", "sampled_tokens", "injected_tokens", "seconds", "cost").
    `failures`: calls that failed and questions that the engine refused, by what was said ("ToolUnavailableError: ..."),
    the commonest five.
    `endings`: "answered", "forced" (a limit, the answer's opening injected), "truncated" (a limit, and no complete
    answer), "no_answer" (the policy ended without one), each sample in exactly one of them.
    """

    questions: int
    samples: int
    metrics: Mapping[str, Interval]
    pass_at: Mapping[int, Interval]
    maj_at: Mapping[int, Interval]
    format: Interval
    per_question: Mapping[str, float]
    by_actions: tuple[ByActions, ...]
    endings: Mapping[str, Ending]
    stop_reasons: Mapping[str, int]
    deciding: Deciding | None = None
    failures: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """Summary of one evaluation. `seconds` is wall clock of all its sessions, `created` UTC in ISO 8601.

    `method` is the row of a table it belongs to ("SFT-1&2"); `training` what its checkpoint had cost: "real_calls",
    "simulated_calls", "seconds" (empty: unknown). `judge` says model, votes and cost of an LLM judge, {} without one;
    `engine` what a chat server counted, {} for an engine of ids.
    """

    method: str
    created: str
    seconds: float
    samples_per_question: int
    fingerprint: Identity
    groups: Mapping[str, GroupSummary]
    training: Mapping[str, float] = field(default_factory=dict)
    judge: Mapping[str, Any] = field(default_factory=dict)
    engine: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_text(self) -> bool:
        """True when a model was asked by chat turns: its ids are text, counts of tokens approximate."""
        return self.fingerprint.model.get("tokenizer") == TEXT_V1

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping with the schema version."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Summary:
        """Rebuild a summary; raises `DataError` for another schema version or a field that is missing."""
        version = row.get("schema_version") if isinstance(row, Mapping) else None
        if version != SCHEMA_VERSION:
            raise DataError(f"schema_version must be {SCHEMA_VERSION}, got {version!r}")
        values = {name: value for name, value in row.items() if name != "schema_version"}
        try:
            values["fingerprint"] = Identity(**row["fingerprint"])
            values["groups"] = {name: _group(each) for name, each in row["groups"].items()}
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"not a stored summary: {type(error).__name__}: {error}") from error


def _group(row: Mapping[str, Any]) -> GroupSummary:
    deciding = row["deciding"]
    return GroupSummary(
        **{
            **row,
            "metrics": _intervals(row["metrics"]),
            "pass_at": {int(k): each for k, each in _intervals(row["pass_at"]).items()},
            "maj_at": {int(k): each for k, each in _intervals(row["maj_at"]).items()},
            "format": Interval(**row["format"]),
            "by_actions": tuple(
                ByActions(**{**each, "accuracy": Interval(**each["accuracy"])}) for each in row["by_actions"]
            ),
            "endings": {name: Ending(**each) for name, each in row["endings"].items()},
            "deciding": None if deciding is None else Deciding(deciding["samples"], **_intervals(deciding, "samples")),
        }
    )


def _intervals(row: Mapping[str, Any], *but: str) -> dict[str, Interval]:
    return {name: Interval(**each) for name, each in row.items() if name not in but}
